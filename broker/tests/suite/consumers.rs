//! Consumers beyond the plain pull: push, pauses, resets, priority groups, samples.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::{Raw, Received};

pub(crate) fn check(address: SocketAddr) {
    let options = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
    let mut raw = Raw::ready(address, options);
    raw.send(b"SUB _INBOX.> 1\r\n");
    raw.api(
        "STREAM.CREATE.MORE",
        &json!({"name": "MORE", "subjects": ["more.>"]}),
    );
    for n in 0..5 {
        raw.store(&format!("more.{}", n % 2), &[], &format!("m{n}"));
    }
    last_per_subject(&mut raw);
    redeliveries_and_heartbeats(&mut raw);
    flow_control(&mut raw, address);
    original_replay(&mut raw);
    listeners_by_queue(&mut raw);
    pauses(&mut raw);
    resets(&mut raw);
    samples(&mut raw);
    overflow(&mut raw);
    prioritized(&mut raw);
    pinned(&mut raw);
    late_consumers(&mut raw);
    refusals(&mut raw);
    raw.api("STREAM.DELETE.MORE", &Value::Null);
}

fn make(raw: &mut Raw, name: &str, config: &Value) -> Value {
    let mut all = json!({"name": name, "ack_policy": "explicit"});
    all.as_object_mut()
        .unwrap()
        .extend(config.as_object().unwrap().clone());
    let made = raw.api(
        &format!("CONSUMER.CREATE.MORE.{name}"),
        &json!({"stream_name": "MORE", "config": all}),
    );
    assert!(made["error"].is_null(), "{made}");
    made
}

fn drop_consumer(raw: &mut Raw, name: &str) {
    let gone = raw.api(&format!("CONSUMER.DELETE.MORE.{name}"), &Value::Null);
    assert_eq!(gone["success"], true);
}

fn pull(raw: &mut Raw, name: &str, to: &str, request: &Value) {
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.MORE.{name}");
    raw.publish(&subject, &format!("_INBOX.{to}"), &[], &request.to_string());
}

/// Delivery count, stream sequence, consumer sequence and how many are left, as the ack subject tells.
fn place(message: &Received) -> [u64; 4] {
    let tokens: Vec<&str> = message.reply.split('.').collect();
    [4, 5, 6, 8].map(|at| tokens[at].parse().unwrap())
}

fn last_per_subject(raw: &mut Raw) {
    raw.send(b"SUB to.last 2\r\n");
    let config = json!({
        "deliver_subject": "to.last", "ack_policy": "none", "headers_only": true,
        "deliver_policy": "last_per_subject", "filter_subject": "more.>",
    });
    let made = make(raw, "LAST", &config);
    assert_eq!(
        (&made["num_pending"], &made["push_bound"]),
        (&json!(2), &json!(true))
    );
    let first = raw.message();
    assert_eq!((first.subject.as_str(), place(&first)), ("more.1", [1, 4, 1, 1]));
    assert_eq!(
        (first.header("Nats-Msg-Size"), first.payload.as_str()),
        (Some("2"), "")
    );
    assert_eq!(place(&raw.message()), [1, 5, 2, 0]);
    raw.publish("more.9", "", &[], "later");
    assert_eq!(place(&raw.message()), [1, 6, 3, 0]);
    drop_consumer(raw, "LAST");
    raw.send(b"UNSUB 2\r\n");
}

fn redeliveries_and_heartbeats(raw: &mut Raw) {
    raw.send(b"SUB to.work 2\r\n");
    let config = json!({
        "deliver_subject": "to.work", "ack_wait": 300_000_000, "max_ack_pending": 1, "max_deliver": 2,
        "flow_control": true, "idle_heartbeat": 1_000_000_000, "filter_subject": "more.9",
    });
    make(raw, "WORK", &config);
    assert_eq!(place(&raw.message()), [1, 6, 1, 0]);
    let again = raw.message();
    assert_eq!(place(&again), [2, 6, 2, 0]);
    raw.publish(&again.reply, "_INBOX.done", &[], "+ACK");
    assert_eq!(raw.message().subject, "_INBOX.done");
    let heartbeat = raw.message();
    assert_eq!(heartbeat.status(), "100 Idle Heartbeat");
    assert_eq!(heartbeat.header("Nats-Last-Consumer"), Some("2"));
    assert_eq!(heartbeat.header("Nats-Last-Stream"), Some("6"));
    let asked = raw.request("$JS.API.CONSUMER.MSG.NEXT.MORE.WORK", "");
    assert_eq!(asked.trim_end(), "NATS/1.0 409 Consumer is push based");
    drop_consumer(raw, "WORK");
    raw.send(b"UNSUB 2\r\n");
}

