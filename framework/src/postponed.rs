//! Moves messages whose time has come to the outbox, in any process that is there.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError, postponed};

/// Rows in one transaction, and in memory for as long as it takes.
const BATCH: u32 = 64;
/// What another process has postponed for less than this may be late by as much, as nobody tells.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// At its time by the database's clock, and not just before it.
const MARGIN: Duration = Duration::from_millis(2);

/// Moves what is due until `stop`.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let wait = match turn(&store).await {
            Ok(wait) => wait.map_or(LONGEST_WAIT, |next| (next + MARGIN).min(LONGEST_WAIT)),
            Err(error) => {
                tracing::warn!(%error, "messages whose time has come can't be read or moved; they wait");
                LONGEST_WAIT
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = store.handoff().told_of_later() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Moves some of what is due; gives how long nothing more is, if there is more at all.
async fn turn(store: &Store) -> Result<Option<Duration>, StoreError> {
    let mut look = store.read().await?;
    let next = postponed::next(&mut look).await?;
    look.rollback().await?;
    if next != Some(Duration::ZERO) {
        return Ok(next);
    }
    let mut tx = store.begin().await?;
    let moved = postponed::move_due(&mut tx, BATCH).await?;
    tx.commit().await?;
    tracing::debug!(moved, "messages have become due");
    Ok(next)
}
