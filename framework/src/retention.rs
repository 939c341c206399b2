//! Forgets what nobody needs any more: ledger rows past their dedupe ttl, dead letters that were dealt with long ago, rests
//! that are over. What the broker has confirmed leaves the outbox by itself.

use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::health;
use crate::store::{Store, StoreError, dead_letters, deliveries, openings, pauses};

/// What can go is looked for this often.
const EVERY: Duration = Duration::from_secs(60);
/// Letters in one transaction: few enough that nobody waits long for a turn to write.
const LETTERS: u32 = 500;

/// Purges now and then until `stop`. Settled letters stay for `letters`, or for ever.
pub(crate) async fn run(store: Store, letters: Option<Duration>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    // A process that stood still has one purge to make up for, not all that it has missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Some(recorder) = health::metrics() {
            recorder.run_upkeep();
        }
        // Batch after batch until nothing is left, each a transaction of its own, so that others get their turn in between.
        while !stop.is_cancelled() {
            match batch(&store, letters, SystemTime::now()).await {
                Ok(0) => break,
                Ok(rows) => tracing::debug!(rows, "rows past their time were purged"),
                Err(error) => {
                    tracing::warn!(%error, "what is past its time could not be purged");
                    break;
                }
            }
        }
    }
}

/// Purges some of what can go; gives the number of rows, 0 when nothing was left.
pub(crate) async fn batch(
    store: &Store,
    letters: Option<Duration>,
    now: SystemTime,
) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let rows = deliveries::purge(&mut tx).await?;
    pauses::purge(&mut tx).await?;
    openings::purge(&mut tx).await?;
    tx.commit().await?;
    // Nothing was settled before 1970.
    let before = letters
        .and_then(|kept| now.checked_sub(kept))
        .filter(|before| *before > SystemTime::UNIX_EPOCH);
    match before {
        Some(before) => Ok(rows + dead_letters::purge(store, before, LETTERS).await?),
        None => Ok(rows),
    }
}
