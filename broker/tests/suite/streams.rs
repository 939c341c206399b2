//! What a stream does to its messages: other names, copies, a first number, a seal.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::Raw;

pub(crate) fn check(address: SocketAddr) {
    let options = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
    let mut raw = Raw::ready(address, options);
    raw.send(b"SUB _INBOX.> 1\r\n");
    transforms(&mut raw);
    republish(&mut raw);
    first_sequence(&mut raw);
    sealed(&mut raw);
    counters(&mut raw);
    advisories(&mut raw, address);
    refusals(&mut raw);
}

fn transforms(raw: &mut Raw) {
    let transform = json!({"src": "shape.*.b", "dest": "to.$1.{{partition(10,1)}}"});
    let config = json!({"name": "SHAPE", "subjects": ["shape.>"], "subject_transform": transform});
    assert_eq!(
        raw.api("STREAM.CREATE.SHAPE", &config)["config"]["subject_transform"],
        transform
    );
    raw.store("shape.x.b", &[], "");
    raw.store("shape.x.c", &[], "");
    // Expectations are about the name that is stored.
    let expected = ["Nats-Expected-Last-Subject-Sequence: 1"];
    assert_eq!(raw.store("shape.x.b", &expected, "")["seq"], 3);
    for (seq, subject) in [(1, "to.x.5"), (2, "shape.x.c"), (3, "to.x.5")] {
        let found = raw.api("STREAM.MSG.GET.SHAPE", &json!({"seq": seq}));
        assert_eq!(found["message"]["subject"], subject);
    }
    raw.api("STREAM.DELETE.SHAPE", &Value::Null);
}

fn republish(raw: &mut Raw) {
    let republish = json!({"src": "again.a.>", "dest": "out.>"});
    let config = json!({"name": "AGAIN", "subjects": ["again.>"], "republish": republish});
    raw.api("STREAM.CREATE.AGAIN", &config);
    raw.send(b"SUB out.> 2\r\n");
    raw.publish("again.a.1", "", &[], "x");
    let copy = raw.message();
    assert_eq!((copy.subject.as_str(), copy.payload.as_str()), ("out.1", "x"));
    for (name, value) in [
        ("Nats-Stream", "AGAIN"),
        ("Nats-Subject", "again.a.1"),
        ("Nats-Sequence", "1"),
        ("Nats-Last-Sequence", "0"),
    ] {
        assert_eq!(copy.header(name), Some(value));
    }
    raw.store("again.b", &[], "");
    let republish = json!({"src": ">", "dest": "out.>", "headers_only": true});
    let config = json!({"name": "AGAIN", "subjects": ["again.>"], "republish": republish});
    raw.api("STREAM.UPDATE.AGAIN", &config);
    raw.publish("again.a.1", "", &["Own: header"], "xyz");
    let copy = raw.message();
    assert_eq!(
        (copy.subject.as_str(), copy.payload.as_str()),
        ("out.again.a.1", "")
    );
    assert_eq!(
        (copy.header("Own"), copy.header("Nats-Msg-Size")),
        (Some("header"), Some("3"))
    );
    assert_eq!(
        (copy.header("Nats-Sequence"), copy.header("Nats-Last-Sequence")),
        (Some("3"), Some("1"))
    );
    raw.send(b"UNSUB 2\r\n");
    raw.api("STREAM.DELETE.AGAIN", &Value::Null);
}

fn first_sequence(raw: &mut Raw) {
    let made = raw.api("STREAM.CREATE.LATE", &json!({"name": "LATE", "first_seq": 10}));
    assert_eq!(
        (&made["state"]["first_seq"], &made["state"]["last_seq"]),
        (&json!(10), &json!(9))
    );
    assert_eq!(made["state"]["last_ts"], "0001-01-01T00:00:00Z");
    assert_eq!(raw.store("LATE", &[], "")["seq"], 10);
    raw.api("STREAM.DELETE.LATE", &Value::Null);
}

fn sealed(raw: &mut Raw) {
    raw.api("STREAM.CREATE.SEALED", &json!({"name": "SEALED"}));
    raw.store("SEALED", &[], "x");
    let made = raw.api("STREAM.UPDATE.SEALED", &json!({"name": "SEALED", "sealed": true}));
    for (field, value) in [
        ("sealed", json!(true)),
        ("discard", json!("new")),
        ("deny_purge", json!(true)),
    ] {
        assert_eq!(made["config"][field], value);
    }
    assert_eq!(raw.store("SEALED", &[], "x")["error"]["err_code"], 10109);
    let purged = raw.api("STREAM.PURGE.SEALED", &Value::Null);
    assert_eq!(purged["error"]["err_code"], 10109);
    let deleted = raw.api("STREAM.MSG.DELETE.SEALED", &json!({"seq": 1}));
    assert_eq!(deleted["error"]["err_code"], 10109);
    let unsealed = raw.api("STREAM.UPDATE.SEALED", &json!({"name": "SEALED"}));
    assert_eq!(unsealed["error"]["err_code"], 10052);
    raw.api("STREAM.DELETE.SEALED", &Value::Null);
}

