//! `/varz`: the server in figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use super::jsz::{self, Stats, StoreConfig};
use super::process;
use crate::config::TLS_TIMEOUT;
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
    http_base_path: &'static str,
    https_port: u16,
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
    /// Seconds.
    tls_timeout: f64,
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
    /// What one node has none of, as nats-server shows it then.
    cluster: Absent,
    gateway: Absent,
    leaf: Absent,
    mqtt: Absent,
    websocket: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<JetStreamVarz>,
}

#[derive(Serialize)]
struct Absent {}

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
pub struct JetStreamVarz {
    config: StoreConfig,
    stats: Stats,
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
    let now = SystemTime::now();
    let limits = server.limits();
    let (tls, http) = (server.config().tls, server.monitoring);
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
        http_host: http.map(|address| address.ip().to_string()).unwrap_or_default(),
        http_port: http.map_or(0, |address| address.port()),
        http_base_path: "",
        https_port: 0,
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
        tls_required: tls.is_some(),
        tls_timeout: tls.map_or(TLS_TIMEOUT, |tls| tls.timeout).as_secs_f64(),
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
        cluster: Absent {},
        gateway: Absent {},
        leaf: Absent {},
        mqtt: Absent {},
        websocket: websocket(server),
        jetstream: jetstream(server),
    }
}

fn websocket(server: &Shared) -> Value {
    match server.websocket {
        Some(address) => json!({"host": address.ip(), "port": address.port()}),
        None => json!({}),
    }
}

/// `None` where it is off.
pub fn jetstream(server: &Shared) -> Option<JetStreamVarz> {
    let jetstreams = server.jetstreams();
    (!jetstreams.is_empty()).then(|| JetStreamVarz {
        config: jsz::config(server),
        stats: jsz::stats(&jetstreams),
    })
}
