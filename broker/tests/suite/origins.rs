//! Mirrors and sources of streams on the same server.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::raw::Raw;

pub(crate) fn check(address: SocketAddr) {
    let options = r#"{"verbose":false,"headers":true,"no_responders":true}"#;
    let mut raw = Raw::ready(address, options);
    raw.send(b"SUB _INBOX.> 1\r\n");
    raw.api(
        "STREAM.CREATE.ORIGIN",
        &json!({"name": "ORIGIN", "subjects": ["origin.>"]}),
    );
    for subject in ["origin.a", "origin.b", "origin.c"] {
        raw.store(subject, &["Key: value"], subject);
    }
    raw.api("STREAM.MSG.DELETE.ORIGIN", &json!({"seq": 2}));
    mirror(&mut raw);
    sources(&mut raw);
    refusals(&mut raw);
}

/// Copies go on after a restart where they stopped, and none is made twice.
pub(crate) fn check_restarted(address: SocketAddr) {
    let mut raw = Raw::ready(
        address,
        r#"{"verbose":false,"headers":true,"no_responders":true}"#,
    );
    raw.send(b"SUB _INBOX.> 1\r\n");
    assert_eq!(raw.store("origin.later", &[], "")["seq"], 5);
    wait(&mut raw, "MIRROR", 4);
    wait(&mut raw, "GATHERED", 6);
    assert_eq!(state(&mut raw, "MIRROR"), [4, 1, 5]);
    assert_eq!(state(&mut raw, "GATHERED"), [6, 1, 6]);
}

/// Messages, first and last sequence.
fn state(raw: &mut Raw, stream: &str) -> [u64; 3] {
    let info = raw.api(&format!("STREAM.INFO.{stream}"), &Value::Null);
    ["messages", "first_seq", "last_seq"].map(|field| info["state"][field].as_u64().unwrap())
}

fn wait(raw: &mut Raw, stream: &str, messages: u64) {
    for _ in 0..200 {
        if state(raw, stream)[0] >= messages {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{stream} has {:?}, not {messages}", state(raw, stream));
}

/// Subject and headers of a stored message.
fn stored(raw: &mut Raw, stream: &str, seq: u64) -> (String, String) {
    let found = raw.api(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": seq}));
    let headers = STANDARD.decode(found["message"]["hdrs"].as_str().unwrap_or_default());
    let subject = found["message"]["subject"].as_str().unwrap_or_default();
    (subject.to_owned(), String::from_utf8(headers.unwrap()).unwrap())
}

/// The same sequences and times, gaps included.
fn mirror(raw: &mut Raw) {
    let made = raw.api(
        "STREAM.CREATE.MIRROR",
        &json!({"name": "MIRROR", "mirror": {"name": "ORIGIN"}}),
    );
    assert!(made["config"]["subjects"].is_null());
    wait(raw, "MIRROR", 2);
    assert_eq!(state(raw, "MIRROR"), [2, 1, 3]);
    raw.store("origin.d", &[], "late");
    wait(raw, "MIRROR", 3);
    let [copy, own] =
        ["MIRROR", "ORIGIN"].map(|stream| raw.api(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": 4})));
    assert_eq!(copy["message"], own["message"]);
    let info = raw.api("STREAM.INFO.MIRROR", &Value::Null);
    assert_eq!(
        (&info["mirror"]["name"], &info["mirror"]["lag"]),
        (&json!("ORIGIN"), &json!(0))
    );
    let transforms = json!([{"src": "origin.c", "dest": "to.c"}, {"src": "origin.d", "dest": "d"}]);
    let part = json!({"name": "PART", "mirror": {"name": "ORIGIN", "opt_start_seq": 2, "subject_transforms": transforms}});
    raw.api("STREAM.CREATE.PART", &part);
    wait(raw, "PART", 2);
    assert_eq!(state(raw, "PART"), [2, 3, 4]);
    assert_eq!(stored(raw, "PART", 3).0, "to.c");
    // Set free, it is a stream like any other.
    let freed = raw.api(
        "STREAM.UPDATE.PART",
        &json!({"name": "PART", "subjects": ["part"]}),
    );
    assert!(freed["mirror"].is_null(), "{freed}");
    assert_eq!(raw.store("part", &[], "")["seq"], 5);
    raw.api("STREAM.DELETE.PART", &Value::Null);
}

fn sources(raw: &mut Raw) {
    raw.api(
        "STREAM.CREATE.SECOND",
        &json!({"name": "SECOND", "subjects": ["second.>"]}),
    );
    let named = json!([
        {"name": "ORIGIN"},
        {"name": "SECOND", "subject_transforms": [{"src": "second.y.*", "dest": "to.$1"}]},
    ]);
    let config = json!({"name": "GATHERED", "subjects": ["gathered"], "sources": named});
    raw.api("STREAM.CREATE.GATHERED", &config);
    wait(raw, "GATHERED", 3);
    raw.store("second.x", &[], "not wanted");
    raw.store("second.y.k", &[], "");
    wait(raw, "GATHERED", 4);
    assert_eq!(raw.store("gathered", &[], "")["seq"], 5);
    let (subject, headers) = stored(raw, "GATHERED", 1);
    assert_eq!(subject, "origin.a");
    let start = "NATS/1.0\r\nKey: value\r\nNats-Stream-Source: ORIGIN 1 > > origin.a";
    assert!(headers.starts_with(start), "{headers}");
    let (subject, headers) = stored(raw, "GATHERED", 4);
    assert_eq!(subject, "to.k");
    assert!(
        headers.contains("Nats-Stream-Source: SECOND 2 second.y.* to.$1 second.y.k"),
        "{headers}"
    );
    let forged = raw.store("gathered", &["Nats-Stream-Source: ORIGIN 9 > > x"], "");
    assert_eq!(forged["error"]["err_code"], 10227);
}

fn refusals(raw: &mut Raw) {
    for (field, value, err_code) in [
        ("sources", json!([{"name": "A"}, {"name": "A"}]), 10140),
        ("sources", json!([{"name": "a.b"}]), 10141),
        ("mirror", json!({"name": "a.b"}), 10142),
        (
            "sources",
            json!([{"name": "A", "filter_subject": "a", "subject_transforms": [{"src": "a", "dest": "b"}]}]),
            10144,
        ),
        (
            "sources",
            json!([{"name": "A", "subject_transforms": [{"src": "a.*", "dest": "$2"}]}]),
            10146,
        ),
    ] {
        let answer = raw.api("STREAM.CREATE.BAD", &json!({"name": "BAD", field: value}));
        assert_eq!(answer["error"]["err_code"], err_code, "{field} {value}: {answer}");
    }
    for (field, value, err_code) in [
        ("subjects", json!(["x"]), 10034),
        ("sources", json!([{"name": "A"}]), 10031),
        ("first_seq", json!(4), 10143),
        ("allow_msg_counter", json!(true), 10173),
        ("allow_atomic", json!(true), 10198),
        ("allow_msg_schedules", json!(true), 10186),
        ("allow_batched", json!(true), 10209),
        ("subject_delete_marker_ttl", json!(1_000_000_000), 10052),
    ] {
        let body = json!({"name": "BAD", "mirror": {"name": "ORIGIN"}, field: value});
        let answer = raw.api("STREAM.CREATE.BAD", &body);
        assert_eq!(answer["error"]["err_code"], err_code, "{field} {value}: {answer}");
    }
    let changed = json!({"name": "ORIGIN", "mirror": {"name": "SECOND"}});
    assert_eq!(
        raw.api("STREAM.UPDATE.ORIGIN", &changed)["error"]["err_code"],
        10055
    );
}
