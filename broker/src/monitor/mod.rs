//! Monitoring over HTTP, with nats-server's paths and field names. Reads snapshots; nothing depends on it.

mod accounts;
mod connz;
mod events;
mod healthz;
mod jsz;
mod metrics;
mod process;
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
        .route("/subsz", get(accounts::subsz_page))
        .route("/subscriptionsz", get(accounts::subsz_page))
        .route("/accountz", get(accounts::accountz_page))
        .route("/accstatz", get(accounts::accstatz_page))
        .route("/routez", get(accounts::routez_page))
        .route("/leafz", get(accounts::leafz_page))
        .route("/gatewayz", get(accounts::gatewayz_page))
        .route("/metrics", get(metrics::page))
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

/// How long ago `since` was, as nats-server prints it: `1d2h3m4s`, without leading zeros.
fn span(since: std::time::SystemTime) -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(since)
        .unwrap_or_default()
        .as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m{}s", seconds % 60),
        _ => format!("{days}d{hours}h{minutes}m{}s", seconds % 60),
    }
}
