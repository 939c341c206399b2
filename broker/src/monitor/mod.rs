//! Monitoring over HTTP, with nats-server's paths and field names. Reads snapshots; nothing depends on it.

mod connz;
mod healthz;
mod jsz;
mod system;
mod varz;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::server::Shared;
pub use system::answer_notices;

pub async fn serve(listener: TcpListener, server: Arc<Shared>, shutdown: CancellationToken) {
    let pages = Router::new()
        .route("/healthz", get(healthz::page))
        .route("/varz", get(varz::page))
        .route("/connz", get(connz::page))
        .route("/jsz", get(jsz::page))
        .with_state(server);
    let serving = axum::serve(listener, pages).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "monitoring ended");
    }
}

/// A time as nats-server prints it.
fn time(at: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .map(|time| time.to_string())
        .unwrap_or_default()
}
