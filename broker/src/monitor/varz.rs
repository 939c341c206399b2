//! `/varz`: the server in figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::jsz::{Jsz, overview};
use super::process;
use crate::protocol::info::{PROTOCOL, VERSION};
use crate::router::Traffic;
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
    auth_timeout: f64,
    http_host: String,
    http_port: u16,
    max_payload: usize,
    max_pending: usize,
    max_control_line: usize,
    ping_max: u32,
    ping_interval: u128,
    write_deadline: u128,
    start: String,
    now: String,
    uptime: String,
    /// Resident bytes.
    mem: u64,
    /// Percent of one core, on average since the start.
    cpu: f64,
    cores: usize,
    connections: usize,
    total_connections: u64,
    subscriptions: usize,
    slow_consumers: u64,
    stale_connections: u64,
    /// Bytes that wait for all clients together.
    pending_bytes: usize,
    tls_required: bool,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    in_client_msgs: u64,
    out_client_msgs: u64,
    in_client_bytes: u64,
    out_client_bytes: u64,
    system_account: String,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    routes: u8,
    remotes: u8,
    leafnodes: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<JetStreamVarz>,
}

/// One node has clients and nothing else.
#[derive(Serialize, Default)]
struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    fn clients(count: &AtomicU64) -> ByKind {
        ByKind {
            clients: count.load(Ordering::Relaxed),
            ..ByKind::default()
        }
    }
}

#[derive(Serialize)]
struct JetStreamVarz {
    config: Jsz,
    stats: Jsz,
}

pub async fn page(State(server): State<Arc<Shared>>) -> Json<Varz> {
    Json(varz(&server))
}

/// With what connections that ended had done.
pub fn varz(server: &Shared) -> Varz {
    let clients = server.clients();
    let sum = |figure: fn(&Traffic) -> &AtomicU64| {
        let live: u64 = clients
            .iter()
            .map(|client| figure(&client.traffic).load(Ordering::Relaxed))
            .sum();
        live + figure(&server.past).load(Ordering::Relaxed)
    };
    let jetstreams = server.jetstreams();
    let now = SystemTime::now();
    let limits = server.limits();
    Varz {
        server_id: server.server_id.clone(),
        server_name: server.server_name.clone(),
        version: VERSION,
        proto: PROTOCOL,
        host: server.address.ip().to_string(),
        port: server.address.port(),
        auth_required: server.auth_required(),
        max_connections: limits.max_connections,
        auth_timeout: limits.auth_timeout.as_secs_f64(),
        http_host: server
            .monitoring
            .map(|address| address.ip().to_string())
            .unwrap_or_default(),
        http_port: server.monitoring.map_or(0, |address| address.port()),
        max_payload: limits.max_payload,
        max_pending: limits.max_pending,
        max_control_line: limits.max_control_line,
        ping_max: limits.ping_max,
        ping_interval: limits.ping_interval.as_nanos(),
        write_deadline: limits.write_deadline.as_nanos(),
        start: super::time(server.started),
        now: super::time(now),
        uptime: super::span(server.started),
        mem: process::resident_bytes(),
        cpu: process::cpu_percent(server.started),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        connections: clients.len(),
        total_connections: server.total_connections.load(Ordering::Relaxed),
        subscriptions: server.subscription_count(),
        slow_consumers: server.slow_consumers.load(Ordering::Relaxed),
        stale_connections: server.stale_connections.load(Ordering::Relaxed),
        pending_bytes: server.pending.bytes(),
        tls_required: server.config().tls.is_some(),
        in_msgs: sum(|traffic| &traffic.in_msgs),
        out_msgs: sum(|traffic| &traffic.out_msgs),
        in_bytes: sum(|traffic| &traffic.in_bytes),
        out_bytes: sum(|traffic| &traffic.out_bytes),
        in_client_msgs: sum(|traffic| &traffic.in_msgs),
        out_client_msgs: sum(|traffic| &traffic.out_msgs),
        in_client_bytes: sum(|traffic| &traffic.in_bytes),
        out_client_bytes: sum(|traffic| &traffic.out_bytes),
        system_account: server.config().auth.system_account().to_owned(),
        slow_consumer_stats: ByKind::clients(&server.slow_consumers),
        stale_connection_stats: ByKind::clients(&server.stale_connections),
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        jetstream: (!jetstreams.is_empty()).then(|| JetStreamVarz {
            config: overview(&jetstreams),
            stats: overview(&jetstreams),
        }),
    }
}
