// JetStream through nats.js: prints what each public feature does, the same on every server that does it right.

import { connect } from "@nats-io/transport-node";
import { AckPolicy, DeliverPolicy, RetentionPolicy, StorageType, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";

const say = (...values) => console.log(...values.map((value) => (typeof value === "string" ? value : JSON.stringify(value))));

const refused = async (what, asked) => {
  try {
    await asked;
    say(what, "accepted");
  } catch (error) {
    say(what, error.code ?? error.message);
  }
};

async function streams(js, jsm) {
  const info = await jsm.streams.add({ name: "JS", subjects: ["js.>"], storage: StorageType.Memory, allow_direct: true });
  say("stream", info.config.storage, info.state.messages);
  for (let n = 0; n < 5; n++) await js.publish(`js.${n % 2}`, `m${n}`, { msgID: `id-${n}` });
  say("again", (await js.publish("js.0", "m4", { msgID: "id-4" })).duplicate);
  await refused("expected", js.publish("js.0", "", { expect: { lastSequence: 1 } }));
  say("got", (await jsm.streams.getMessage("JS", { last_by_subj: "js.1" })).string());
  say("direct", (await jsm.direct.getMessage("JS", { seq: 2 })).string());
  const batch = [];
  for await (const message of await jsm.direct.getBatch("JS", { seq: 1, batch: 3 })) batch.push(message.seq);
  say("batch", batch);
  const last = [];
  for await (const message of await jsm.direct.getLastMessagesFor("JS", { multi_last: ["js.>"] })) last.push(message.seq);
  say("last for", last);
  say("purged", (await jsm.streams.purge("JS", { filter: "js.1" })).purged);
  say("names", await jsm.streams.names("js.x").next());
}

async function consumers(js, jsm) {
  await jsm.consumers.add("JS", { durable_name: "C", ack_policy: AckPolicy.Explicit, max_deliver: 3 });
  const consumer = await js.consumers.get("JS", "C");
  const messages = await consumer.fetch({ max_messages: 2, expires: 2000 });
  for await (const message of messages) {
    say("fetched", message.subject, message.string(), message.info.pending);
    await message.ackAck();
  }
  const next = await consumer.next({ expires: 2000 });
  next.nak(50);
  const again = await consumer.next({ expires: 2000 });
  say("redelivered", again.info.deliveryCount);
  again.term("enough");
  say("none", await consumer.next({ expires: 1000 }));
  const ordered = await js.consumers.get("JS", { filter_subjects: ["js.0"] });
  const seen = [];
  for await (const message of await ordered.consume()) {
    seen.push(message.seq);
    if (message.info.pending === 0) break;
  }
  say("ordered", seen);
  const paused = await jsm.consumers.pause("JS", "C", new Date(Date.now() + 60_000));
  say("paused", paused.paused, (await jsm.consumers.resume("JS", "C")).paused);
  await jsm.consumers.add("JS", { durable_name: "P", deliver_subject: "to.js", ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.LastPerSubject, filter_subject: "js.>" });
  const push = await js.consumers.getPushConsumer("JS", "P");
  for await (const message of await push.consume()) {
    say("pushed", message.seq);
    break;
  }
  const info = await jsm.consumers.info("JS", "C");
  say("floor", info.ack_floor.stream_seq, info.num_ack_pending, info.num_pending);
}

async function priorities(js, jsm) {
  await jsm.streams.add({ name: "JSQ", subjects: ["jsq.>"], retention: RetentionPolicy.Workqueue });
  await jsm.consumers.add("JSQ", { durable_name: "O", ack_policy: AckPolicy.Explicit, priority_groups: ["A"], priority_policy: "overflow" });
  for (let n = 0; n < 3; n++) await js.publish("jsq.a", `${n}`);
  const consumer = await js.consumers.get("JSQ", "O");
  const got = [];
  for await (const message of await consumer.fetch({ max_messages: 3, expires: 1000, group: "A", min_pending: 2 })) {
    got.push(message.string());
    await message.ackAck();
  }
  say("overflow", got, (await jsm.streams.info("JSQ")).state.messages);
}

async function keyValue(client) {
  const kv = await new Kvm(client).create("JSKV", { history: 3, markerTTL: 1000 });
  say("put", await kv.put("a", "1"), await kv.create("b", "2"), await kv.update("a", "3", 1));
  await refused("exists", kv.create("a", "4"));
  await refused("wrong revision", kv.update("a", "4", 1));
  const history = [];
  for await (const entry of await kv.history({ key: "a" })) history.push([entry.string(), entry.revision]);
  say("history", history);
  await kv.delete("b");
  const keys = [];
  for await (const key of await kv.keys()) keys.push(key);
  say("keys", keys);
  const watch = await kv.watch({ ignoreDeletes: true });
  for await (const entry of watch) {
    say("watched", entry.key, entry.operation);
    break;
  }
  await kv.create("short", "x", "1s");
  await new Promise((resolve) => setTimeout(resolve, 2500));
  say("expired", await kv.get("short"));
  await kv.purge("a");
  say("purged", (await kv.get("a"))?.operation);
  say("values", (await kv.status()).values);
}

async function objectStore(client) {
  const store = await new Objm(client).create("JSOBJ");
  const content = new Uint8Array(400_000).map((_, at) => at % 251);
  const info = await store.putBlob({ name: "big" }, content);
  say("object", info.size, info.chunks, info.digest);
  const back = await store.getBlob("big");
  say("same", back.length === content.length && back.every((byte, at) => byte === content[at]));
  await store.link("alias", info);
  say("linked", (await store.getBlob("alias")).length);
  await store.delete("big");
  say("gone", (await store.info("big"))?.deleted);
}

const client = await connect({ servers: process.argv[2] });
const [js, jsm] = [jetstream(client), await jetstreamManager(client)];
for (const part of [streams, consumers, priorities, keyValue, objectStore]) {
  try {
    await (part.length === 1 ? part(client) : part(js, jsm));
  } catch (error) {
    // The other parts still say what they do.
    say(part.name, "failed:", String(error));
  }
}
await client.close();
