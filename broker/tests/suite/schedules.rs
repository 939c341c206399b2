//! Messages that wait for their time: at one time, every so often, by cron.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::raw::Raw;

const OPTIONS: &str = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
const FAR: &str = "Nats-Schedule: @at 2100-01-01T00:00:00Z";
/// Long past.
const AT_ONCE: &str = "Nats-Schedule: @at 2020-01-01T00:00:00Z";

pub(crate) fn check(address: SocketAddr) {
    let mut raw = Raw::ready(address, OPTIONS);
    raw.send(b"SUB _INBOX.> 1\r\n");
    refusals(&mut raw);
    fires(&mut raw);
    repeats(&mut raw);
    ends(&mut raw);
}

fn create(raw: &mut Raw, name: &str) {
    let subjects = [format!("{}.>", name.to_lowercase())];
    let config =
        json!({"name": name, "subjects": subjects, "allow_msg_schedules": true, "allow_msg_ttl": true});
    let made = raw.api(&format!("STREAM.CREATE.{name}"), &config);
    assert_eq!(made["config"]["allow_rollup_hdrs"], true, "{made}");
}

fn refusals(raw: &mut Raw) {
    raw.api(
        "STREAM.CREATE.HASTY",
        &json!({"name": "HASTY", "subjects": ["hasty.>"]}),
    );
    let refused = raw.store("hasty.a", &[FAR, "Nats-Schedule-Target: hasty.b"], "");
    assert_eq!(refused["error"]["err_code"], 10188);
    raw.api("STREAM.DELETE.HASTY", &Value::Null);

    create(raw, "PLANS");
    let to = "Nats-Schedule-Target: plans.out";
    for (headers, err_code) in [
        (&[FAR][..], 10190),
        (&[FAR, "Nats-Schedule-Target: plans.a"], 10190),
        (&[FAR, "Nats-Schedule-Target: other"], 10190),
        (&[FAR, "Nats-Schedule-Target: plans.*"], 10190),
        (&["Nats-Schedule: @at soon", to], 10189),
        (&["Nats-Schedule: @every 999ms", to], 10189),
        (&["Nats-Schedule: * * * * *", to], 10189),
        (&["Nats-Schedule: 0 0 0 31 2 *", to], 10189),
        (&["Nats-Schedule: 0 0 12 * * 7", to], 10189),
        (&[FAR, to, "Nats-Schedule-Time-Zone: Europe/Berlin"], 10189),
        (
            &["Nats-Schedule: @daily", to, "Nats-Schedule-Time-Zone: Mars/North"],
            10223,
        ),
        (&[FAR, to, "Nats-Schedule-TTL: soon"], 10191),
        (&[FAR, to, "Nats-Schedule-TTL: 0"], 10191),
        (&[FAR, to, "Nats-Rollup: all"], 10192),
        (&[FAR, to, "Nats-Schedule-Rollup: all"], 10192),
        (&[FAR, to, "Nats-Schedule-Source: plans.a"], 10203),
        (&[FAR, to, "Nats-Schedule-Source: plans.out"], 10203),
        (&[FAR, to, "Nats-Schedule-Source: other"], 10203),
        (&["Nats-Scheduler: plans.b"], 10212),
        (&["Nats-Schedule-Next: purge"], 10212),
    ] {
        let answer = raw.store("plans.a", headers, "");
        assert_eq!(answer["error"]["err_code"], err_code, "{headers:?}: {answer}");
    }
    for pattern in [
        "@at 2100-01-01T00:00:00+02:00",
        "@every 1m30s",
        "@hourly",
        "@yearly",
        "0 0 12 * * MON-FRI",
        "0 30 14 1,15 ? *",
        "1-10/2 0 0 1 jan *",
    ] {
        let answer = raw.store("plans.a", &[&format!("Nats-Schedule: {pattern}"), to], "");
        assert!(answer["error"].is_null(), "{pattern}: {answer}");
    }
    // Each took the place of the one before, and this message the place of the last.
    assert!(
        raw.store(
            "plans.b",
            &["Nats-Scheduler: plans.a", "Nats-Schedule-Next: purge"],
            ""
        )["error"]
            .is_null()
    );
    let info = raw.api("STREAM.INFO.PLANS", &json!({"subjects_filter": ">"}));
    assert_eq!(info["state"]["subjects"], json!({"plans.b": 1}));
    raw.api("STREAM.DELETE.PLANS", &Value::Null);
}