/// A client that does not answer gets no more than a window.
fn flow_control(raw: &mut Raw, address: SocketAddr) {
    raw.api("STREAM.CREATE.WINDOW", &json!({"name": "WINDOW"}));
    let payload = "x".repeat(500_000);
    for _ in 0..12 {
        raw.store("WINDOW", &[], &payload);
    }
    let mut client = Raw::ready(address, r#"{"verbose":false,"headers":true}"#);
    client.send(b"SUB to.flow 1\r\nPING\r\n");
    let config = json!({
        "name": "F", "deliver_subject": "to.flow", "flow_control": true, "idle_heartbeat": 200_000_000,
    });
    raw.api(
        "CONSUMER.CREATE.WINDOW.F",
        &json!({"stream_name": "WINDOW", "config": config}),
    );
    let (mut count, mut request) = (0, String::new());
    let stalled = loop {
        let message = client.message();
        match message.status() {
            "" => count += 1,
            "100 FlowControl Request" => request = message.reply,
            "100 Idle Heartbeat" => break message,
            other => panic!("{other}"),
        }
    };
    assert!((3..12).contains(&count), "{count} of 12 without an answer");
    assert_eq!(stalled.header("Nats-Consumer-Stalled"), Some(request.as_str()));
    client.publish(&request, "", &[], "");
    while count < 12 {
        let message = client.message();
        match message.status() {
            "" => count += 1,
            "100 FlowControl Request" => client.publish(&message.reply, "", &[], ""),
            _ => {}
        }
    }
    raw.api("STREAM.DELETE.WINDOW", &Value::Null);
}

/// The pauses between messages are kept.
fn original_replay(raw: &mut Raw) {
    raw.api("STREAM.CREATE.REPLAY", &json!({"name": "REPLAY"}));
    raw.store("REPLAY", &[], "1");
    std::thread::sleep(std::time::Duration::from_millis(300));
    raw.store("REPLAY", &[], "2");
    raw.send(b"SUB to.replay 2\r\n");
    let config = json!({"name": "R", "deliver_subject": "to.replay", "replay_policy": "original"});
    let started = std::time::Instant::now();
    raw.publish(
        "$JS.API.CONSUMER.CREATE.REPLAY.R",
        "",
        &[],
        &json!({"stream_name": "REPLAY", "config": config}).to_string(),
    );
    assert_eq!(raw.message().payload, "1");
    assert_eq!(raw.message().payload, "2");
    assert!(started.elapsed().as_millis() >= 290, "{:?}", started.elapsed());
    raw.send(b"UNSUB 2\r\n");
    raw.api("STREAM.DELETE.REPLAY", &Value::Null);
}

fn listeners_by_queue(raw: &mut Raw) {
    raw.send(b"SUB to.group workers 2\r\nSUB to.group workers 3\r\n");
    let config = json!({"deliver_subject": "to.group", "deliver_group": "workers", "ack_policy": "all"});
    make(raw, "GROUP", &config);
    let mut seen: Vec<u64> = (0..6).map(|_| place(&raw.message())[1]).collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    drop_consumer(raw, "GROUP");
    raw.send(b"UNSUB 2\r\nUNSUB 3\r\n");
}

fn pauses(raw: &mut Raw) {
    let made = make(raw, "PAUSED", &json!({"pause_until": "2100-01-01T00:00:00Z"}));
    assert_eq!(made["paused"], true);
    assert!(made["pause_remaining"].as_u64().unwrap() > 1_000_000_000);
    pull(raw, "PAUSED", "p", &json!({"batch": 1, "expires": 200_000_000}));
    assert_eq!(raw.message().status(), "408 Request Timeout");
    raw.send(b"SUB $JS.EVENT.ADVISORY.CONSUMER.PAUSE.MORE.PAUSED 2\r\n");
    raw.publish("$JS.API.CONSUMER.PAUSE.MORE.PAUSED", "_INBOX.p", &[], "{}");
    // The answer and the event come in no order.
    let mut both = [raw.message(), raw.message()];
    both.sort_by(|left, right| left.subject.cmp(&right.subject));
    let [told, ended] = both.map(|message| serde_json::from_str::<Value>(&message.payload).unwrap());
    assert_eq!(
        (&ended["paused"], &ended["pause_until"]),
        (&json!(false), &json!("0001-01-01T00:00:00Z"))
    );
    assert_eq!(
        (&told["paused"], &told["consumer"]),
        (&json!(false), &json!("PAUSED"))
    );
    raw.send(b"UNSUB 2\r\n");
    pull(raw, "PAUSED", "p", &json!({"batch": 1, "expires": 200_000_000}));
    assert_eq!(place(&raw.message()), [1, 1, 1, 5]);
    let paused = raw.api(
        "CONSUMER.PAUSE.MORE.PAUSED",
        &json!({"pause_until": "2100-01-01T00:00:00Z"}),
    );
    assert_eq!(paused["paused"], true);
    drop_consumer(raw, "PAUSED");
}

fn resets(raw: &mut Raw) {
    make(raw, "RESET", &json!({}));
    pull(raw, "RESET", "r", &json!({"batch": 4}));
    let taken: Vec<Received> = (0..4).map(|_| raw.message()).collect();
    for message in &taken[..2] {
        raw.publish(&message.reply, "_INBOX.done", &[], "");
        raw.message();
    }
    let reset = raw.api("CONSUMER.RESET.MORE.RESET", &Value::Null);
    assert_eq!(reset["reset_seq"], 3);
    assert_eq!(reset["delivered"], json!({"consumer_seq": 0, "stream_seq": 2}));
    assert_eq!(
        (&reset["num_ack_pending"], &reset["num_pending"]),
        (&json!(0), &json!(4))
    );
    pull(raw, "RESET", "r", &json!({"batch": 1}));
    assert_eq!(place(&raw.message()), [1, 3, 1, 3]);
    let reset = raw.api("CONSUMER.RESET.MORE.RESET", &json!({"seq": 5}));
    assert_eq!(reset["reset_seq"], 5);
    pull(raw, "RESET", "r", &json!({"batch": 1}));
    assert_eq!(place(&raw.message()), [1, 5, 1, 1]);
    drop_consumer(raw, "RESET");
    make(raw, "NEW", &json!({"deliver_policy": "new"}));
    let refused = raw.api("CONSUMER.RESET.MORE.NEW", &json!({"seq": 1}));
    assert_eq!(refused["error"]["err_code"], 10204);
    drop_consumer(raw, "NEW");
}

fn samples(raw: &mut Raw) {
    raw.send(b"SUB $JS.EVENT.METRIC.CONSUMER.ACK.MORE.SAMPLED 2\r\n");
    make(raw, "SAMPLED", &json!({"sample_freq": "100%"}));
    pull(raw, "SAMPLED", "s", &json!({"batch": 1}));
    let message = raw.message();
    raw.publish(&message.reply, "", &[], "");
    let metric: Value = serde_json::from_str(&raw.message().payload).unwrap();
    assert_eq!(metric["type"], "io.nats.jetstream.metric.v1.consumer_ack");
    assert_eq!(
        (&metric["stream_seq"], &metric["deliveries"]),
        (&json!(1), &json!(1))
    );
    assert!(metric["ack_time"].as_u64().unwrap() > 0);
    drop_consumer(raw, "SAMPLED");
    raw.send(b"UNSUB 2\r\n");
}

fn overflow(raw: &mut Raw) {
    let config = json!({"priority_policy": "overflow", "priority_groups": ["A"]});
    let made = make(raw, "OVER", &config);
    assert_eq!(made["priority_groups"][0]["group"], "A");
    pull(
        raw,
        "OVER",
        "o",
        &json!({"batch": 9, "expires": 300_000_000, "group": "A", "min_pending": 5}),
    );
    assert_eq!([place(&raw.message())[1], place(&raw.message())[1]], [1, 2]);
    assert_eq!(raw.message().status(), "408 Request Timeout");
    pull(
        raw,
        "OVER",
        "o",
        &json!({"batch": 1, "group": "A", "min_ack_pending": 2}),
    );
    assert_eq!(place(&raw.message())[1], 3);
    let bad = [
        (json!({"batch": 1}), "Priority Group missing"),
        (json!({"batch": 1, "group": "B"}), "Invalid Priority Group"),
        (
            json!({"batch": 1, "group": "A", "id": "x"}),
            "Not a Pinned Client Priority consumer",
        ),
        (
            json!({"batch": 1, "group": "A", "priority": 10}),
            "Priority must be between 0 and 9",
        ),
    ];
    for (request, text) in bad {
        pull(raw, "OVER", "o", &request);
        assert_eq!(raw.message().status(), format!("400 Bad Request - {text}"));
    }
    drop_consumer(raw, "OVER");
}

/// Where a pull's messages go is told by the subscription's number.
fn prioritized(raw: &mut Raw) {
    make(
        raw,
        "PRIO",
        &json!({"priority_policy": "prioritized", "priority_groups": ["A"], "deliver_policy": "new"}),
    );
    raw.send(b"SUB low 5\r\nSUB high 6\r\n");
    for (to, priority) in [("low", 5), ("high", 1)] {
        let request = json!({"batch": 2, "expires": 5_000_000_000_u64, "group": "A", "priority": priority});
        raw.publish(
            "$JS.API.CONSUMER.MSG.NEXT.MORE.PRIO",
            to,
            &[],
            &request.to_string(),
        );
    }
    while raw.api("CONSUMER.INFO.MORE.PRIO", &Value::Null)["num_waiting"] != 2 {}
    for _ in 0..4 {
        raw.publish("more.prio", "", &[], "x");
    }
    let mut served = Vec::new();
    while served.len() < 4 {
        let line = raw.line();
        if line.starts_with("MSG more.prio ") {
            served.push(line.split(' ').nth(2).unwrap().to_owned());
        }
    }
    assert_eq!(served, ["6", "6", "5", "5"]);
    raw.take("x\r\n".len());
    raw.send(b"UNSUB 5\r\nUNSUB 6\r\n");
    drop_consumer(raw, "PRIO");
    raw.api("STREAM.PURGE.MORE", &json!({"filter": "more.prio"}));
}

fn pinned(raw: &mut Raw) {
    let config = json!({
        "priority_policy": "pinned_client", "priority_groups": ["A"], "priority_timeout": 60_000_000_000_u64,
    });
    make(raw, "PIN", &config);
    pull(raw, "PIN", "a", &json!({"batch": 1, "group": "A"}));
    let first = raw.message();
    let id = first.header("Nats-Pin-Id").unwrap().to_owned();
    let info = raw.api("CONSUMER.INFO.MORE.PIN", &Value::Null);
    assert_eq!(info["priority_groups"][0]["pinned_client_id"], id);
    // Another waits; the pinned one goes on.
    pull(
        raw,
        "PIN",
        "b",
        &json!({"batch": 1, "group": "A", "expires": 300_000_000}),
    );
    assert_eq!(raw.message().status(), "408 Request Timeout");
    pull(raw, "PIN", "a", &json!({"batch": 1, "group": "A", "id": id}));
    assert_eq!(raw.message().header("Nats-Pin-Id"), Some(id.as_str()));
    pull(raw, "PIN", "b", &json!({"batch": 1, "group": "A", "id": "other"}));
    assert_eq!(raw.message().status(), "423 Nats-Pin-Id mismatch");
    let unknown = raw.api("CONSUMER.UNPIN.MORE.PIN", &json!({"group": "B"}));
    assert_eq!(unknown["error"]["err_code"], 10160);
    let unpinned = raw.api("CONSUMER.UNPIN.MORE.PIN", &json!({"group": "A"}));
    assert_eq!(
        unpinned,
        json!({"type": "io.nats.jetstream.api.v1.consumer_unpin_response"})
    );
    pull(raw, "PIN", "b", &json!({"batch": 1, "group": "A"}));
    assert_ne!(raw.message().header("Nats-Pin-Id"), Some(id.as_str()));
    drop_consumer(raw, "PIN");
}

/// Who asked in vain before a consumer was there is heard once it is.
fn late_consumers(raw: &mut Raw) {
    pull(raw, "LATER", "l", &json!({"batch": 1}));
    assert_eq!(raw.message().status(), "503");
    make(raw, "LATER", &json!({}));
    pull(raw, "LATER", "l", &json!({"batch": 1}));
    assert_eq!(place(&raw.message()), [1, 1, 1, 5]);
    drop_consumer(raw, "LATER");
}

fn refusals(raw: &mut Raw) {
    for (field, value, err_code) in [
        ("deliver_subject", json!("a.*"), 10079),
        ("deliver_subject", json!("more.x"), 10081),
        ("idle_heartbeat", json!(1_000_000_000), 10088),
        ("flow_control", json!(true), 10089),
        ("rate_limit_bps", json!(1000), 10086),
        ("deliver_policy", json!("last_per_subject"), 10094),
        ("sample_freq", json!("often"), 10095),
        ("priority_groups", json!(["A"]), 10196),
        ("priority_timeout", json!(1_000_000_000), 10197),
        ("priority_policy", json!("overflow"), 10159),
        ("num_replicas", json!(3), 10074),
        ("max_expires", json!(5), 10115),
        ("direct", json!(true), 10090),
    ] {
        let body = json!({"stream_name": "MORE", "config": {"name": "BAD", field: value}});
        let answer = raw.api("CONSUMER.CREATE.MORE.BAD", &body);
        assert_eq!(answer["error"]["err_code"], err_code, "{field}: {answer}");
    }
}
