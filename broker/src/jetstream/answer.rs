//! The envelope of API answers: a type, and either the content or an error.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::api_error::ApiError;

#[derive(Serialize)]
struct Answer<'a, T> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ApiError>,
    #[serde(flatten)]
    content: Option<T>,
}

#[derive(Serialize)]
pub struct Success {
    pub success: bool,
}

#[derive(Serialize)]
pub struct Page<T> {
    pub total: usize,
    pub offset: usize,
    pub limit: usize,
    #[serde(flatten)]
    pub items: T,
}

/// `kind` is the middle of the type, such as `stream_info`; refusals are counted in `errors`.
pub fn encode<T: Serialize>(kind: &str, outcome: &Result<T, ApiError>, errors: &AtomicU64) -> Vec<u8> {
    errors.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
    let kind = format!("io.nats.jetstream.api.v1.{kind}_response");
    let answer = Answer {
        kind,
        error: outcome.as_ref().err(),
        content: outcome.as_ref().ok(),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// One page of `all`, and what to say about the whole.
pub fn page<T>(all: Vec<T>, offset: usize, limit: usize) -> (usize, Vec<T>) {
    let total = all.len();
    (total, all.into_iter().skip(offset).take(limit).collect())
}
