//! `/jsz`: JetStream in figures; `?streams=true` with each stream, `?consumers=true` with each consumer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::config::SyncPolicy;
use crate::jetstream::{JetStream, StreamDetail, StreamHandle};
use crate::protocol::info::API_LEVEL;
use crate::server::Shared;

/// A stream that waits for its disk this long is told without details.
const DETAIL_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Detail {
    streams: bool,
    accounts: bool,
    consumers: bool,
    config: bool,
    /// Only this account.
    acc: Option<String>,
}

#[derive(Serialize)]
pub struct Jsz {
    #[serde(skip_serializing_if = "Option::is_none")]
    server_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(flatten)]
    stats: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<StoreConfig>,
    streams: usize,
    consumers: usize,
    messages: u64,
    bytes: u64,
    /// Accounts with streams.
    total: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_details: Vec<Value>,
}

/// What is there. Nothing is reserved, and nothing is replicated.
#[derive(Serialize)]
pub struct Stats {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: u64,
    api: Api,
}

#[derive(Serialize)]
struct Api {
    level: u32,
    total: u64,
    errors: u64,
}

/// What was set; -1 is without limit.
#[derive(Serialize)]
pub struct StoreConfig {
    max_memory: i64,
    max_storage: i64,
    store_dir: String,
    /// Nanoseconds; 0 where each write is synced.
    sync_interval: u128,
    strict: bool,
}

pub async fn page(State(server): State<Arc<Shared>>, Query(detail): Query<Detail>) -> Json<Jsz> {
    Json(jsz(&server, &detail).await)
}

pub async fn jsz(server: &Shared, detail: &Detail) -> Jsz {
    let jetstreams = server.jetstreams();
    let mut jsz = sums(&jetstreams);
    jsz.server_id = Some(server.server_id.clone());
    jsz.now = Some(super::time(SystemTime::now()));
    jsz.config = Some(config(server));
    if detail.streams || detail.accounts || detail.consumers {
        for account in server.accounts() {
            let is_wanted = detail.acc.as_ref().is_none_or(|name| *name == account.name);
            if let Some(jetstream) = account.jetstream.as_ref().filter(|_| is_wanted) {
                jsz.account_details
                    .push(of_account(&account.name, jetstream, detail).await);
            }
        }
    }
    jsz
}

/// One account's streams, each if `detail` asks for them.
pub async fn of_account(name: &str, jetstream: &JetStream, detail: &Detail) -> Value {
    let mut account = json!({"name": name, "id": name});
    merge(&mut account, stats(std::slice::from_ref(jetstream)));
    if detail.streams || detail.consumers {
        let mut streams = Vec::new();
        for handle in jetstream.streams() {
            streams.push(of_stream(&handle, detail).await);
        }
        account["stream_detail"] = streams.into();
    }
    account
}

async fn of_stream(handle: &StreamHandle, detail: &Detail) -> Value {
    let told = timeout(DETAIL_PATIENCE, handle.detail()).await;
    let Some(StreamDetail { info, consumers }) = told.ok().flatten() else {
        let snapshot = handle.snapshot();
        let (messages, bytes) = (snapshot.messages, snapshot.bytes);
        let state = json!({"messages": messages, "bytes": bytes, "first_seq": snapshot.first_seq,
            "last_seq": snapshot.last_seq, "consumer_count": snapshot.consumers});
        return json!({"name": handle.name(), "state": state});
    };
    let mut stream = json!({
        "name": info.config.name,
        "created": info.created,
        "cluster": info.cluster,
        "state": info.state,
    });
    if detail.config {
        stream["config"] = json!(info.config);
    }
    if detail.consumers {
        stream["consumer_detail"] = json!(consumers);
    }
    stream
}

pub fn stats(jetstreams: &[JetStream]) -> Stats {
    let snapshots = jetstreams
        .iter()
        .flat_map(JetStream::streams)
        .map(|stream| stream.snapshot());
    let (memory, storage) = snapshots.fold((0, 0), |(memory, storage), snapshot| {
        (
            memory + snapshot.memory_bytes(),
            storage + snapshot.storage_bytes(),
        )
    });
    Stats {
        memory,
        storage,
        reserved_memory: 0,
        reserved_storage: 0,
        accounts: jetstreams.len(),
        ha_assets: 0,
        api: Api {
            level: API_LEVEL,
            total: jetstreams.iter().map(JetStream::api_calls).sum(),
            errors: jetstreams.iter().map(JetStream::api_errors).sum(),
        },
    }
}

/// The sums over all streams.
fn sums(jetstreams: &[JetStream]) -> Jsz {
    let snapshots: Vec<_> = jetstreams
        .iter()
        .flat_map(JetStream::streams)
        .map(|stream| stream.snapshot())
        .collect();
    Jsz {
        server_id: None,
        now: None,
        disabled: jetstreams.is_empty(),
        stats: stats(jetstreams),
        config: None,
        streams: snapshots.len(),
        consumers: snapshots.iter().map(|stream| stream.consumers).sum(),
        messages: snapshots.iter().map(|stream| stream.messages).sum(),
        bytes: snapshots.iter().map(|stream| stream.bytes).sum(),
        total: jetstreams.len(),
        account_details: Vec::new(),
    }
}

pub fn config(server: &Shared) -> StoreConfig {
    let config = server.config();
    let limit = |bytes: Option<u64>| bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    StoreConfig {
        max_memory: limit(config.jetstream.max_memory),
        max_storage: limit(config.jetstream.max_storage),
        store_dir: config
            .store_dir
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        sync_interval: match config.sync {
            SyncPolicy::Interval(interval) => interval.as_nanos(),
            SyncPolicy::Always | SyncPolicy::Os => 0,
        },
        strict: true,
    }
}

fn merge(into: &mut Value, more: impl Serialize) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), json!(more)) {
        into.extend(more);
    }
}
