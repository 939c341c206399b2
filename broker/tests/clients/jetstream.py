"""JetStream through nats-py: prints what each public feature does, the same on every server that does it right."""

import asyncio
import sys

import nats
from nats.js import api, errors
from nats.js.errors import APIError, KeyWrongLastSequenceError, NotFoundError


def say(what, *values):
    print(what, *values, flush=True)


async def refused(what, asked):
    try:
        say(what, "accepted", await asked)
    except APIError as error:
        say(what, error.code, error.err_code)


async def streams(js):
    info = await js.add_stream(name="PY", subjects=["py.>"], storage="memory", max_msgs_per_subject=3, allow_direct=True)
    say("stream", str(info.config.storage).lower(), info.config.max_msgs_per_subject, info.state.messages)
    for n in range(5):
        ack = await js.publish("py.a", b"%d" % n, headers={"Nats-Msg-Id": f"id-{n}"})
    say("published", ack.seq, ack.duplicate)
    say("again", (await js.publish("py.a", b"4", headers={"Nats-Msg-Id": "id-4"})).duplicate)
    await refused("expected", js.publish("py.a", b"", headers={"Nats-Expected-Last-Sequence": "1"}))
    say("last", (await js.get_last_msg("PY", "py.a")).data, (await js.get_msg("PY", 3)).seq)
    say("direct", (await js.get_msg("PY", subject="py.a", direct=True)).data)
    say("found", await js.find_stream_name_by_subject("py.x"))
    say("purged", await js.purge_stream("PY", keep=2), (await js.stream_info("PY")).state.messages)
    await refused("conflict", js.add_stream(name="PY2", subjects=["py.x"]))


async def consumers(js):
    pull = await js.pull_subscribe("py.>", durable="PULL")
    for message in await pull.fetch(2, timeout=5):
        say("pulled", message.data, message.metadata.num_pending)
        await message.ack_sync()
    try:
        await pull.fetch(1, timeout=0.3)
    except nats.errors.TimeoutError:
        say("nothing more")
    push = await js.subscribe("py.>", durable="PUSH", manual_ack=True)
    message = await push.next_msg(timeout=5)
    say("pushed", message.data, message.metadata.num_delivered)
    await message.nak()
    again = [await push.next_msg(timeout=5) for _ in range(2)]
    say("redelivered", sorted((m.data, m.metadata.num_delivered) for m in again))
    for message in again:
        await message.ack()
    await push.unsubscribe()
    ordered = await js.subscribe("py.>", ordered_consumer=True)
    say("ordered", [(await ordered.next_msg(timeout=5)).data for _ in range(2)])
    await ordered.unsubscribe()
    info = await js.consumer_info("PY", "PULL")
    say("floor", info.ack_floor.stream_seq, info.num_ack_pending, info.num_pending)
    say("deleted", await js.delete_consumer("PY", "PULL"))


async def work_queue(js):
    await js.add_stream(name="PYQ", subjects=["pyq.>"], retention="workqueue")
    await js.publish("pyq.a", b"job")
    pull = await js.pull_subscribe("pyq.>", durable="W")
    await (await pull.fetch(1, timeout=5))[0].ack_sync()
    say("queue", (await js.stream_info("PYQ")).state.messages)


async def key_value(js):
    kv = await js.create_key_value(bucket="PYKV", history=5)
    say("put", await kv.put("a", b"1"), await kv.put("b", b"2"), await kv.update("a", b"3", last=1))
    try:
        await kv.update("a", b"4", last=1)
    except KeyWrongLastSequenceError:
        say("wrong revision")
    say("history", [(entry.value, entry.revision) for entry in await kv.history("a")])
    await kv.delete("b")
    say("keys", await kv.keys())
    watcher = await kv.watchall()
    seen = []
    while (entry := await watcher.updates(timeout=5)) is not None:
        seen.append((entry.key, entry.operation))
    say("watched", seen)
    await kv.put("c", b"5")
    say("update", (await watcher.updates(timeout=5)).key)
    await watcher.stop()
    await kv.purge("a")
    status = await kv.status()
    say("status", status.values, status.history)
    try:
        await kv.get("a")
    except NotFoundError:
        say("purged key is gone")


async def object_store(js):
    store = await js.create_object_store("PYOBJ")
    content = bytes(range(256)) * 2000
    info = await store.put("big", content)
    say("object", info.size, info.chunks, info.digest)
    say("same", (await store.get("big")).data == content)
    await store.delete("big")
    try:
        await store.get("big")
    except errors.ObjectNotFoundError:
        say("object gone")


async def main():
    client = await nats.connect(sys.argv[1])
    js = client.jetstream()
    for part in (streams, consumers, work_queue, key_value, object_store):
        try:
            await part(js)
        except Exception as error:  # The other parts still say what they do.
            say(part.__name__, "failed:", repr(error))
    await client.close()


asyncio.run(main())
