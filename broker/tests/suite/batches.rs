//! Atomic batches: stored when they are committed, all or none, and refused as a whole.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::Raw;

const ONE: &str = "Nats-Batch-Commit: 1";

pub(crate) fn check(address: SocketAddr) {
    let options = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
    let mut raw = Raw::ready(address, options);
    raw.send(b"SUB _INBOX.> 1\r\n");
    commits(&mut raw);
    order(&mut raw);
    refusals(&mut raw);
    limits(&mut raw);
    roll_ups(&mut raw);
    counters(&mut raw);
    abandoned(&mut raw);
}

fn create(raw: &mut Raw, name: &str, more: &Value) {
    let mut config =
        json!({"name": name, "subjects": [format!("{}.>", name.to_lowercase())], "allow_atomic": true});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let made = raw.api(&format!("STREAM.CREATE.{name}"), &config);
    assert!(made["error"].is_null(), "{made}");
}

fn part(raw: &mut Raw, subject: &str, id: &str, seq: u64, more: &[&str], body: &str) -> Option<Value> {
    let place = [
        format!("Nats-Batch-Id: {id}"),
        format!("Nats-Batch-Sequence: {seq}"),
    ];
    let headers: Vec<&str> = place
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    raw.store_part(subject, &headers, body)
}

/// Publishes a batch of these subjects and headers; what its last message is answered.
#[track_caller]
fn batch(raw: &mut Raw, id: &str, messages: &[(&str, &[&str])]) -> Value {
    let (last, before) = messages.split_last().unwrap();
    for (seq, (subject, headers)) in (1..).zip(before) {
        let answer = part(raw, subject, id, seq, headers, "x");
        assert_eq!(answer, None, "{id}: nothing is promised before the commit");
    }
    let headers: Vec<&str> = last.1.iter().copied().chain([ONE]).collect();
    part(raw, last.0, id, messages.len() as u64, &headers, "x").unwrap()
}

fn state(raw: &mut Raw, stream: &str) -> (u64, u64) {
    let info = raw.api(&format!("STREAM.INFO.{stream}"), &Value::Null);
    let number = |name: &str| info["state"][name].as_u64().unwrap();
    (number("messages"), number("last_seq"))
}

fn commits(raw: &mut Raw) {
    raw.api(
        "STREAM.CREATE.LONE",
        &json!({"name": "LONE", "subjects": ["lone.>"]}),
    );
    let refused = part(raw, "lone.x", "a", 1, &[], "").unwrap();
    assert_eq!(refused["error"]["err_code"], 10174);
    assert_eq!(
        refused["error"]["description"], "atomic publish is disabled",
        "and that is what clients show"
    );
    raw.api("STREAM.DELETE.LONE", &Value::Null);

    create(raw, "WHOLE", &json!({}));
    assert_eq!(part(raw, "whole.a", "b", 1, &[], "1"), None);
    assert_eq!(state(raw, "WHOLE"), (0, 0), "not before its commit");
    let done = part(raw, "whole.b", "b", 2, &[ONE], "2").unwrap();
    assert_eq!(
        done,
        json!({"stream": "WHOLE", "seq": 2, "batch": "b", "count": 2})
    );
    assert_eq!(state(raw, "WHOLE"), (2, 2));
    // The last message may be no more than the word for the commit.
    part(raw, "whole.a", "eob", 1, &[], "3");
    let done = part(
        raw,
        "whole.b",
        "eob",
        2,
        &["Nats-Batch-Commit: eob"],
        "not stored",
    )
    .unwrap();
    assert_eq!(
        done,
        json!({"stream": "WHOLE", "seq": 3, "batch": "eob", "count": 1})
    );
    let stored = raw.api("STREAM.MSG.GET.WHOLE", &json!({"seq": 3}));
    let block = "TkFUUy8xLjANCk5hdHMtQmF0Y2gtSWQ6IGVvYg0KTmF0cy1CYXRjaC1TZXF1ZW5jZTogMQ0KTmF0cy1CYXRjaC1Db21taXQ6IDENCg0K";
    assert_eq!(stored["message"]["hdrs"], block);
    // An id may be used again, alone a message is a batch too, and a batch without an id is none.
    assert_eq!(batch(raw, "b", &[("whole.a", &[])])["seq"], 4);
    let plain = part(raw, "whole.a", "", 1, &[], "").unwrap();
    assert_eq!(plain, json!({"stream": "WHOLE", "seq": 5}));
    raw.api("STREAM.DELETE.WHOLE", &Value::Null);
}

