//! `/varz`: the server in figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::jsz::{Jsz, overview};
use crate::protocol::info::{PROTOCOL, VERSION};
use crate::router::Client;
use crate::server::Shared;

#[derive(Serialize)]
pub struct Varz {
    server_id: String,
    server_name: String,
    version: &'static str,
    proto: u8,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auth_required: bool,
    max_connections: usize,
    max_payload: usize,
    max_pending: usize,
    max_control_line: usize,
    ping_max: u32,
    ping_interval: u128,
    write_deadline: u128,
    start: String,
    now: String,
    uptime: String,
    cores: usize,
    connections: usize,
    total_connections: u64,
    subscriptions: usize,
    slow_consumers: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<JetStreamVarz>,
}

#[derive(Serialize)]
struct JetStreamVarz {
    config: Jsz,
    stats: Jsz,
}

/// Counts of connections that ended are not kept yet, so these are of the live ones.
pub async fn page(State(server): State<Arc<Shared>>) -> Json<Varz> {
    let clients = server.clients();
    let sum = |figure: fn(&Client) -> &AtomicU64| {
        clients
            .iter()
            .map(|client| figure(client).load(Ordering::Relaxed))
            .sum()
    };
    let jetstreams = server.jetstreams();
    let now = SystemTime::now();
    let limits = server.limits();
    let up = now.duration_since(server.started).unwrap_or_default();
    Json(Varz {
        server_id: server.server_id.clone(),
        server_name: server.server_name.clone(),
        version: VERSION,
        proto: PROTOCOL,
        host: server.address.ip().to_string(),
        port: server.address.port(),
        auth_required: server.auth_required(),
        max_connections: limits.max_connections,
        max_payload: limits.max_payload,
        max_pending: limits.max_pending,
        max_control_line: limits.max_control_line,
        ping_max: limits.ping_max,
        ping_interval: limits.ping_interval.as_nanos(),
        write_deadline: limits.write_deadline.as_nanos(),
        start: super::time(server.started),
        now: super::time(now),
        uptime: format!("{}s", up.as_secs()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        connections: clients.len(),
        total_connections: server.total_connections.load(Ordering::Relaxed),
        subscriptions: server.subscription_count(),
        slow_consumers: server.slow_consumers.load(Ordering::Relaxed),
        in_msgs: sum(|client| &client.traffic.in_msgs),
        out_msgs: sum(|client| &client.traffic.out_msgs),
        in_bytes: sum(|client| &client.traffic.in_bytes),
        out_bytes: sum(|client| &client.traffic.out_bytes),
        jetstream: (!jetstreams.is_empty()).then(|| JetStreamVarz {
            config: overview(&jetstreams),
            stats: overview(&jetstreams),
        }),
    })
}
