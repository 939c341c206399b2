//! `/jsz`: JetStream in figures; `?streams=true` with each stream.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::jetstream::JetStream;
use crate::server::Shared;

#[derive(Deserialize)]
pub struct Detail {
    #[serde(default)]
    streams: bool,
    #[serde(default)]
    accounts: bool,
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
    name: &'static str,
    id: &'static str,
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
    let mut jsz = match &server.jetstream {
        Some(jetstream) => overview(jetstream),
        None => Jsz {
            disabled: true,
            ..Jsz::default()
        },
    };
    jsz.server_id = Some(server.server_id.clone());
    jsz.now = Some(super::time(SystemTime::now()));
    if let Some(jetstream) = server
        .jetstream
        .as_ref()
        .filter(|_| detail.streams || detail.accounts)
    {
        let stream_detail = if detail.streams {
            streams(jetstream)
        } else {
            Vec::new()
        };
        jsz.account_details = vec![Account {
            name: "$G",
            id: "$G",
            stream_detail,
        }];
    }
    Json(jsz)
}

/// The sums over all streams.
pub fn overview(jetstream: &JetStream) -> Jsz {
    let snapshots: Vec<_> = jetstream
        .streams()
        .iter()
        .map(|stream| stream.snapshot())
        .collect();
    Jsz {
        store_dir: jetstream.root().display().to_string(),
        memory: snapshots.iter().map(|stream| stream.memory_bytes()).sum(),
        storage: snapshots.iter().map(|stream| stream.storage_bytes()).sum(),
        streams: snapshots.len(),
        consumers: snapshots.iter().map(|stream| stream.consumers).sum(),
        messages: snapshots.iter().map(|stream| stream.messages).sum(),
        bytes: snapshots.iter().map(|stream| stream.bytes).sum(),
        api: Api {
            total: jetstream.api_calls(),
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
