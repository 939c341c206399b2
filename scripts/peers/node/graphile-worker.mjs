// graphile-worker; tuned with its local queue and its batched completion, which make it fastest. A completion is at most 5 ms
// late here; its documentation recommends 250 ms to begin with.

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

import { chunks, concurrency, drained, handle, isTuned, report, timed, url } from "./count.mjs";

const logger = new Logger(() => (level, message) => level === "error" && console.error(message));
const pgPool = new pg.Pool({ connectionString: url, max: 20 });
pgPool.on("error", (error) => console.error(error));
pgPool.on("connect", (client) => client.on("error", (error) => console.error(error)));
const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();
const publish = await timed(async () => {
  for (const parcels of chunks(500)) {
    await utils.addJobs(parcels.map((payload) => ({ identifier: "parcel", payload })));
  }
});
let runner;
const drain = await timed(async () => {
  runner = await run({
    pgPool,
    logger,
    noHandleSignals: true,
    taskList: { parcel: handle },
    concurrency,
    preset: isTuned ? { worker: { localQueue: { size: 500 }, completeJobBatchDelay: 5 } } : {},
  });
  await drained(async () => {
    const left = await pgPool.query("SELECT COUNT(*)::int AS jobs FROM graphile_worker._private_jobs");
    return left.rows[0].jobs === 0;
  });
});
await runner.stop();
report(
  "graphile-worker 0.18.0",
  `concurrency ${concurrency}${isTuned ? ", local queue of 500, completions batched within 5 ms" : ""}`,
  publish,
  drain,
);
