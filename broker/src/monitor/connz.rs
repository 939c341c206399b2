//! `/connz`: who is connected.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::router::{Client, Subscription};
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
    /// `open`, `closed` or `all`; connections that have ended are not remembered.
    state: String,
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
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<String>,
    idle: String,
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
    name_tag: String,
    uptime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list_detail: Option<Vec<Listener>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// One subscription.
#[derive(Serialize)]
pub struct Listener {
    account: String,
    account_tag: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    qgroup: Option<String>,
    sid: String,
    msgs: u64,
    cid: u64,
}

impl Listener {
    /// All of one client's.
    pub fn of(client: &Client) -> Vec<Listener> {
        let account = client.identity().account;
        let subscriptions = client.subscriptions();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let listener = |subscription: &Arc<Subscription>| Listener {
            account: account.clone(),
            account_tag: account.clone(),
            subject: subscription.filter.to_string(),
            qgroup: subscription.queue.as_deref().map(text),
            sid: text(&subscription.sid),
            msgs: subscription.delivered(),
            cid: client.id.0,
        };
        subscriptions.iter().map(listener).collect()
    }
}

pub async fn page(State(server): State<Arc<Shared>>, Query(paging): Query<Paging>) -> Json<Connz> {
    Json(connz(&server, &paging))
}

pub fn connz(server: &Shared, paging: &Paging) -> Connz {
    let is_wanted = |client: &Arc<Client>| {
        paging.state != "closed"
            && paging.cid.is_none_or(|cid| cid == client.id.0)
            && paging
                .acc
                .as_ref()
                .is_none_or(|account| *account == client.identity().account)
    };
    let clients: Vec<_> = server.clients().into_iter().filter(is_wanted).collect();
    let offset = paging.offset.unwrap_or(0);
    let limit = paging.limit.unwrap_or(CONNECTIONS_PER_PAGE);
    let shown = clients.iter().skip(offset).take(limit);
    let page: Vec<Connection> = shown.map(|client| describe(client, &paging.subs)).collect();
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

fn describe(client: &Client, subscriptions: &str) -> Connection {
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
        last_activity: super::time(client.activity.last()),
        rtt: client.activity.round_trip().map(|took| format!("{took:?}")),
        idle: super::span(client.activity.last()),
        pending_bytes: client.outbox.pending(),
        in_msgs: traffic.in_msgs.load(Ordering::Relaxed),
        out_msgs: traffic.out_msgs.load(Ordering::Relaxed),
        in_bytes: traffic.in_bytes.load(Ordering::Relaxed),
        out_bytes: traffic.out_bytes.load(Ordering::Relaxed),
        subscriptions: client.subscription_count(),
        authorized_user: identity.user,
        name_tag: identity.account.clone(),
        account: identity.account,
        uptime: super::span(client.started),
        subscriptions_list: matches!(subscriptions, "true" | "1").then(subjects),
        subscriptions_list_detail: (subscriptions == "detail").then(|| Listener::of(client)),
        name: identity.name,
        lang: identity.lang,
        version: identity.version,
    }
}
