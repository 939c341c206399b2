//! The JetStream API in its own words: requests as JSON, and what clients rely on in the answers.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::Raw;

pub(crate) fn check(address: SocketAddr) {
    let mut raw = Raw::ready(
        address,
        r#"{"verbose":false,"headers":true,"no_responders":true}"#,
    );
    raw.send(b"SUB _INBOX.> 1\r\n");
    streams(&mut raw);
    stored_messages(&mut raw);
    consumers(&mut raw);
    statuses(&mut raw);
    acks(&mut raw);
    purge_and_delete(&mut raw);
}

fn call(raw: &mut Raw, subject: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    serde_json::from_str(&raw.request(&format!("$JS.API.{subject}"), &body)).unwrap()
}

/// The error code a request ends with.
fn refused(raw: &mut Raw, subject: &str, body: &Value, err_code: u64) {
    let answer = call(raw, subject, body);
    assert_eq!(
        answer["error"]["err_code"], err_code,
        "{subject} {body}: {answer}"
    );
    assert!(answer["error"]["code"].is_u64() && answer["error"]["description"].is_string());
}

fn streams(raw: &mut Raw) {
    let config = json!({"name": "A", "subjects": ["a.>"], "max_msg_size": 100});
    let made = call(raw, "STREAM.CREATE.A", &config);
    assert_eq!(made["type"], "io.nats.jetstream.api.v1.stream_create_response");
    assert_eq!(made["did_create"], true);
    for (field, value) in [
        ("max_msgs", json!(-1)),
        ("max_age", json!(0)),
        ("duplicate_window", json!(120_000_000_000_u64)),
        ("consumer_limits", json!({})),
        ("compression", json!("none")),
        ("num_replicas", json!(1)),
    ] {
        assert_eq!(made["config"][field], value, "{field}");
    }
    assert_eq!(made["state"]["first_seq"], 0);
    assert_eq!(call(raw, "STREAM.CREATE.A", &config)["did_create"], true);
    refused(
        raw,
        "STREAM.CREATE.A",
        &json!({"name": "A", "subjects": ["a.>"]}),
        10058,
    );
    refused(
        raw,
        "STREAM.CREATE.B",
        &json!({"name": "B", "subjects": ["a.b"]}),
        10065,
    );
    refused(raw, "STREAM.CREATE.B", &json!({"name": "A"}), 10056);
    refused(raw, "STREAM.CREATE.B", &json!({"name": "B", "bogus": 1}), 10025);
    refused(
        raw,
        "STREAM.CREATE.B",
        &json!({"name": "B", "num_replicas": 3}),
        10074,
    );
    refused(
        raw,
        "STREAM.CREATE.B",
        &json!({"name": "B", "max_age": 1000}),
        10052,
    );
    refused(raw, "STREAM.INFO.B", &Value::Null, 10059);
    refused(raw, "STREAM.UPDATE.B", &json!({"name": "B"}), 10059);
    refused(raw, "STREAM.MSG.GET.A", &json!({"seq": 1}), 10037);
    assert_eq!(
        call(raw, "STREAM.NAMES", &json!({"subject": "a.x"}))["streams"],
        json!(["A"])
    );
    assert_eq!(
        call(raw, "STREAM.NAMES", &json!({"subject": "nothing"}))["streams"],
        Value::Null
    );
}

