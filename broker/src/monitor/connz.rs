//! `/connz`: who is connected.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::router::Client;
use crate::server::Shared;

/// nats-server's page size.
const CONNECTIONS_PER_PAGE: usize = 1024;

#[derive(Deserialize)]
pub struct Paging {
    offset: Option<usize>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub struct Connz {
    server_id: String,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Vec<Connection>,
}

#[derive(Serialize)]
struct Connection {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type")]
    client_type: &'static str,
    ip: String,
    port: u16,
    start: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

pub async fn page(State(server): State<Arc<Shared>>, Query(paging): Query<Paging>) -> Json<Connz> {
    let clients = server.clients();
    let offset = paging.offset.unwrap_or(0);
    let limit = paging.limit.unwrap_or(CONNECTIONS_PER_PAGE);
    let page: Vec<Connection> = clients
        .iter()
        .skip(offset)
        .take(limit)
        .map(|client| describe(client))
        .collect();
    Json(Connz {
        server_id: server.server_id.clone(),
        now: super::time(SystemTime::now()),
        num_connections: page.len(),
        total: clients.len(),
        offset,
        limit,
        connections: page,
    })
}

fn describe(client: &Client) -> Connection {
    let identity = client.identity();
    let traffic = &client.traffic;
    Connection {
        cid: client.id.0,
        kind: "Client",
        client_type: "nats",
        ip: client.address.ip().to_string(),
        port: client.address.port(),
        start: super::time(client.started),
        pending_bytes: client.outbox.pending(),
        in_msgs: traffic.in_msgs.load(Ordering::Relaxed),
        out_msgs: traffic.out_msgs.load(Ordering::Relaxed),
        in_bytes: traffic.in_bytes.load(Ordering::Relaxed),
        out_bytes: traffic.out_bytes.load(Ordering::Relaxed),
        subscriptions: client.subscription_count(),
        name: identity.name,
        lang: identity.lang,
        version: identity.version,
    }
}
