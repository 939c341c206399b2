//! The slow way to stop: clients are told, and those that stay are ended one after the other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::Shared;
use crate::protocol::{ClientError, write};
use crate::router::Wakes;

/// Tells everybody, waits, and ends every connection within the time that is set for it.
pub async fn run(shared: &Shared) {
    let limits = shared.limits();
    shared.is_lame_duck.store(true, Ordering::Relaxed);
    tell(shared);
    let grace = limits.lame_duck_grace.min(limits.lame_duck);
    wait_while_connected(shared, grace).await;
    let clients = shared.clients();
    let spread = limits.lame_duck.saturating_sub(grace);
    let step = spread / u32::try_from(clients.len()).unwrap_or(u32::MAX).max(1);
    for client in clients {
        client.outbox.close(ClientError::ServerShutdown);
        wait_while_connected(shared, step).await;
    }
}

/// INFO with `ldm`, to those that understand it at this time.
fn tell(shared: &Shared) {
    let mut wakes = Wakes::default();
    for client in shared.clients() {
        if client.takes_infos.load(Ordering::Relaxed) {
            let info = shared.info_for(&client, None, shared.config().tls.as_ref());
            let queued = client.outbox.queue_line(|out| write::info(out, &info));
            wakes.note(&client, queued);
        }
    }
}

/// Once everybody has left there is nothing to wait for.
async fn wait_while_connected(shared: &Shared, patience: Duration) {
    const GLANCE: Duration = Duration::from_millis(100);
    let until = tokio::time::Instant::now() + patience;
    while shared.connection_count() > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(GLANCE.min(patience)).await;
    }
}
