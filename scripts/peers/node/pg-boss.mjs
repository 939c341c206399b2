// pg-boss: a fetch takes a batch, and completes it as a whole; the next one follows at once while batches are full.

import pg from "pg";
import { PgBoss } from "pg-boss";

import { chunks, concurrency, drained, handle, messages, report, timed, url } from "./count.mjs";

const WORKERS = 2; // one fetches while the other works
const queue = "bench";
const boss = new PgBoss({ connectionString: url, max: 20 });
boss.on("error", (error) => console.error(error));
await boss.start();
await boss.createQueue(queue);
const publish = await timed(async () => {
  for (const parcels of chunks(500)) await boss.insert(queue, parcels.map((data) => ({ data })));
});
const batchSize = Math.ceil(concurrency / WORKERS);
const pool = new pg.Pool({ connectionString: url, max: 1 });
const drain = await timed(async () => {
  const options = { batchSize, localConcurrency: WORKERS, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
  await boss.work(queue, options, (jobs) => Promise.all(jobs.map((job) => handle(job.data))));
  await drained(async () => {
    const done = await pool.query("SELECT COUNT(*)::int AS jobs FROM pgboss.job WHERE name = $1 AND state = 'completed'", [
      queue,
    ]);
    return done.rows[0].jobs === messages;
  });
});
report("pg-boss 12.38.0", `batchSize ${batchSize}, localConcurrency ${WORKERS}, burst`, publish, drain);
