//! Messages that say how long they live, and markers where the last of a subject grew too old.

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
    lives(&mut raw);
    markers(&mut raw);
}

/// Sequences that are there, of the first `count`.
fn there(raw: &mut Raw, stream: &str, count: u64) -> Vec<u64> {
    let subject = format!("STREAM.MSG.GET.{stream}");
    (1..=count)
        .filter(|seq| raw.api(&subject, &json!({"seq": seq}))["error"].is_null())
        .collect()
}

/// Waits for `expect` to be there, which takes the servers up to a second and a half longer than it should.
fn becomes(raw: &mut Raw, stream: &str, count: u64, expect: &[u64]) {
    for _ in 0..60 {
        if there(raw, stream, count) == expect {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(there(raw, stream, count), expect);
}

fn lives(raw: &mut Raw) {
    let plain = json!({"name": "PLAIN", "subjects": ["plain"]});
    raw.api("STREAM.CREATE.PLAIN", &plain);
    assert_eq!(
        raw.store("plain", &["Nats-TTL: 1"], "")["error"]["err_code"],
        10166
    );
    assert_eq!(
        raw.store("plain", &["Nats-TTL: soon"], "")["error"]["err_code"],
        10165
    );
    raw.api("STREAM.DELETE.PLAIN", &Value::Null);
    let config = json!({"name": "LIVES", "subjects": ["lives.>"], "allow_msg_ttl": true});
    raw.api("STREAM.CREATE.LIVES", &config);
    for (ttl, seq) in [("1", 1), ("1s", 2), ("never", 3), ("1h", 4), ("", 5)] {
        let header = format!("Nats-TTL: {ttl}");
        assert_eq!(raw.store("lives.x", &[&header], "")["seq"], seq, "{ttl}");
    }
    for ttl in ["0", "-1", "999ms", "soon"] {
        let header = format!("Nats-TTL: {ttl}");
        assert_eq!(
            raw.store("lives.x", &[&header], "")["error"]["err_code"],
            10165,
            "{ttl}"
        );
    }
    becomes(raw, "LIVES", 5, &[3, 4, 5]);
    raw.api("STREAM.DELETE.LIVES", &Value::Null);
}

fn markers(raw: &mut Raw) {
    let config = json!({
        "name": "MARKED", "subjects": ["marked.>"], "max_age": 1_000_000_000, "duplicate_window": 500_000_000,
        "subject_delete_marker_ttl": 1_000_000_000,
    });
    let made = raw.api("STREAM.CREATE.MARKED", &config);
    for implied in ["allow_msg_ttl", "allow_rollup_hdrs"] {
        assert_eq!(made["config"][implied], true);
    }
    raw.store("marked.a", &[], "1");
    raw.store("marked.b", &["Nats-TTL: never"], "2");
    raw.store("marked.a", &[], "3");
    becomes(raw, "MARKED", 4, &[2, 4]);
    let marker = raw.api("STREAM.MSG.GET.MARKED", &json!({"seq": 4}));
    assert_eq!(marker["message"]["subject"], "marked.a");
    let headers = STANDARD
        .decode(marker["message"]["hdrs"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        String::from_utf8(headers).unwrap(),
        "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1s\r\nNats-Rollup: sub\r\n\r\n"
    );
    // A marker leaves no marker behind.
    becomes(raw, "MARKED", 5, &[2]);
    raw.api("STREAM.DELETE.MARKED", &Value::Null);
}
