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

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Paging {
    offset: Option<usize>,
    limit: Option<usize>,
    cid: Option<u64>,
    /// `true`, `1` or `detail`.
    subs: String,
    /// Only those in this account.
    pub acc: Option<String>,
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
    /// Who it is, where credentials are asked for; never what it gave as such.
    #[serde(skip_serializing_if = "String::is_empty")]
    authorized_user: String,
    account: String,
    uptime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

pub async fn page(State(server): State<Arc<Shared>>, Query(paging): Query<Paging>) -> Json<Connz> {
    Json(connz(&server, &paging))
}

pub fn connz(server: &Shared, paging: &Paging) -> Connz {
    let is_wanted = |client: &Arc<Client>| {
        paging.cid.is_none_or(|cid| cid == client.id.0)
            && paging
                .acc
                .as_ref()
                .is_none_or(|account| *account == client.identity().account)
    };
    let clients: Vec<_> = server.clients().into_iter().filter(is_wanted).collect();
    let offset = paging.offset.unwrap_or(0);
    let limit = paging.limit.unwrap_or(CONNECTIONS_PER_PAGE);
    let with_subscriptions = matches!(paging.subs.as_str(), "true" | "1" | "detail");
    let shown = clients.iter().skip(offset).take(limit);
    let page: Vec<Connection> = shown.map(|client| describe(client, with_subscriptions)).collect();
    Connz {
        server_id: server.server_id.clone(),
        now: super::time(SystemTime::now()),
        num_connections: page.len(),
        total: clients.len(),
        offset,
        limit,
        connections: page,
    }
}

fn describe(client: &Client, with_subscriptions: bool) -> Connection {
    let identity = client.identity();
    let traffic = &client.traffic;
    let subjects = || {
        client
            .subscriptions()
            .iter()
            .map(|it| it.filter.to_string())
            .collect()
    };
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
        authorized_user: identity.user,
        account: identity.account,
        uptime: super::span(client.started),
        subscriptions_list: with_subscriptions.then(subjects),
        name: identity.name,
        lang: identity.lang,
        version: identity.version,
    }
}
