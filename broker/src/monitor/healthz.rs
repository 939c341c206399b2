//! `/healthz`: may clients rely on this server?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::jetstream::JetStream;
use crate::server::Shared;

#[derive(Serialize)]
pub struct Healthz {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub async fn page(State(server): State<Arc<Shared>>) -> (StatusCode, Json<Healthz>) {
    let health = healthz(&server);
    let status = if health.error.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health))
}

/// The answer to a request, which has no status line.
pub fn told(server: &Shared) -> Value {
    let health = healthz(server);
    let code = if health.error.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut told = json!(health);
    told["status_code"] = json!(code.as_u16());
    told
}

/// Unavailable as soon as one stream takes no more writes.
pub fn healthz(server: &Shared) -> Healthz {
    let jetstreams = server.jetstreams();
    let streams = jetstreams.iter().flat_map(JetStream::streams);
    let broken: Vec<String> = streams
        .filter(|stream| stream.snapshot().is_poisoned)
        .map(|stream| stream.name().to_owned())
        .collect();
    if broken.is_empty() {
        return Healthz {
            status: "ok",
            error: None,
        };
    }
    let error = format!(
        "JetStream streams take no writes after a failed one: {}",
        broken.join(", ")
    );
    Healthz {
        status: "unavailable",
        error: Some(error),
    }
}
