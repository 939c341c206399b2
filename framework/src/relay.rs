//! The outbox relay: publishes what committed transactions have decided to, and forgets it once the broker has it.

use std::collections::HashMap;
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
/// What the broker refuses is offered again after this, and does not stand in the way of the rest meanwhile.
const ASIDE: Duration = Duration::from_secs(30);
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
    // While the broker is away, the client would keep each row in memory, and once more with every try.
    if backlog.rows == 0 || !bus.is_connected() {
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
    edge!(BeforePublish);
    let mut outcomes = bus.publish_all(&rows).await;
    if lost!(AfterPublishBeforeForget) {
        return Ok(Progress {
            taken: rows.len(),
            confirmed: 0,
        });
    }
    make_missing_streams(bus, &rows, &mut outcomes).await;
    let mut confirmed = 0;
    let mut tx = store.begin().await?;
    for (row, outcome) in rows.iter().zip(&outcomes) {
        match outcome {
            Ok(()) => {
                outbox::delete(&mut tx, &row.id).await?;
                counter!(names::PUBLISHED, "subject" => row.subject.clone()).increment(1);
                confirmed += 1;
            }
            Err(BusError::NotTaken { .. }) => outbox::set_aside(&mut tx, &row.id, ASIDE).await?,
            Err(_) => {}
        }
    }
    edge!(InsideForget?);
    tx.commit().await?;
    tell(&rows, &outcomes);
    Ok(Progress {
        taken: rows.len(),
        confirmed,
    })
}

/// Where no stream keeps a subject yet, one is made for the next try.
async fn make_missing_streams(bus: &Bus, rows: &[OutboxRow], outcomes: &mut [Result<(), BusError>]) {
    let mut asked: HashMap<&str, Option<String>> = HashMap::new();
    for (row, outcome) in rows.iter().zip(outcomes) {
        if !matches!(outcome, Err(BusError::NoStream { .. })) {
            continue;
        }
        let subject = row.subject.as_str();
        if !asked.contains_key(subject) {
            let made = bus.ensure_stream(&streams::for_subject(subject)).await;
            asked.insert(subject, made.err().map(|error| error.to_string()));
        }
        if let Some(Some(reason)) = asked.get(subject) {
            let (subject, reason) = (subject.to_owned(), reason.clone());
            *outcome = Err(BusError::NotTaken { subject, reason });
        }
    }
}

/// Each refusal, since each needs a person; of what is only late, how much it is.
fn tell(rows: &[OutboxRow], outcomes: &[Result<(), BusError>]) {
    let mut late = Vec::new();
    for (row, outcome) in rows.iter().zip(outcomes) {
        match outcome {
            Ok(()) => {}
            Err(error @ BusError::NotTaken { .. }) => {
                tracing::error!(%error, id = %row.id, "an outbox message is refused");
            }
            Err(error) => late.push(error),
        }
    }
    if let Some(error) = late.first() {
        tracing::warn!(%error, messages = late.len(), "outbox messages were not published yet");
    }
}