/// Each message follows the one before, or there is no batch any more.
fn order(raw: &mut Raw) {
    create(raw, "ROW", &json!({}));
    let code = |answer: Option<Value>| answer.unwrap()["error"]["err_code"].as_u64().unwrap();
    assert_eq!(code(raw.store_part("row.x", &["Nats-Batch-Id: a"], "")), 10175);
    assert_eq!(
        code(raw.store_part("row.x", &["Nats-Batch-Id: a", "Nats-Batch-Sequence: x"], "")),
        10175
    );
    assert_eq!(code(part(raw, "row.x", "a", 0, &[], "")), 10176);
    assert_eq!(code(part(raw, "row.x", "a", 2, &[], "")), 10176);
    assert_eq!(part(raw, "row.x", "gap", 1, &[], ""), None);
    assert_eq!(code(part(raw, "row.x", "gap", 3, &[ONE], "")), 10176);
    assert_eq!(
        code(part(raw, "row.x", "gap", 2, &[ONE], "")),
        10176,
        "gone with the gap"
    );
    assert_eq!(code(part(raw, "row.x", &"x".repeat(65), 1, &[], "")), 10179);
    assert_eq!(
        part(raw, "row.x", &"x".repeat(64), 1, &[ONE], "").unwrap()["seq"],
        1
    );
    for word in ["0", "yes", ""] {
        let commit = format!("Nats-Batch-Commit: {word}");
        assert_eq!(part(raw, "row.x", "word", 1, &[], ""), None);
        assert_eq!(
            code(part(raw, "row.x", "word", 2, &[&commit], "")),
            10200,
            "{word:?}"
        );
        assert_eq!(code(part(raw, "row.x", "word", 2, &[ONE], "")), 10176, "{word:?}");
    }
    assert_eq!(
        code(part(raw, "row.x", "eob", 1, &["Nats-Batch-Commit: eob"], "")),
        10176
    );
    let level = "Nats-Required-Api-Level: 99";
    assert_eq!(code(part(raw, "row.x", "level", 1, &[level], "")), 10185);
    assert_eq!(state(raw, "ROW"), (1, 1));
    raw.api("STREAM.DELETE.ROW", &Value::Null);
}

