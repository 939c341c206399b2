//! The outbox relay: publishes what committed transactions have decided to, and forgets it once the broker has it.

use std::time::Duration;

use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::names;
use crate::store::outbox::{self, OutboxRow};
use crate::store::{Store, StoreError};
use crate::streams;

/// Rows in memory at a time, whatever the backlog.
const BATCH: i64 = 256;
/// Rows of relays that have died are looked for this often, when nothing rings.
const SWEEP: Duration = Duration::from_secs(1);
/// How long to wait when the broker or the database is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes until `stop`, and then until the outbox of this process is empty or the broker is away.
pub(crate) async fn run(store: Store, bus: Bus, stop: CancellationToken) {
    loop {
        let stopping = stop.is_cancelled();
        match relay_batch(&store, &bus).await {
            Ok(Progress { taken: 0, .. }) if stopping => return,
            Ok(Progress { taken: 0, .. }) => {
                tokio::select! {
                    () = store.outbox_bell() => {}
                    () = tokio::time::sleep(SWEEP) => {}
                    () = stop.cancelled() => {}
                }
            }
            Ok(Progress { confirmed: 0, .. }) | Err(_) if stopping => return,
            Ok(Progress { confirmed: 0, .. }) => tokio::time::sleep(PAUSE).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the outbox can't be read; its messages wait");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Progress {
    taken: usize,
    confirmed: usize,
}

async fn relay_batch(store: &Store, bus: &Bus) -> Result<Progress, StoreError> {
    let mut look = store.read().await?;
    let backlog = outbox::backlog(&mut look).await?;
    look.rollback().await?;
    gauge!(names::OUTBOX_AGE).set(backlog.oldest.as_secs_f64());
    gauge!(names::OUTBOX_ROWS).set(f64::from(u32::try_from(backlog.rows).unwrap_or(u32::MAX)));
    if backlog.rows == 0 {
        return Ok(Progress {
            taken: 0,
            confirmed: 0,
        });
    }
    let mut tx = store.begin().await?;
    let rows = outbox::take(&mut tx, BATCH).await?;
    tx.commit().await?;
    if rows.is_empty() {
        return Ok(Progress {
            taken: 0,
            confirmed: 0,
        });
    }
    let outcomes = bus.publish_all(&rows).await;
    let mut confirmed = 0;
    let mut tx = store.begin().await?;
    for (row, outcome) in rows.iter().zip(&outcomes) {
        if outcome.is_ok() {
            outbox::delete(&mut tx, &row.id).await?;
            counter!(names::PUBLISHED, "subject" => row.subject.clone()).increment(1);
            confirmed += 1;
        }
    }
    tx.commit().await?;
    for (row, outcome) in rows.iter().zip(outcomes) {
        if let Err(error) = outcome {
            unconfirmed(bus, row, &error).await;
        }
    }
    Ok(Progress {
        taken: rows.len(),
        confirmed,
    })
}

/// The row stays. Where no stream keeps its subject yet, one is made for the next try.
async fn unconfirmed(bus: &Bus, row: &OutboxRow, error: &BusError) {
    tracing::warn!(%error, id = %row.id, "an outbox message was not published yet");
    if matches!(error, BusError::NoStream { .. })
        && let Err(error) = bus.ensure_stream(&streams::for_subject(&row.subject)).await
    {
        tracing::warn!(%error, subject = %row.subject, "no stream could be made for it");
    }
}
