//! `/live`, `/ready` and `/metrics` of a worker process.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::error::Error;
use crate::names;
use crate::store::{Store, outbox};

/// One recorder for the process, however many apps run in it.
pub(crate) fn metrics() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| {
        // Somebody else's recorder stays; `/metrics` is theirs then.
        let handle = PrometheusBuilder::new().install_recorder().ok();
        names::describe();
        handle
    });
    recorder.as_ref()
}

#[derive(Clone)]
struct Parts {
    store: Store,
    bus: Bus,
}

/// Binds, so that a port in use is known before any work begins; the future serves until `stop`.
pub(crate) async fn serve(
    address: SocketAddr,
    store: Store,
    bus: Bus,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send, Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Http { address, source })?;
    let routes = Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route(
            "/metrics",
            get(async || metrics().map(PrometheusHandle::render).unwrap_or_default()),
        )
        .with_state(Parts { store, bus });
    Ok(async move {
        let served =
            axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::warn!(%error, "the health endpoint has ended");
        }
    })
}

async fn ready(State(parts): State<Parts>) -> (StatusCode, Json<Value>) {
    let broker = if parts.bus.is_connected() {
        "connected"
    } else {
        "away"
    };
    let database = match outbox_is_readable(&parts.store).await {
        true => "reachable",
        false => "away",
    };
    let well = broker == "connected" && database == "reachable";
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": well, "broker": broker, "database": database })),
    )
}

async fn outbox_is_readable(store: &Store) -> bool {
    match store.read().await {
        Ok(mut tx) => outbox::backlog(&mut tx).await.is_ok(),
        Err(_) => false,
    }
}