/// What one message is refused for, all are.
fn refusals(raw: &mut Raw) {
    create(raw, "SOME", &json!({}));
    for subject in ["some.a", "some.b"] {
        raw.store(
            subject,
            &["Nats-Msg-Id: known"][..usize::from(subject == "some.a")],
            "",
        );
    }
    let at = |at: usize, header: &'static str| {
        let headers: [&[&str]; 2] = if at == 1 {
            [&[header], &[]]
        } else {
            [&[], &[header]]
        };
        headers.map(<[&str]>::to_vec)
    };
    for (place, header, err_code) in [
        (1, "Nats-Expected-Stream: OTHER", 10060),
        (2, "Nats-Expected-Stream: OTHER", 10060),
        (1, "Nats-Expected-Last-Sequence: 9", 10071),
        (2, "Nats-Expected-Last-Sequence: 9", 10071),
        (2, "Nats-Expected-Last-Sequence: 3", 10164),
        (1, "Nats-Expected-Last-Subject-Sequence: 9", 10071),
        (2, "Nats-Expected-Last-Subject-Sequence: 1", 10164),
        (1, "Nats-Expected-Last-Subject-Sequence-Subject: some.b", 10193),
        (1, "Nats-Expected-Last-Msg-Id: known", 10177),
        (1, "Nats-Msg-Id: known", 10201),
        (2, "Nats-Msg-Id: known", 10201),
        (1, "Nats-Rollup: sub", 10111),
        (1, "Nats-TTL: 1h", 10166),
        (1, "Nats-Incr: 1", 10168),
        (1, "Nats-Schedule: @at 2100-01-01T00:00:00Z", 10188),
        (1, "Nats-Stream-Source: S 1 > > >", 10227),
    ] {
        let [first, second] = at(place, header);
        let answer = batch(raw, "bad", &[("some.a", &first), ("some.a", &second)]);
        assert_eq!(
            answer["error"]["err_code"], err_code,
            "{place}: {header}: {answer}"
        );
        assert_eq!((&answer["stream"], &answer["seq"]), (&json!("SOME"), &json!(0)));
    }
    let twice: &[&str] = &["Nats-Msg-Id: new"];
    let answer = batch(raw, "twice", &[("some.a", twice), ("some.a", twice)]);
    assert_eq!(answer["error"]["err_code"], 10201);
    assert_eq!(state(raw, "SOME"), (2, 2), "nothing of all that is stored");
    // What holds before the batch, and is not changed by it before.
    let both: &[&str] = &[
        "Nats-Expected-Last-Sequence: 2",
        "Nats-Expected-Last-Subject-Sequence: 1",
    ];
    let other: &[&str] = &[
        "Nats-Expected-Last-Subject-Sequence-Subject: some.c",
        "Nats-Expected-Last-Subject-Sequence: 0",
    ];
    assert_eq!(
        batch(
            raw,
            "good",
            &[("some.a", both), ("some.b", other), ("some.c", twice)]
        )["seq"],
        5
    );
    let again = raw.store("some.c", twice, "");
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(5), &json!(true)));
    raw.api("STREAM.DELETE.SOME", &Value::Null);
}

fn limits(raw: &mut Raw) {
    create(
        raw,
        "PACKED",
        &json!({"discard": "new", "max_msgs": 3, "max_msg_size": 200}),
    );
    let two: &[(&str, &[&str])] = &[("packed.x", &[]), ("packed.x", &[])];
    assert_eq!(batch(raw, "a", two)["seq"], 2);
    let refused = batch(raw, "b", two);
    assert_eq!(refused["error"]["description"], "maximum messages exceeded");
    // One that is too large is refused at once, and not of the batch.
    let large = part(raw, "packed.x", "c", 1, &[], &"x".repeat(200)).unwrap();
    assert_eq!(large["error"]["err_code"], 10054);
    assert_eq!(batch(raw, "c", &two[..1])["seq"], 3);
    raw.api("STREAM.DELETE.PACKED", &Value::Null);

    create(raw, "BIG", &json!({}));
    for (last, extra) in [(1000, 0), (1001, 1)] {
        let id = format!("n{last}");
        for seq in 1..last {
            let place = [
                &*format!("Nats-Batch-Id: {id}"),
                &*format!("Nats-Batch-Sequence: {seq}"),
            ];
            raw.publish("big.x", "", &place, "x");
        }
        let answer = part(raw, "big.x", &id, last, &[ONE], "x").unwrap();
        if extra == 0 {
            assert_eq!((&answer["seq"], &answer["count"]), (&json!(1000), &json!(1000)));
        } else {
            let text = "atomic publish batch is too large: 1000";
            assert_eq!(
                (&answer["error"]["err_code"], &answer["error"]["description"]),
                (&json!(10199), &json!(text))
            );
        }
    }
    for n in 0..50 {
        assert_eq!(part(raw, "big.x", &format!("open{n}"), 1, &[], ""), None);
    }
    let refused = part(raw, "big.x", "one more", 1, &[], "").unwrap();
    assert_eq!(
        (&refused["error"]["err_code"], &refused["error"]["code"]),
        (&json!(10210), &json!(429))
    );
    assert_eq!(part(raw, "big.x", "open7", 2, &[ONE], "").unwrap()["count"], 2);
    assert_eq!(part(raw, "big.x", "one more", 1, &[], ""), None);
    assert_eq!(state(raw, "BIG"), (1002, 1002));
    // Those that are open are gone when the stream takes none any more.
    let closed = json!({"name": "BIG", "subjects": ["big.>"], "allow_atomic": false});
    assert!(raw.api("STREAM.UPDATE.BIG", &closed)["error"].is_null());
    assert_eq!(
        part(raw, "big.x", "open8", 2, &[ONE], "").unwrap()["error"]["err_code"],
        10174
    );
    let opened = json!({"name": "BIG", "subjects": ["big.>"], "allow_atomic": true});
    assert!(raw.api("STREAM.UPDATE.BIG", &opened)["error"].is_null());
    assert_eq!(
        part(raw, "big.x", "open8", 2, &[ONE], "").unwrap()["error"]["err_code"],
        10176
    );
    raw.api("STREAM.DELETE.BIG", &Value::Null);
}