fn stored_messages(raw: &mut Raw) {
    assert_eq!(raw.request("a.one", "1"), r#"{"stream":"A","seq":1}"#);
    assert_eq!(raw.request("a.two", "22"), r#"{"stream":"A","seq":2}"#);
    let too_large: Value = serde_json::from_str(&raw.request("a.one", &"x".repeat(101))).unwrap();
    assert_eq!(
        (&too_large["error"]["err_code"], &too_large["seq"]),
        (&json!(10054), &json!(0))
    );
    let info = call(raw, "STREAM.INFO.A", &json!({"subjects_filter": ">"}));
    assert_eq!(info["state"]["messages"], 2);
    assert_eq!(info["state"]["bytes"], (22 + 5 + 1 + 8) + (22 + 5 + 2 + 8));
    assert_eq!(info["state"]["subjects"], json!({"a.one": 1, "a.two": 1}));
    let got = call(raw, "STREAM.MSG.GET.A", &json!({"last_by_subj": "a.*"}));
    assert_eq!(
        (&got["message"]["seq"], &got["message"]["data"]),
        (&json!(2), &json!("MjI="))
    );
}

fn consumers(raw: &mut Raw) {
    let create = |name: &str, config: Value| {
        let mut config = config;
        config["name"] = json!(name);
        json!({"stream_name": "A", "config": config})
    };
    let made = call(
        raw,
        "CONSUMER.CREATE.A.C",
        &create("C", json!({"durable_name": "C", "ack_policy": "explicit"})),
    );
    assert_eq!(made["type"], "io.nats.jetstream.api.v1.consumer_create_response");
    for (field, value) in [
        ("ack_wait", json!(30_000_000_000_u64)),
        ("max_deliver", json!(-1)),
        ("max_waiting", json!(512)),
        ("max_ack_pending", json!(1000)),
        ("deliver_policy", json!("all")),
        ("replay_policy", json!("instant")),
    ] {
        assert_eq!(made["config"][field], value, "{field}");
    }
    assert_eq!(
        (&made["num_pending"], &made["delivered"]["stream_seq"]),
        (&json!(2), &json!(0))
    );
    let mut again = create(
        "C",
        json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": 5}),
    );
    again["action"] = json!("create");
    refused(raw, "CONSUMER.CREATE.A.C", &again, 10148);
    again["action"] = json!("update");
    again["config"]["name"] = json!("D");
    again["config"]["durable_name"] = json!("D");
    refused(raw, "CONSUMER.CREATE.A.D", &again, 10149);
    refused(
        raw,
        "CONSUMER.CREATE.A.F.a.two",
        &create("F", json!({"filter_subject": "a.one"})),
        10131,
    );
    refused(
        raw,
        "CONSUMER.CREATE.A.F",
        &create("F", json!({"filter_subjects": ["a.one", "a.*"]})),
        10138,
    );
    refused(
        raw,
        "CONSUMER.CREATE.A.F",
        &create("F", json!({"max_deliver": 1, "backoff": [1, 2]})),
        10116,
    );
    refused(
        raw,
        "CONSUMER.CREATE.A.F",
        &create("F", json!({"deliver_policy": "by_start_sequence"})),
        10094,
    );
    let durable = json!({"stream_name": "A", "config": {"ack_policy": "explicit"}});
    refused(raw, "CONSUMER.DURABLE.CREATE.A.F", &durable, 10018);
    refused(raw, "CONSUMER.INFO.A.NOPE", &Value::Null, 10014);
    refused(raw, "CONSUMER.DELETE.A.NOPE", &Value::Null, 10014);
    assert_eq!(
        call(raw, "CONSUMER.NAMES.A", &Value::Null)["consumers"],
        json!(["C"])
    );
}

fn pull(raw: &mut Raw, inbox: &str, body: &str) {
    raw.send(
        format!(
            "PUB $JS.API.CONSUMER.MSG.NEXT.A.C {inbox} {}\r\n{body}\r\n",
            body.len()
        )
        .as_bytes(),
    );
}

fn statuses(raw: &mut Raw) {
    pull(raw, "_INBOX.p1", "2");
    let first = raw.expect_start("MSG a.one 1 $JS.ACK.A.C.1.1.1.");
    assert_eq!(first.split(' ').nth(3).unwrap().split('.').count(), 9);
    assert!(first.ends_with(".1 1"), "one more is pending: {first}");
    assert_eq!(raw.take(3), "1\r\n");
    let second = raw.expect_start("MSG a.two 1 $JS.ACK.A.C.1.2.2.");
    assert!(second.ends_with(".0 2"), "{second}");
    assert_eq!(raw.take(4), "22\r\n");
    pull(raw, "_INBOX.p2", r#"{"batch":5,"no_wait":true}"#);
    raw.expect("HMSG _INBOX.p2 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n");
    pull(raw, "_INBOX.p3", r#"{"batch":5,"expires":100000000}"#);
    let timeout = "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 5\r\nNats-Pending-Bytes: 0\r\n\r\n";
    raw.expect(&format!("HMSG _INBOX.p3 1 81 81\r\n{timeout}\r\n"));
    pull(
        raw,
        "_INBOX.p4",
        r#"{"batch":1,"expires":300000000,"idle_heartbeat":200000000}"#,
    );
    raw.expect("HMSG _INBOX.p4 1 56 56\r\nNATS/1.0 400 Bad Request - heartbeat value too large\r\n\r\n\r\n");
    pull(
        raw,
        "_INBOX.p5",
        r#"{"batch":1,"expires":250000000,"idle_heartbeat":100000000}"#,
    );
    let heartbeat = "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n";
    raw.expect(&format!("HMSG _INBOX.p5 1 75 75\r\n{heartbeat}\r\n"));
    raw.expect(&format!("HMSG _INBOX.p5 1 75 75\r\n{heartbeat}\r\n"));
    raw.expect_start("HMSG _INBOX.p5 1 81 81");
    raw.expect_start("NATS/1.0 408 Request Timeout");
    for _ in 0..4 {
        raw.line();
    }
    raw.send(b"PUB $JS.API.CONSUMER.MSG.NEXT.A.NOPE _INBOX.p6 0\r\n\r\n");
    let nobody = "NATS/1.0 503\r\nNats-Subject: $JS.API.CONSUMER.MSG.NEXT.A.NOPE\r\n\r\n";
    raw.expect(&format!("HMSG _INBOX.p6 1 {0} {0}\r\n{nobody}\r\n", nobody.len()));
}

fn acks(raw: &mut Raw) {
    let ack = |raw: &mut Raw, seq: u64, payload: &str| {
        let subject = format!("$JS.ACK.A.C.1.{seq}.{seq}.1700000000000000000.0");
        raw.send(format!("PUB {subject} _INBOX.ack {}\r\n{payload}\r\n", payload.len()).as_bytes());
    };
    ack(raw, 2, "+ACK");
    raw.expect("MSG _INBOX.ack 1 0\r\n\r\n");
    let info = call(raw, "CONSUMER.INFO.A.C", &Value::Null);
    assert_eq!(
        (&info["num_ack_pending"], &info["ack_floor"]["stream_seq"]),
        (&json!(1), &json!(0))
    );
    // Acked again: nothing changes, and the client is not left waiting.
    ack(raw, 2, "+ACK");
    raw.expect("MSG _INBOX.ack 1 0\r\n\r\n");
    ack(raw, 1, "-NAK");
    raw.expect("MSG _INBOX.ack 1 0\r\n\r\n");
    pull(raw, "_INBOX.again", "1");
    raw.expect_start("MSG a.one 1 $JS.ACK.A.C.2.1.3.");
    assert_eq!(raw.take(3), "1\r\n");
    ack(raw, 1, "+TERM not wanted");
    raw.expect("MSG _INBOX.ack 1 0\r\n\r\n");
    let info = call(raw, "CONSUMER.INFO.A.C", &Value::Null);
    assert_eq!(
        (&info["num_ack_pending"], &info["ack_floor"]["stream_seq"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(info["ack_floor"]["consumer_seq"], 3);
}

fn purge_and_delete(raw: &mut Raw) {
    assert_eq!(
        call(raw, "STREAM.MSG.DELETE.A", &json!({"seq": 1}))["success"],
        true
    );
    refused(raw, "STREAM.MSG.DELETE.A", &json!({"seq": 1}), 10057);
    refused(raw, "STREAM.PURGE.A", &json!({"seq": 2, "keep": 1}), 10003);
    assert_eq!(call(raw, "STREAM.PURGE.A", &Value::Null)["purged"], 1);
    let state = call(raw, "STREAM.INFO.A", &Value::Null)["state"].clone();
    assert_eq!(
        (&state["messages"], &state["first_seq"], &state["last_seq"]),
        (&json!(0), &json!(3), &json!(2))
    );
    assert_eq!(call(raw, "CONSUMER.DELETE.A.C", &Value::Null)["success"], true);
    assert_eq!(call(raw, "STREAM.DELETE.A", &Value::Null)["success"], true);
    refused(raw, "STREAM.DELETE.A", &Value::Null, 10059);
}
