//! `/subsz`, `/accountz`, `/accstatz`: accounts in figures; and the pages about servers that there are none of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connz::Listener;
use crate::router::{Client, Traffic};
use crate::server::Shared;
use crate::session::Account;

/// nats-server's page size.
const SUBSCRIPTIONS_PER_PAGE: usize = 1024;

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct SubscriptionsAsked {
    /// `true`, `1` or `detail`: list them.
    pub subs: String,
    offset: Option<usize>,
    limit: Option<usize>,
    /// Only those in this account.
    pub acc: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct AccountAsked {
    acc: Option<String>,
}

pub async fn subsz_page(
    State(server): State<Arc<Shared>>,
    Query(asked): Query<SubscriptionsAsked>,
) -> Json<Value> {
    Json(subsz(&server, &asked))
}

pub async fn accountz_page(
    State(server): State<Arc<Shared>>,
    Query(asked): Query<AccountAsked>,
) -> Json<Value> {
    Json(accountz(&server, &asked))
}

pub async fn accstatz_page(State(server): State<Arc<Shared>>) -> Json<Value> {
    Json(accstatz(&server, None))
}

pub async fn routez_page(State(server): State<Arc<Shared>>) -> Json<Value> {
    Json(routez(&server))
}

pub async fn leafz_page(State(server): State<Arc<Shared>>) -> Json<Value> {
    Json(leafz(&server))
}

pub async fn gatewayz_page(State(server): State<Arc<Shared>>) -> Json<Value> {
    Json(gatewayz(&server))
}

pub fn subsz(server: &Shared, asked: &SubscriptionsAsked) -> Value {
    let (offset, limit) = (
        asked.offset.unwrap_or(0),
        asked.limit.unwrap_or(SUBSCRIPTIONS_PER_PAGE),
    );
    let mut page = sublist(server.subscription_count());
    page["server_id"] = json!(server.server_id);
    page["now"] = json!(now());
    let mut total = 0;
    if matches!(asked.subs.as_str(), "true" | "1" | "detail") {
        let clients = server.clients();
        let is_asked = |client: &&Arc<Client>| {
            asked
                .acc
                .as_ref()
                .is_none_or(|name| *name == client.identity().account)
        };
        let all = clients
            .iter()
            .filter(is_asked)
            .flat_map(|client| Listener::of(client));
        let listed: Vec<Listener> = all.inspect(|_| total += 1).skip(offset).take(limit).collect();
        page["subscriptions_list"] = json!(listed);
    }
    page["total"] = json!(total);
    page["offset"] = json!(offset);
    page["limit"] = json!(limit);
    page
}

/// There is no cache, and nothing is counted but what is there.
fn sublist(subscriptions: usize) -> Value {
    json!({
        "num_subscriptions": subscriptions,
        "num_cache": 0,
        "num_inserts": 0,
        "num_removes": 0,
        "num_matches": 0,
        "cache_hit_rate": 0,
        "max_fanout": 0,
        "avg_fanout": 0,
    })
}

/// The names of all accounts, or what there is to say about one.
pub fn accountz(server: &Shared, asked: &AccountAsked) -> Value {
    let realm = server.realm();
    let system = realm.system_account().map(|account| account.name.as_str());
    let mut page = json!({"server_id": server.server_id, "now": now(), "system_account": system});
    if let Some(name) = &asked.acc {
        page["account_detail"] = json!(account(server, name));
        return page;
    }
    let names: Vec<&str> = realm
        .accounts()
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    page["accounts"] = json!(names);
    page
}

/// `None` if nobody has that name.
pub fn account(server: &Shared, name: &str) -> Option<Value> {
    let accounts = server.accounts();
    let account = accounts.iter().find(|account| account.name == name)?;
    let subscriptions = account.router.subscription_count();
    Some(json!({
        "account_name": name,
        "name_tag": name,
        "is_system": account.is_system,
        "update_time": super::time(server.started),
        "expired": false,
        "complete": true,
        "jetstream_enabled": account.jetstream.is_some(),
        "leafnode_connections": 0,
        "client_connections": clients_of(server, name).len(),
        "subscriptions": subscriptions,
        "sublist_stats": sublist(subscriptions),
    }))
}

/// What each account's connections do now, or those of one account.
pub fn accstatz(server: &Shared, only: Option<&str>) -> Value {
    let accounts = server.accounts();
    let wanted = accounts
        .iter()
        .filter(|account| only.is_none_or(|name| name == account.name));
    let stats: Vec<Value> = wanted.map(|account| statistics(server, account)).collect();
    json!({"server_id": server.server_id, "now": now(), "account_statz": stats})
}

pub fn statistics(server: &Shared, account: &Account) -> Value {
    let clients = clients_of(server, &account.name);
    let sum = |figure: fn(&Traffic) -> &AtomicU64| -> u64 {
        let figures = clients
            .iter()
            .map(|client| figure(&client.traffic).load(Ordering::Relaxed));
        figures.sum()
    };
    let flow = |msgs: u64, bytes: u64| {
        let none = json!({"msgs": 0, "bytes": 0});
        json!({"msgs": msgs, "bytes": bytes, "gateways": none, "routes": none, "leafs": none})
    };
    json!({
        "acc": account.name,
        "name": account.name,
        "conns": clients.len(),
        "leafnodes": 0,
        "total_conns": clients.len(),
        "num_subscriptions": account.router.subscription_count(),
        "sent": flow(sum(|traffic| &traffic.out_msgs), sum(|traffic| &traffic.out_bytes)),
        "received": flow(sum(|traffic| &traffic.in_msgs), sum(|traffic| &traffic.in_bytes)),
        "slow_consumers": 0,
    })
}

fn clients_of(server: &Shared, account: &str) -> Vec<Arc<Client>> {
    let mut clients = server.clients();
    clients.retain(|client| client.identity().account == account);
    clients
}

pub fn routez(server: &Shared) -> Value {
    json!({"server_id": server.server_id, "server_name": server.server_name, "now": now(), "num_routes": 0, "routes": []})
}

pub fn leafz(server: &Shared) -> Value {
    json!({"server_id": server.server_id, "now": now(), "leafnodes": 0, "leafs": []})
}

pub fn gatewayz(server: &Shared) -> Value {
    json!({"server_id": server.server_id, "now": now(), "outbound_gateways": {}, "inbound_gateways": {}})
}

fn now() -> String {
    super::time(SystemTime::now())
}
