//! Work queues and interest: when a message leaves the stream because it is done.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::{Raw, Received};

pub(crate) fn check(address: SocketAddr) {
    let options = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
    let mut raw = Raw::ready(address, options);
    raw.send(b"SUB _INBOX.> 1\r\n");
    work_queue(&mut raw);
    interest(&mut raw);
}

fn make(raw: &mut Raw, stream: &str, name: &str, config: &Value) -> u64 {
    let mut all = json!({"durable_name": name, "ack_policy": "explicit"});
    all.as_object_mut()
        .unwrap()
        .extend(config.as_object().unwrap().clone());
    let subject = format!("CONSUMER.CREATE.{stream}.{name}");
    let made = raw.api(&subject, &json!({"stream_name": stream, "config": all}));
    made["error"]["err_code"].as_u64().unwrap_or(0)
}

fn take(raw: &mut Raw, stream: &str, consumer: &str, count: usize) -> Vec<Received> {
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    raw.publish(&subject, "_INBOX.taken", &[], &count.to_string());
    (0..count).map(|_| raw.message()).collect()
}

fn settle(raw: &mut Raw, message: &Received, word: &str) {
    raw.publish(&message.reply, "_INBOX.done", &[], word);
    assert_eq!(raw.message().subject, "_INBOX.done");
}

/// Messages, first and last sequence.
fn state(raw: &mut Raw, stream: &str) -> [u64; 3] {
    let info = raw.api(&format!("STREAM.INFO.{stream}"), &Value::Null);
    ["messages", "first_seq", "last_seq"].map(|field| info["state"][field].as_u64().unwrap())
}

fn work_queue(raw: &mut Raw) {
    let config = json!({"name": "QUEUE", "subjects": ["queue.>"], "retention": "workqueue"});
    raw.api("STREAM.CREATE.QUEUE", &config);
    for (name, config, err_code) in [
        ("N", json!({"ack_policy": "none"}), 10084),
        ("L", json!({"ack_policy": "all"}), 10098),
        ("W", json!({"deliver_policy": "new"}), 10101),
        ("A", json!({"filter_subject": "queue.a.>"}), 0),
        ("B", json!({}), 10099),
        ("C", json!({"filter_subject": "queue.a.x"}), 10100),
        (
            "D",
            json!({"filter_subject": "queue.d", "max_deliver": 1, "ack_wait": 100_000_000}),
            0,
        ),
    ] {
        assert_eq!(make(raw, "QUEUE", name, &config), err_code, "{name}");
    }
    for subject in ["queue.a.1", "queue.a.2", "queue.d", "queue.nobody"] {
        raw.store(subject, &[], "x");
    }
    let taken = take(raw, "QUEUE", "A", 2);
    assert_eq!(state(raw, "QUEUE"), [4, 1, 4]);
    settle(raw, &taken[1], "+ACK");
    assert_eq!(state(raw, "QUEUE"), [3, 1, 4]);
    settle(raw, &taken[0], "+TERM");
    assert_eq!(state(raw, "QUEUE"), [2, 3, 4]);
    // Given up, a message stays; a late ack still takes it out.
    raw.send(b"SUB $JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.QUEUE.D 2\r\n");
    let given_up = take(raw, "QUEUE", "D", 1);
    assert!(raw.message().payload.contains("max_deliver"));
    assert_eq!(state(raw, "QUEUE"), [2, 3, 4]);
    settle(raw, &given_up[0], "+ACK");
    assert_eq!(state(raw, "QUEUE"), [1, 4, 4]);
    raw.send(b"UNSUB 2\r\n");
    raw.api("STREAM.DELETE.QUEUE", &Value::Null);
}

fn interest(raw: &mut Raw) {
    let config = json!({"name": "HEARD", "subjects": ["heard.>"], "retention": "interest"});
    raw.api("STREAM.CREATE.HEARD", &config);
    // Nobody is there: it gets a number and is not kept. Its id counts all the same.
    assert_eq!(raw.store("heard.a", &["Nats-Msg-Id: 1"], "x")["seq"], 1);
    assert_eq!(raw.store("heard.a", &["Nats-Msg-Id: 1"], "x")["duplicate"], true);
    assert_eq!(state(raw, "HEARD"), [0, 2, 1]);
    assert_eq!(make(raw, "HEARD", "A", &json!({"filter_subject": "heard.a"})), 0);
    assert_eq!(make(raw, "HEARD", "ALL", &json!({"ack_policy": "all"})), 0);
    for subject in ["heard.a", "heard.b", "heard.a"] {
        raw.store(subject, &[], "x");
    }
    let first = take(raw, "HEARD", "A", 2);
    settle(raw, &first[0], "+ACK");
    assert_eq!(state(raw, "HEARD"), [3, 2, 4]);
    let second = take(raw, "HEARD", "ALL", 3);
    settle(raw, &second[1], "+ACK");
    assert_eq!(state(raw, "HEARD"), [1, 4, 4]);
    raw.store("heard.b", &[], "y");
    assert_eq!(state(raw, "HEARD"), [2, 4, 5]);
    // What only a consumer that is gone would have had goes with it.
    raw.api("CONSUMER.DELETE.HEARD.ALL", &Value::Null);
    assert_eq!(state(raw, "HEARD"), [1, 4, 5]);
    settle(raw, &first[1], "+ACK");
    assert_eq!(state(raw, "HEARD"), [0, 6, 5]);
    raw.api("STREAM.DELETE.HEARD", &Value::Null);
}
