//! `/jsz`: JetStream in figures; `?streams=true` with each stream.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::jetstream::JetStream;
use crate::server::Shared;

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Detail {
    streams: bool,
    accounts: bool,
    consumers: bool,
}

#[derive(Serialize, Default)]
pub struct Jsz {
    #[serde(skip_serializing_if = "Option::is_none")]
    server_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    store_dir: String,
    memory: u64,
    storage: u64,
    streams: usize,
    consumers: usize,
    messages: u64,
    bytes: u64,
    api: Api,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_details: Vec<Account>,
}

#[derive(Serialize, Default)]
struct Api {
    total: u64,
}

#[derive(Serialize)]
struct Account {
    name: String,
    id: String,
    stream_detail: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    name: String,
    state: StreamState,
}

#[derive(Serialize)]
struct StreamState {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
    consumer_count: usize,
}

pub async fn page(State(server): State<Arc<Shared>>, Query(detail): Query<Detail>) -> Json<Jsz> {
    Json(jsz(&server, &detail))
}

pub fn jsz(server: &Shared, detail: &Detail) -> Jsz {
    let mut jsz = overview(&server.jetstreams());
    jsz.disabled = server.jetstreams().is_empty();
    jsz.server_id = Some(server.server_id.clone());
    jsz.now = Some(super::time(SystemTime::now()));
    if detail.streams || detail.accounts || detail.consumers {
        for account in server.accounts() {
            let Some(jetstream) = &account.jetstream else {
                continue;
            };
            let wanted = detail.streams || detail.consumers;
            let stream_detail = if wanted { streams(jetstream) } else { Vec::new() };
            let (name, id) = (account.name.clone(), account.name.clone());
            jsz.account_details.push(Account {
                name,
                id,
                stream_detail,
            });
        }
    }
    jsz
}

/// The sums over one account's streams.
pub fn of_account(server: &Shared, name: &str) -> Jsz {
    let accounts = server.accounts();
    let own = accounts.iter().filter(|account| account.name == name);
    let jetstreams: Vec<_> = own.filter_map(|account| account.jetstream.clone()).collect();
    Jsz {
        disabled: jetstreams.is_empty(),
        ..overview(&jetstreams)
    }
}

/// The sums over all streams of all accounts.
pub fn overview(jetstreams: &[JetStream]) -> Jsz {
    let streams: Vec<_> = jetstreams.iter().flat_map(JetStream::streams).collect();
    let snapshots: Vec<_> = streams.iter().map(|stream| stream.snapshot()).collect();
    let root = jetstreams
        .first()
        .map(|jetstream| jetstream.root().display().to_string());
    Jsz {
        store_dir: root.unwrap_or_default(),
        memory: snapshots.iter().map(|stream| stream.memory_bytes()).sum(),
        storage: snapshots.iter().map(|stream| stream.storage_bytes()).sum(),
        streams: snapshots.len(),
        consumers: snapshots.iter().map(|stream| stream.consumers).sum(),
        messages: snapshots.iter().map(|stream| stream.messages).sum(),
        bytes: snapshots.iter().map(|stream| stream.bytes).sum(),
        api: Api {
            total: jetstreams.iter().map(JetStream::api_calls).sum(),
        },
        ..Jsz::default()
    }
}

fn streams(jetstream: &JetStream) -> Vec<Stream> {
    let show = |handle: &crate::jetstream::StreamHandle| {
        let snapshot = handle.snapshot();
        Stream {
            name: handle.name().to_owned(),
            state: StreamState {
                messages: snapshot.messages,
                bytes: snapshot.bytes,
                first_seq: snapshot.first_seq,
                last_seq: snapshot.last_seq,
                consumer_count: snapshot.consumers,
            },
        }
    };
    jetstream.streams().iter().map(show).collect()
}
