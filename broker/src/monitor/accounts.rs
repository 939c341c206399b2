//! `/subsz`, `/accountz`, `/accstatz`: accounts in figures; and the pages about servers that there are none of.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::server::Shared;

pub async fn subsz_page(State(server): State<Arc<Shared>>) -> Json<Value> {
    Json(subsz(&server))
}

pub async fn accountz_page(State(server): State<Arc<Shared>>) -> Json<Value> {
    Json(accountz(&server))
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

pub fn subsz(server: &Shared) -> Value {
    json!({
        "server_id": server.server_id,
        "now": now(),
        "num_subscriptions": server.subscription_count(),
        "num_cache": 0,
        "num_inserts": 0,
        "num_removes": 0,
        "num_matches": 0,
        "cache_hit_rate": 0,
        "max_fanout": 0,
        "avg_fanout": 0,
        "total": 0,
        "offset": 0,
        "limit": 1024,
    })
}

pub fn accountz(server: &Shared) -> Value {
    let realm = server.realm();
    let names: Vec<&str> = realm
        .accounts()
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    let system = realm.system_account().map(|account| account.name.as_str());
    json!({"server_id": server.server_id, "now": now(), "system_account": system, "accounts": names})
}

/// What each account's connections do now, or those of one account.
pub fn accstatz(server: &Shared, only: Option<&str>) -> Value {
    let clients = server.clients();
    let stats: Vec<Value> = server
        .accounts()
        .iter()
        .filter(|account| only.is_none_or(|name| name == account.name))
        .map(|account| {
            let own: Vec<_> = clients.iter().filter(|client| client.identity().account == account.name).collect();
            let sum = |figure: fn(&crate::router::Traffic) -> &std::sync::atomic::AtomicU64| -> u64 {
                own.iter().map(|client| figure(&client.traffic).load(Ordering::Relaxed)).sum()
            };
            json!({
                "acc": account.name,
                "name": account.name,
                "conns": own.len(),
                "leafnodes": 0,
                "total_conns": own.len(),
                "num_subscriptions": account.router.subscription_count(),
                "sent": {"msgs": sum(|traffic| &traffic.out_msgs), "bytes": sum(|traffic| &traffic.out_bytes)},
                "received": {"msgs": sum(|traffic| &traffic.in_msgs), "bytes": sum(|traffic| &traffic.in_bytes)},
                "slow_consumers": 0,
            })
        })
        .collect();
    json!({"server_id": server.server_id, "now": now(), "account_statz": stats})
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