fn roll_ups(raw: &mut Raw) {
    create(raw, "ROLL", &json!({"allow_rollup_hdrs": true}));
    for subject in ["roll.a", "roll.b", "roll.b"] {
        raw.store(subject, &[], "");
    }
    let (sub, all): (&[&str], &[&str]) = (&["Nats-Rollup: sub"], &["Nats-Rollup: all"]);
    for (messages, text) in [
        ([("roll.a", &[][..]), ("roll.b", all)], "batch rollup all invalid"),
        ([("roll.a", &[][..]), ("roll.a", sub)], "batch rollup sub invalid"),
        (
            [("roll.a", &["Nats-Rollup: x"][..]), ("roll.a", &[])],
            "rollup value invalid: \"x\"",
        ),
    ] {
        let refused = batch(raw, "bad", &messages);
        assert_eq!(refused["error"]["description"], text);
    }
    assert_eq!(batch(raw, "sub", &[("roll.b", sub), ("roll.b", &[])])["seq"], 5);
    assert_eq!(state(raw, "ROLL"), (3, 5));
    assert_eq!(batch(raw, "all", &[("roll.b", all), ("roll.a", &[])])["seq"], 7);
    assert_eq!(state(raw, "ROLL"), (2, 7));
    raw.api("STREAM.DELETE.ROLL", &Value::Null);
}

fn counters(raw: &mut Raw) {
    create(raw, "SUM", &json!({"allow_msg_counter": true}));
    assert_eq!(part(raw, "sum.x", "a", 1, &["Nats-Incr: 2"], ""), None);
    let done = part(raw, "sum.x", "a", 2, &["Nats-Incr: 3", ONE], "").unwrap();
    assert_eq!(done, json!({"stream": "SUM", "seq": 2, "batch": "a", "count": 2}));
    assert_eq!(raw.store("sum.x", &["Nats-Incr: 1"], "")["val"], "6");
    assert_eq!(part(raw, "sum.x", "b", 1, &["Nats-Incr: 2"], ""), None);
    let refused = part(raw, "sum.x", "b", 2, &["Nats-Incr: x", ONE], "").unwrap();
    assert_eq!(refused["error"]["err_code"], 10171);
    assert_eq!(raw.store("sum.x", &["Nats-Incr: 1"], "")["val"], "7");
    raw.api("STREAM.DELETE.SUM", &Value::Null);
}

fn abandoned(raw: &mut Raw) {
    raw.send(b"SUB $JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.LEFT 2\r\n");
    create(raw, "LEFT", &json!({}));
    part(raw, "left.x", "gap", 1, &[], "");
    // Answer and advisory come in either order.
    raw.publish(
        "left.x",
        "",
        &["Nats-Batch-Id: gap", "Nats-Batch-Sequence: 3"],
        "",
    );
    let told = raw.message();
    let told: Value = serde_json::from_str(&told.payload).unwrap();
    assert_eq!(
        told["type"],
        "io.nats.jetstream.advisory.v1.stream_batch_abandoned"
    );
    assert_eq!(
        (&told["stream"], &told["batch"], &told["reason"]),
        (&json!("LEFT"), &json!("gap"), &json!("incomplete"))
    );
    raw.send(b"UNSUB 2\r\n");
    raw.api("STREAM.DELETE.LEFT", &Value::Null);
}
