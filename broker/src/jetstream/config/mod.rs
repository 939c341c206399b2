//! Configurations as clients write them: defaults filled in, checked, and told back in full.

pub mod consumer;
mod consumer_rules;
pub mod origin;
pub mod stream;
mod stream_rules;
mod unfinished;

use std::collections::BTreeMap;

use serde_json::Value;

pub use consumer::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy, ReplayPolicy};
pub use stream::{Compression, Discard, PersistMode, Retention, Storage, StreamConfig};

use super::api_error;
use crate::protocol::info::{API_LEVEL, VERSION};

pub type Metadata = BTreeMap<String, String>;

/// Longest name of a stream or consumer, as in nats-server.
pub const NAME_MAX: usize = 255;

/// Names go into subjects, so they may not hold what separates or matches there.
pub fn is_plain_name(name: &str) -> bool {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>');
    !name.is_empty() && !name.contains(is_bad)
}

pub fn has_path_separators(name: &str) -> bool {
    name.contains(['/', '\\'])
}

/// Is this more than the absence of the feature?
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().any(asks_for_something),
        Value::Bool(true) => true,
    }
}

/// nats-server tells with every asset which server made it and which API level it needs.
pub fn with_server_metadata(metadata: &Metadata, required_level: u32) -> Metadata {
    let mut metadata = metadata.clone();
    metadata.insert("_nats.level".into(), API_LEVEL.to_string());
    metadata.insert("_nats.req.level".into(), required_level.to_string());
    metadata.insert("_nats.ver".into(), VERSION.into());
    metadata
}

/// The server's own entries come and go; they are no part of what a client configured.
fn without_server_metadata(metadata: &mut Metadata) {
    metadata.retain(|key, _| !key.starts_with("_nats."));
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// 0 means "not given" in Go's JSON; what the client then gets is told back as -1.
fn unlimited_if_zero(limit: &mut i64) {
    if *limit <= 0 {
        *limit = -1;
    }
}

use api_error as errors;
