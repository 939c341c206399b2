//! `/metrics`: the server's figures as Prometheus reads them, without an exporter beside it.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::Value;

use super::varz::varz;
use crate::server::Shared;

/// Fields of `/varz` and what they are.
const FROM_VARZ: [(&str, &str, &str); 11] = [
    ("connections", "gauge", "Clients that are connected"),
    ("total_connections", "counter", "Connections since the start"),
    ("subscriptions", "gauge", "Subscriptions of all clients"),
    (
        "slow_consumers",
        "counter",
        "Clients cut off because they did not keep up",
    ),
    (
        "stale_connections",
        "counter",
        "Clients cut off because they did not answer pings",
    ),
    ("pending_bytes", "gauge", "Bytes that wait for clients"),
    ("in_msgs", "counter", "Messages from clients"),
    ("out_msgs", "counter", "Messages to clients"),
    ("in_bytes", "counter", "Bytes of messages from clients"),
    ("out_bytes", "counter", "Bytes of messages to clients"),
    ("max_payload", "gauge", "Largest message in bytes"),
];

pub async fn page(State(server): State<Arc<Shared>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text(&server))
}

fn text(server: &Shared) -> String {
    let figures = serde_json::to_value(varz(server)).unwrap_or(Value::Null);
    let mut out = String::new();
    for (field, kind, about) in FROM_VARZ {
        let name = if kind == "counter" {
            format!("broker_{field}_total")
        } else {
            format!("broker_{field}")
        };
        let name = name.replace("total_connections_total", "connections_opened_total");
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {}",
            figures[field]
        );
    }
    let _ = writeln!(
        out,
        "# HELP broker_stream_messages Messages in a stream\n# TYPE broker_stream_messages gauge"
    );
    let mut bytes =
        "# HELP broker_stream_bytes Bytes of a stream\n# TYPE broker_stream_bytes gauge\n".to_owned();
    for account in server.accounts() {
        for stream in account
            .jetstream
            .iter()
            .flat_map(crate::jetstream::JetStream::streams)
        {
            let (snapshot, labels) = (stream.snapshot(), labels(&account.name, stream.name()));
            let _ = writeln!(out, "broker_stream_messages{labels} {}", snapshot.messages);
            let _ = writeln!(bytes, "broker_stream_bytes{labels} {}", snapshot.bytes);
        }
    }
    out + &bytes
}

fn labels(account: &str, stream: &str) -> String {
    let quoted = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    format!(
        "{{account=\"{}\",stream=\"{}\"}}",
        quoted(account),
        quoted(stream)
    )
}
