// What is done with a job, and the count that the handler keeps: the same for every peer, and as ours.

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const TEXT = 200; // bytes, as much as ours carries
const LOOK = 20; // ms between looks at the count, and near the end:
const LOOK_CLOSELY = 2;
const STUCK = 60_000; // ms without movement, after which waiting does not mend it

const text = { type: "string" };
const { values } = parseArgs({ options: { url: text, messages: text, handler: text, concurrency: text, settings: text } });

export const url = values.url;
export const messages = Number(values.messages);
export const concurrency = Number(values.concurrency);
// With what its documentation offers for speed; or with its defaults, but for the concurrency.
export const isTuned = values.settings === "tuned";
const work = values.handler === "1ms" ? () => sleep(1) : () => undefined;
const parcels = new Uint32Array(messages);
let handled = 0;

export const handle = async ({ number }) => {
  parcels[number] += 1;
  handled += 1;
  await work();
};

// The jobs, so many at a time.
export function* chunks(size) {
  for (let first = 0; first < messages; first += size) {
    const length = Math.min(size, messages - first);
    yield Array.from({ length }, (_, at) => ({ number: first + at, text: "x".repeat(TEXT) }));
  }
}

// Resolves once the handler was called for all, and `isSettled` says that the queue has written so.
export async function drained(isSettled) {
  let [since, before] = [Date.now(), 0];
  while (handled < messages || !(await isSettled())) {
    if (handled !== before) [since, before] = [Date.now(), handled];
    else if (Date.now() - since > STUCK) throw new Error(`stuck with ${handled} of ${messages} handled`);
    await sleep(handled + messages / 20 < messages ? LOOK : LOOK_CLOSELY);
  }
}

export async function timed(work) {
  const began = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - began) / 1e9;
}

// The one line that tells how fast it was, and what was lost.
export function report(peer, settings, publish, drain) {
  console.log(
    JSON.stringify({
      peer,
      settings,
      messages,
      publish_per_s: messages / publish,
      drain_per_s: messages / drain,
      handled,
      lost: parcels.filter((times) => times === 0).length,
      doubled: parcels.reduce((sum, times) => sum + Math.max(0, times - 1), 0),
    }),
  );
  process.exit(0);
}
