// BullMQ on Redis.

import { Queue, Worker } from "bullmq";

import { chunks, concurrency, drained, handle, messages, report, timed, url } from "./count.mjs";

const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const queue = new Queue("bench", { connection });
const publish = await timed(async () => {
  for (const parcels of chunks(500)) await queue.addBulk(parcels.map((data) => ({ name: "parcel", data })));
});
let worker;
const drain = await timed(async () => {
  worker = new Worker("bench", (job) => handle(job.data), { connection, concurrency });
  worker.on("error", (error) => console.error(error));
  await drained(async () => (await queue.getCompletedCount()) === messages);
});
await worker.close();
report("bullmq 6.7.0", `concurrency ${concurrency}`, publish, drain);