fn counters(raw: &mut Raw) {
    let config = json!({"name": "COUNTED", "subjects": ["counted.>"], "allow_msg_counter": true});
    raw.api("STREAM.CREATE.COUNTED", &config);
    for (added, total) in [
        ("1", "1"),
        ("+2", "3"),
        ("-5", "-2"),
        ("90000000000000000000000", "89999999999999999999998"),
    ] {
        let header = format!("Nats-Incr: {added}");
        assert_eq!(raw.store("counted.a", &[&header], "")["val"], total, "{added}");
    }
    let last = raw.api("STREAM.MSG.GET.COUNTED", &json!({"last_by_subj": "counted.a"}));
    assert_eq!(
        last["message"]["data"],
        "eyJ2YWwiOiI4OTk5OTk5OTk5OTk5OTk5OTk5OTk5OCJ9"
    );
    for (headers, payload, err_code) in [
        (&["Nats-Incr: x"][..], "", 10171),
        (&["Nats-Incr: 1.5"], "", 10171),
        (&["Nats-Incr: 1"], "payload", 10170),
        (&["Nats-Incr: 1", "Nats-Rollup: sub"], "", 10171),
        (&["Nats-Incr: 1", "Nats-Expected-Last-Sequence: 1"], "", 10171),
        (&["Other: header"], "", 10169),
        (&[], "", 10169),
    ] {
        assert_eq!(
            raw.store("counted.a", headers, payload)["error"]["err_code"],
            err_code,
            "{headers:?}"
        );
    }
    assert_eq!(
        raw.store("counted.b", &["Nats-Incr: 7", "Nats-Msg-Id: 1"], "")["val"],
        "7"
    );
    assert_eq!(
        raw.store("counted.b", &["Nats-Incr: 7", "Nats-Msg-Id: 1"], "")["duplicate"],
        true
    );
    raw.api("STREAM.DELETE.COUNTED", &Value::Null);
    for (field, value) in [
        ("discard", json!("new")),
        ("allow_msg_ttl", json!(true)),
        ("retention", json!("workqueue")),
    ] {
        let config = json!({"name": "COUNTED", "allow_msg_counter": true, field: value});
        assert_eq!(
            raw.api("STREAM.CREATE.COUNTED", &config)["error"]["err_code"],
            10052,
            "{field}"
        );
    }
}

fn advisories(raw: &mut Raw, address: SocketAddr) {
    let mut events = Raw::ready(address, r#"{"verbose":false,"headers":true}"#);
    events.send(b"SUB $JS.EVENT.ADVISORY.STREAM.*.TOLD 2\r\nSUB $JS.EVENT.ADVISORY.CONSUMER.*.TOLD.C 3\r\n");
    events.send(b"PING\r\n");
    events.expect_start("PONG");
    let consumer = json!({"stream_name": "TOLD", "config": {"name": "C", "ack_policy": "explicit"}});
    raw.api("STREAM.CREATE.TOLD", &json!({"name": "TOLD"}));
    raw.api("STREAM.UPDATE.TOLD", &json!({"name": "TOLD", "max_msgs": 5}));
    raw.api("CONSUMER.CREATE.TOLD.C", &consumer);
    raw.api("CONSUMER.DELETE.TOLD.C", &Value::Null);
    raw.api("STREAM.DELETE.TOLD", &Value::Null);
    let mut told: Vec<(String, Value)> = (0..5)
        .map(|_| events.message())
        .map(|message| (message.subject, serde_json::from_str(&message.payload).unwrap()))
        .collect();
    told.sort_by(|(left, _), (right, _)| left.cmp(right));
    let actions: Vec<&Value> = told.iter().map(|(_, event)| &event["action"]).collect();
    assert_eq!(actions, ["create", "delete", "create", "delete", "modify"]);
    assert_eq!(told[0].1["type"], "io.nats.jetstream.advisory.v1.consumer_action");
    assert_eq!(told[4].1["type"], "io.nats.jetstream.advisory.v1.stream_action");
}

fn refusals(raw: &mut Raw) {
    for (field, value, err_code) in [
        ("sealed", json!(true), 10052),
        ("mirror_direct", json!(true), 10052),
        ("placement", json!({"preferred": "x"}), 10052),
        ("republish", json!({"src": ">", "dest": "BAD"}), 10052),
        ("republish", json!({"src": "a.*", "dest": "c.$2"}), 10052),
        ("subject_transform", json!({"src": "a.*", "dest": "c.$2"}), 10156),
        ("subject_transform", json!({"src": "a..b", "dest": "c"}), 10155),
        ("subject_delete_marker_ttl", json!(1000), 10052),
        ("retention", json!("bad"), 10025),
        ("num_replicas", json!(-1), 10133),
    ] {
        let answer = raw.api("STREAM.CREATE.BAD", &json!({"name": "BAD", field: value}));
        assert_eq!(answer["error"]["err_code"], err_code, "{field} {value}: {answer}");
    }
    let pedantic = json!({"name": "BAD", "max_msgs": -5, "pedantic": true});
    assert_eq!(
        raw.api("STREAM.CREATE.BAD", &pedantic)["error"]["err_code"],
        10157
    );
}
