//! Direct gets: one message, batches, the last of many subjects.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::{Raw, Received};

pub(crate) fn check(address: SocketAddr) {
    let options = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
    let mut raw = Raw::ready(address, options);
    raw.send(b"SUB _INBOX.> 1\r\n");
    let config = json!({"name": "GETS", "subjects": ["gets.>"], "allow_direct": true});
    raw.api("STREAM.CREATE.GETS", &config);
    for n in 0..8 {
        raw.store(&format!("gets.{}", n % 3), &["Key: value"], &format!("m{n}"));
    }
    raw.api("STREAM.MSG.DELETE.GETS", &json!({"seq": 4}));
    one(&mut raw);
    batches(&mut raw);
    last_of_many(&mut raw);
    refusals(&mut raw);
    raw.api("STREAM.DELETE.GETS", &Value::Null);
}

fn ask(raw: &mut Raw, request: &Value) {
    raw.publish("$JS.API.DIRECT.GET.GETS", "_INBOX.got", &[], &request.to_string());
}

fn one(raw: &mut Raw) {
    ask(raw, &json!({"seq": 2, "unknown": true}));
    let found = raw.message();
    let lines: Vec<&str> = found.headers.split("\r\n").collect();
    assert_eq!(
        lines[..5],
        [
            "NATS/1.0",
            "Key: value",
            "Nats-Stream: GETS",
            "Nats-Subject: gets.1",
            "Nats-Sequence: 2"
        ]
    );
    assert_eq!(found.payload, "m1");
    ask(raw, &json!({"seq": 2, "no_hdr": true}));
    let bare = raw.message();
    assert_eq!((bare.headers.as_str(), bare.payload.as_str()), ("", "m1"));
}

/// Sequences of a batch, and its end.
fn batch(raw: &mut Raw, request: &Value) -> (Vec<[u64; 3]>, Received) {
    ask(raw, request);
    let mut found = Vec::new();
    loop {
        let message = raw.message();
        if !message.status().is_empty() {
            return (found, message);
        }
        let number = |name: &str| message.header(name).unwrap().parse().unwrap();
        found.push([
            number("Nats-Sequence"),
            number("Nats-Num-Pending"),
            number("Nats-Last-Sequence"),
        ]);
    }
}

fn batches(raw: &mut Raw) {
    let (found, end) = batch(raw, &json!({"seq": 1, "batch": 4}));
    assert_eq!(found, [[1, 6, 0], [2, 5, 1], [3, 4, 2], [5, 3, 3]]);
    assert_eq!(end.status(), "204 EOB");
    assert_eq!(
        (end.header("Nats-Num-Pending"), end.header("Nats-Last-Sequence")),
        (Some("3"), Some("5"))
    );
    let (found, _) = batch(raw, &json!({"next_by_subj": "gets.1", "batch": 9}));
    assert_eq!(found, [[2, 2, 0], [5, 1, 2], [8, 0, 5]]);
    let (found, _) = batch(raw, &json!({"seq": 5, "batch": 9, "max_bytes": 60}));
    assert_eq!(found.len(), 2);
    let (found, _) = batch(raw, &json!({"start_time": "2001-01-01T00:00:00Z", "batch": 1}));
    assert_eq!(found, [[1, 6, 0]]);
}

fn last_of_many(raw: &mut Raw) {
    let (found, end) = batch(raw, &json!({"multi_last": ["gets.*"]}));
    assert_eq!(found, [[6, 2, 0], [7, 1, 6], [8, 0, 7]]);
    assert_eq!(
        (end.status(), end.header("Nats-UpTo-Sequence")),
        ("204 EOB", Some("8"))
    );
    let (found, end) = batch(
        raw,
        &json!({"multi_last": ["gets.0", "gets.1"], "up_to_seq": 5, "batch": 1}),
    );
    assert_eq!(found, [[1, 1, 0]]);
    assert_eq!(
        (end.header("Nats-Num-Pending"), end.header("Nats-UpTo-Sequence")),
        (Some("1"), Some("5"))
    );
    let future = json!({"multi_last": ["gets.>"], "up_to_time": "2100-01-01T00:00:00Z"});
    assert_eq!(batch(raw, &future).0.len(), 3);
}

fn refusals(raw: &mut Raw) {
    for (request, status) in [
        (json!({"seq": 4}), "404 Message Not Found"),
        (json!({"seq": 99, "batch": 2}), "404 Message Not Found"),
        (json!({"multi_last": ["none"]}), "404 No Results"),
        (json!({}), "408 Empty Request"),
        (json!({"batch": 3}), "408 Empty Request"),
        (json!({"seq": 1, "last_by_subj": "gets.1"}), "408 Bad Request"),
        (
            json!({"multi_last": ["gets.1"], "last_by_subj": "x"}),
            "408 Bad Request",
        ),
        (
            json!({"multi_last": ["gets.1"], "up_to_seq": 1, "up_to_time": "2100-01-01T00:00:00Z"}),
            "408 Bad Request",
        ),
    ] {
        ask(raw, &request);
        assert_eq!(raw.message().status(), status, "{request}");
    }
}
