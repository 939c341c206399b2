//! Requests to JetStream and publishes to streams, one after the other on a server that knows the ones before.

use std::net::SocketAddr;

use serde_json::Value;

use crate::suite::raw::Raw;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    /// Below `$JS.API.`.
    Api(&'static str, &'static str),
    /// Subject, headers, payload.
    Store(&'static str, &'static [&'static str], &'static str),
}

use Request::{Api, Store};

pub(crate) const ALL: &[(&str, Request)] = &[
    ("info", Api("INFO", "")),
    ("info-with-a-body", Api("INFO", "x")),
    ("names-of-nothing", Api("STREAM.NAMES", "")),
    ("list-of-nothing", Api("STREAM.LIST", "")),
    ("names-bad-json", Api("STREAM.NAMES", "{")),
    ("stream-unknown", Api("STREAM.INFO.NOPE", "")),
    ("stream-bad-json", Api("STREAM.CREATE.S", "{")),
    ("stream-no-body", Api("STREAM.CREATE.S", "")),
    (
        "stream-unknown-field",
        Api("STREAM.CREATE.S", r#"{"name":"S","foo":1}"#),
    ),
    (
        "stream-wrong-type",
        Api("STREAM.CREATE.S", r#"{"name":"S","max_msgs":"x"}"#),
    ),
    ("stream-other-name", Api("STREAM.CREATE.S", r#"{"name":"T"}"#)),
    ("stream-no-name", Api("STREAM.CREATE.S", "{}")),
    ("stream-odd-name", Api("STREAM.CREATE.a/b", r#"{"name":"a/b"}"#)),
    (
        "stream-unknown-retention",
        Api("STREAM.CREATE.S", r#"{"name":"S","retention":"x"}"#),
    ),
    (
        "stream-replicas",
        Api("STREAM.CREATE.S", r#"{"name":"S","num_replicas":3}"#),
    ),
    (
        "stream-negative-replicas",
        Api("STREAM.CREATE.S", r#"{"name":"S","num_replicas":-1}"#),
    ),
    (
        "stream-max-age-too-short",
        Api("STREAM.CREATE.S", r#"{"name":"S","max_age":1}"#),
    ),
    (
        "stream-window-longer-than-age",
        Api(
            "STREAM.CREATE.S",
            r#"{"name":"S","max_age":1000000000,"duplicate_window":2000000000}"#,
        ),
    ),
    (
        "stream-empty-token",
        Api("STREAM.CREATE.S", r#"{"name":"S","subjects":["a..b"]}"#),
    ),
    (
        "stream-subjects-overlap",
        Api("STREAM.CREATE.S", r#"{"name":"S","subjects":["a.*","a.b"]}"#),
    ),
    (
        "stream-of-the-api",
        Api("STREAM.CREATE.S", r#"{"name":"S","subjects":["$JS.API.>"]}"#),
    ),
    (
        "stream-of-everything",
        Api("STREAM.CREATE.S", r#"{"name":"S","subjects":[">"]}"#),
    ),
    (
        "stream-made",
        Api(
            "STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s.>"],"max_msgs":5,"max_msg_size":64,"allow_direct":true,"allow_rollup_hdrs":true}"#,
        ),
    ),
    (
        "stream-made-again",
        Api(
            "STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s.>"],"max_msgs":5,"max_msg_size":64,"allow_direct":true,"allow_rollup_hdrs":true}"#,
        ),
    ),
    (
        "stream-made-otherwise",
        Api(
            "STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s.>"],"max_msgs":6}"#,
        ),
    ),
    (
        "stream-overlaps-another",
        Api("STREAM.CREATE.T", r#"{"name":"T","subjects":["s.a"]}"#),
    ),
    ("stream-defaults", Api("STREAM.CREATE.D", r#"{"name":"D"}"#)),
    (
        "stream-everything-set",
        Api(
            "STREAM.CREATE.E",
            r#"{"name":"E","subjects":["e.*"],"description":"d","retention":"limits","max_consumers":3,"max_msgs":10,"max_bytes":10000,"max_age":3600000000000,"max_msgs_per_subject":2,"max_msg_size":100,"discard":"new","storage":"memory","num_replicas":1,"duplicate_window":1000000000,"deny_delete":true,"deny_purge":true,"metadata":{"a":"b"},"first_seq":7}"#,
        ),
    ),
    (
        "stream-update-unknown",
        Api("STREAM.UPDATE.NOPE", r#"{"name":"NOPE"}"#),
    ),
    (
        "stream-update-storage",
        Api(
            "STREAM.UPDATE.S",
            r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#,
        ),
    ),
    (
        "stream-update-retention",
        Api(
            "STREAM.UPDATE.S",
            r#"{"name":"S","subjects":["s.>"],"retention":"workqueue"}"#,
        ),
    ),
    ("stream-info", Api("STREAM.INFO.S", "")),
    ("stream-info-bad-json", Api("STREAM.INFO.S", "{")),
    ("store", Store("s.a", &[], "one")),
    ("store-with-id", Store("s.a", &["Nats-Msg-Id: x"], "two")),
    ("store-with-id-again", Store("s.a", &["Nats-Msg-Id: x"], "two")),
    (
        "store-too-large",
        Store(
            "s.a",
            &[],
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
        ),
    ),
    (
        "store-at-the-limit",
        Store(
            "s.a",
            &[],
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ),
    ),
    (
        "store-expected-stream",
        Store("s.a", &["Nats-Expected-Stream: T"], ""),
    ),
    (
        "store-expected-id",
        Store("s.a", &["Nats-Expected-Last-Msg-Id: y"], ""),
    ),
    (
        "store-expected-sequence",
        Store("s.a", &["Nats-Expected-Last-Sequence: 99"], ""),
    ),
    (
        "store-expected-sequence-is-text",
        Store("s.a", &["Nats-Expected-Last-Sequence: x"], ""),
    ),
    (
        "store-expected-subject-sequence",
        Store("s.b", &["Nats-Expected-Last-Subject-Sequence: 99"], ""),
    ),
    (
        "store-expected-subject-none",
        Store("s.b", &["Nats-Expected-Last-Subject-Sequence: 0"], "b"),
    ),
    (
        "store-expected-subject-without-sequence",
        Store("s.b", &["Nats-Expected-Last-Subject-Sequence-Subject: s.a"], "b"),
    ),
    ("store-ttl-not-allowed", Store("s.a", &["Nats-TTL: 1s"], "")),
    ("store-rollup-unknown", Store("s.a", &["Nats-Rollup: x"], "")),
    ("store-counter-not-allowed", Store("s.a", &["Nats-Incr: 1"], "")),
    (
        "store-schedule-not-allowed",
        Store("s.a", &["Nats-Schedule: @every 1s"], ""),
    ),
    (
        "store-batch-not-allowed",
        Store("s.a", &["Nats-Batch-Id: x", "Nats-Batch-Sequence: 1"], ""),
    ),
    (
        "store-api-level",
        Store("s.a", &["Nats-Required-Api-Level: 99"], ""),
    ),
    ("store-full", Store("e.a", &[], "1")),
    (
        "stream-info-filled",
        Api(
            "STREAM.INFO.S",
            r#"{"subjects_filter":">","deleted_details":true}"#,
        ),
    ),
    ("stream-info-memory", Api("STREAM.INFO.E", "")),
    ("message", Api("STREAM.MSG.GET.S", r#"{"seq":1}"#)),
    ("message-none", Api("STREAM.MSG.GET.S", r#"{"seq":99}"#)),
    ("message-zero", Api("STREAM.MSG.GET.S", r#"{"seq":0}"#)),
    ("message-no-body", Api("STREAM.MSG.GET.S", "")),
    ("message-nothing-asked", Api("STREAM.MSG.GET.S", "{}")),
    (
        "message-both",
        Api("STREAM.MSG.GET.S", r#"{"seq":1,"last_by_subj":"s.a"}"#),
    ),
    (
        "message-last",
        Api("STREAM.MSG.GET.S", r#"{"last_by_subj":"s.a"}"#),
    ),
    (
        "message-next",
        Api("STREAM.MSG.GET.S", r#"{"seq":2,"next_by_subj":"s.>"}"#),
    ),
    ("message-bad-json", Api("STREAM.MSG.GET.S", r#"{"seq":-1}"#)),
    ("direct", Api("DIRECT.GET.S", r#"{"seq":1}"#)),
    ("direct-none", Api("DIRECT.GET.S", r#"{"seq":99}"#)),
    ("direct-empty", Api("DIRECT.GET.S", "")),
    ("direct-last", Api("DIRECT.GET.S.s.a", "")),
    ("direct-last-none", Api("DIRECT.GET.S.s.zzz", "")),
    ("direct-bad-json", Api("DIRECT.GET.S", "{")),
    ("delete-message-none", Api("STREAM.MSG.DELETE.S", r#"{"seq":99}"#)),
    ("delete-message", Api("STREAM.MSG.DELETE.S", r#"{"seq":1}"#)),
    ("delete-message-no-body", Api("STREAM.MSG.DELETE.S", "")),
    (
        "delete-message-denied",
        Api("STREAM.MSG.DELETE.E", r#"{"seq":1}"#),
    ),
    ("purge-denied", Api("STREAM.PURGE.E", "")),
    ("purge-both", Api("STREAM.PURGE.S", r#"{"seq":2,"keep":1}"#)),
    ("purge-filter", Api("STREAM.PURGE.S", r#"{"filter":"s.b"}"#)),
    ("purge-unknown", Api("STREAM.PURGE.NOPE", "")),
    ("consumer-no-body", Api("CONSUMER.CREATE.S", "")),
    (
        "consumer-unknown-stream",
        Api(
            "CONSUMER.CREATE.NOPE.c",
            r#"{"stream_name":"NOPE","config":{"name":"c"}}"#,
        ),
    ),
    (
        "consumer-other-stream",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"T","config":{"name":"c"}}"#,
        ),
    ),
    (
        "consumer-other-name",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"d"}}"#,
        ),
    ),
    (
        "consumer-unknown-field",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","foo":1}}"#,
        ),
    ),
    (
        "consumer-ack-none-but-wait",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","ack_policy":"none","max_ack_pending":5}}"#,
        ),
    ),
    (
        "consumer-unknown-policy",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","ack_policy":"x"}}"#,
        ),
    ),
    (
        "consumer-filter-elsewhere",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","filter_subject":"t.a"}}"#,
        ),
    ),
    (
        "consumer-two-filters",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","filter_subject":"s.a","filter_subjects":["s.b"]}}"#,
        ),
    ),
    (
        "consumer-filters-overlap",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","filter_subjects":["s.a","s.*"]}}"#,
        ),
    ),
    (
        "consumer-push-max-waiting",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","deliver_subject":"d","max_waiting":5}}"#,
        ),
    ),
    (
        "consumer-pull-rate",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","rate_limit_bps":5}}"#,
        ),
    ),
    (
        "consumer-pull-heartbeat",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","idle_heartbeat":5000000000}}"#,
        ),
    ),
    (
        "consumer-heartbeat-too-short",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","deliver_subject":"d","idle_heartbeat":5}}"#,
        ),
    ),
    (
        "consumer-backoff-too-long",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","config":{"name":"c","ack_policy":"explicit","max_deliver":1,"backoff":[1000000000,2000000000]}}"#,
        ),
    ),
    (
        "consumer-update-unknown",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","action":"update","config":{"name":"c"}}"#,
        ),
    ),
    (
        "consumer-made",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","action":"create","config":{"durable_name":"c","name":"c","ack_policy":"explicit"}}"#,
        ),
    ),
    (
        "consumer-made-again",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","action":"create","config":{"durable_name":"c","name":"c","ack_policy":"explicit"}}"#,
        ),
    ),
    (
        "consumer-made-otherwise",
        Api(
            "CONSUMER.CREATE.S.c",
            r#"{"stream_name":"S","action":"create","config":{"durable_name":"c","name":"c","ack_policy":"all"}}"#,
        ),
    ),
    ("consumer-info", Api("CONSUMER.INFO.S.c", "")),
    ("consumer-info-unknown", Api("CONSUMER.INFO.S.d", "")),
    ("consumer-names", Api("CONSUMER.NAMES.S", "")),
    ("consumer-list", Api("CONSUMER.LIST.S", "")),
    ("consumer-names-unknown-stream", Api("CONSUMER.NAMES.NOPE", "")),
    ("next", Api("CONSUMER.MSG.NEXT.S.c", "")),
    (
        "next-no-wait-empty",
        Api("CONSUMER.MSG.NEXT.S.c", r#"{"batch":1,"no_wait":true}"#),
    ),
    ("next-bad-json", Api("CONSUMER.MSG.NEXT.S.c", "{")),
    (
        "next-batch-negative",
        Api("CONSUMER.MSG.NEXT.S.c", r#"{"batch":-1}"#),
    ),
    (
        "next-heartbeat-too-long",
        Api(
            "CONSUMER.MSG.NEXT.S.c",
            r#"{"batch":1,"expires":1000000000,"idle_heartbeat":900000000}"#,
        ),
    ),
    (
        "consumer-pause-unknown",
        Api("CONSUMER.PAUSE.S.d", r#"{"pause_until":"2100-01-01T00:00:00Z"}"#),
    ),
    ("consumer-delete-unknown", Api("CONSUMER.DELETE.S.d", "")),
    ("consumer-delete", Api("CONSUMER.DELETE.S.c", "")),
    ("names", Api("STREAM.NAMES", "")),
    ("names-by-subject", Api("STREAM.NAMES", r#"{"subject":"s.a"}"#)),
    ("names-offset", Api("STREAM.NAMES", r#"{"offset":2}"#)),
    ("list", Api("STREAM.LIST", "")),
    ("store-wildcard", Store("s.*", &[], "1")),
    ("stream-delete-unknown", Api("STREAM.DELETE.NOPE", "")),
    ("stream-delete", Api("STREAM.DELETE.S", "")),
    ("store-to-nobody", Store("s.a", &[], "1")),
    ("info-at-the-end", Api("INFO", "")),
];

/// One client of one server, which asks and waits for the answer.
pub(crate) struct Asker(Raw);

impl Asker {
    pub(crate) fn new(address: SocketAddr) -> Asker {
        let mut raw = Raw::ready(
            address,
            r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#,
        );
        raw.send(b"SUB _INBOX.asker 1\r\n");
        Asker(raw)
    }

    /// The headers and the body of the answer, without what names the server or the time.
    pub(crate) fn ask(&mut self, request: Request) -> (String, Value) {
        match request {
            Api(subject, body) => self
                .0
                .publish(&format!("$JS.API.{subject}"), "_INBOX.asker", &[], body),
            Store(subject, headers, body) => self.0.publish(subject, "_INBOX.asker", headers, body),
        }
        let answer = self.0.message();
        let lines = answer
            .headers
            .lines()
            .filter(|line| !line.starts_with("Nats-Time-Stamp:"));
        let headers = lines
            .map(without_words_of_the_parser)
            .collect::<Vec<_>>()
            .join("\n");
        let body = serde_json::from_str(&answer.payload).map(scrubbed);
        (headers, body.unwrap_or(Value::String(answer.payload)))
    }
}

/// Times, names and versions are each server's own, and so is what its parser says of broken JSON.
const OWN: [&str; 10] = [
    "level",
    "_nats.level",
    "_nats.ver",
    "created",
    "ts",
    "time",
    "first_ts",
    "last_ts",
    "leader",
    "last_active",
];

fn scrubbed(value: Value) -> Value {
    match value {
        // Beside an error nats-server sends empty fields here and there, which nobody reads.
        Value::Object(fields) if fields.contains_key("error") => scrubbed(fields["error"].clone()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| {
                    let value = if OWN.contains(&key.as_str()) {
                        Value::Null
                    } else {
                        scrubbed(value)
                    };
                    (key, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(scrubbed).collect()),
        Value::String(text) => Value::String(without_words_of_the_parser(&text).to_owned()),
        other => other,
    }
}

fn without_words_of_the_parser(text: &str) -> &str {
    let starts = ["invalid JSON: ", "NATS/1.0 400 Bad Request - "];
    starts
        .into_iter()
        .find(|start| text.starts_with(start))
        .unwrap_or(text)
}