/// The last message on a subject: its headers and payload, once it is there.
#[track_caller]
fn last(raw: &mut Raw, stream: &str, subject: &str) -> (String, String) {
    for _ in 0..200 {
        let got = raw.api(
            &format!("STREAM.MSG.GET.{stream}"),
            &json!({"last_by_subj": subject}),
        );
        if got["error"].is_null() {
            let decode = |field: &str| {
                let text = got["message"][field].as_str().unwrap_or_default();
                String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
            };
            return (decode("hdrs"), decode("data"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing on {subject}");
}

fn count(raw: &mut Raw, stream: &str, subject: &str) -> u64 {
    let info = raw.api(
        &format!("STREAM.INFO.{stream}"),
        &json!({"subjects_filter": subject}),
    );
    info["state"]["subjects"][subject].as_u64().unwrap_or(0)
}

fn fires(raw: &mut Raw) {
    create(raw, "DUE");
    let headers = [
        AT_ONCE,
        "Nats-Schedule-Target: due.out",
        "Nats-Schedule-TTL: 1h",
        "Nats-TTL: 2h",
        "Nats-Msg-Id: 1",
        "A: b",
        "Nats-Expected-Last-Subject-Sequence: 0",
    ];
    raw.store("due.at", &headers, "late");
    let expect =
        "NATS/1.0\r\nA: b\r\nNats-Scheduler: due.at\r\nNats-Schedule-Next: purge\r\nNats-TTL: 1h\r\n\r\n";
    assert_eq!(
        last(raw, "DUE", "due.out"),
        (expect.to_owned(), "late".to_owned())
    );
    assert_eq!(
        count(raw, "DUE", "due.at"),
        0,
        "the schedule goes with its only time"
    );
    // What is said on another subject, as of then.
    raw.store("due.source", &["C: d"], "news");
    let soon = (Timestamp::now() + 300.milliseconds()).to_string();
    let schedule = format!("Nats-Schedule: @at {soon}");
    let headers = [
        &*schedule,
        "Nats-Schedule-Target: due.copy",
        "Nats-Schedule-Source: due.source",
    ];
    raw.store("due.soon", &headers, "not this");
    assert_eq!(count(raw, "DUE", "due.copy"), 0, "not before its time");
    let expect = "NATS/1.0\r\nC: d\r\nNats-Scheduler: due.soon\r\nNats-Schedule-Next: purge\r\n\r\n";
    assert_eq!(
        last(raw, "DUE", "due.copy"),
        (expect.to_owned(), "news".to_owned())
    );
    raw.api("STREAM.DELETE.DUE", &Value::Null);
}

fn repeats(raw: &mut Raw) {
    create(raw, "OFTEN");
    raw.store(
        "often.e",
        &["Nats-Schedule: @every 1s", "Nats-Schedule-Target: often.every"],
        "tick",
    );
    let headers = [
        "Nats-Schedule: * * * * * *",
        "Nats-Schedule-Target: often.cron",
        "Nats-Schedule-Rollup: sub",
    ];
    raw.store("often.c", &headers, "tock");
    for _ in 0..200 {
        if count(raw, "OFTEN", "often.every") == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (headers, payload) = last(raw, "OFTEN", "often.every");
    assert_eq!(payload, "tick");
    let next = headers
        .split("Nats-Schedule-Next: ")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    let next: Timestamp = next.parse().unwrap();
    assert!(
        next.subsec_nanosecond() == 0 && next > Timestamp::now() - 1.second(),
        "{headers}"
    );
    assert_eq!(last(raw, "OFTEN", "often.cron").1, "tock");
    assert_eq!(
        count(raw, "OFTEN", "often.cron"),
        1,
        "each takes the place of the one before"
    );
    raw.api("STREAM.DELETE.OFTEN", &Value::Null);
}

/// A schedule is the last message of its subject: whatever takes its place or takes it out ends it.
fn ends(raw: &mut Raw) {
    create(raw, "ENDED");
    let every = "Nats-Schedule: @every 1s";
    for name in ["deleted", "purged", "replaced", "kept"] {
        let target = format!("Nats-Schedule-Target: ended.of.{name}");
        raw.store(&format!("ended.{name}"), &[every, &target], name);
    }
    raw.api("STREAM.MSG.DELETE.ENDED", &json!({"seq": 1}));
    raw.api("STREAM.PURGE.ENDED", &json!({"filter": "ended.purged"}));
    raw.store("ended.replaced", &[], "plain");
    last(raw, "ENDED", "ended.of.kept");
    for name in ["deleted", "purged", "replaced"] {
        assert_eq!(count(raw, "ENDED", &format!("ended.of.{name}")), 0, "{name}");
    }
    raw.api("STREAM.DELETE.ENDED", &Value::Null);
}

/// Before and after a restart.
pub(crate) fn before(address: SocketAddr) {
    let mut raw = Raw::ready(address, OPTIONS);
    raw.send(b"SUB _INBOX.> 1\r\n");
    create(&mut raw, "WAITING");
    raw.store(
        "waiting.gone",
        &[AT_ONCE, "Nats-Schedule-Target: waiting.once"],
        "once",
    );
    last(&mut raw, "WAITING", "waiting.once");
    raw.store("waiting.far", &[FAR, "Nats-Schedule-Target: waiting.never"], "");
    let soon = (Timestamp::now() + 200.milliseconds()).to_string();
    let schedule = format!("Nats-Schedule: @at {soon}");
    raw.store(
        "waiting.soon",
        &[&schedule, "Nats-Schedule-Target: waiting.out"],
        "meanwhile",
    );
}

pub(crate) fn after(address: SocketAddr) {
    let mut raw = Raw::ready(address, OPTIONS);
    raw.send(b"SUB _INBOX.> 1\r\n");
    assert_eq!(last(&mut raw, "WAITING", "waiting.out").1, "meanwhile");
    assert_eq!(count(&mut raw, "WAITING", "waiting.once"), 1);
    assert_eq!(
        (
            count(&mut raw, "WAITING", "waiting.far"),
            count(&mut raw, "WAITING", "waiting.never")
        ),
        (1, 0)
    );
    raw.api("STREAM.DELETE.WAITING", &Value::Null);
}
