//! The outbox relay: publishes what committed transactions have decided to, and forgets it once the broker has it.
//!
//! Its rows come from two sides. What this process commits is passed on in memory, as far as there is room. Everything
//! else is read from the table: what found no room, what a relay that has died had claimed, what was not confirmed. Whatever
//! happens to the rows in memory, they are in the table until they are confirmed, and their claim there runs out by itself.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::headers;
use crate::names;
use crate::store::outbox::{self, OutboxRow};
use crate::store::{Fresh, Outgoing, Replayed, Store, StoreError};
use crate::streams;

/// Rows of each side that are published at a time.
const BATCH: usize = 256;
/// Rows that no relay has claimed are looked for this often.
const SWEEP: Duration = Duration::from_secs(1);
/// What the broker refuses is offered again after this, and does not stand in the way of the rest meanwhile.
const ASIDE: Duration = Duration::from_secs(30);
/// How long to wait when the broker or the database is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes until `stop`, and then until nothing of this process is left to publish or the broker is away.
pub(crate) async fn run(store: Store, bus: Bus, stop: CancellationToken) {
    store.handoff().set_open(true);
    let mut relay = Relay {
        store,
        bus,
        swept: None,
        unclaimed: true,
    };
    relay.run(&stop).await;
    relay.store.handoff().set_open(false);
}

struct Relay {
    store: Store,
    bus: Bus,
    /// When the table was looked at last.
    swept: Option<Instant>,
    /// There may be rows in the table that no relay has claimed.
    unclaimed: bool,
}

/// Rows to publish, and the room that those from memory take up until then.
#[derive(Default)]
struct Batch {
    fresh: Vec<Fresh>,
    found: Vec<OutboxRow>,
}

impl Relay {
    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            // Asked before the rows, so that what was committed before the stop is seen after it.
            let stopping = stop.is_cancelled();
            match self.turn(stopping).await {
                Ok(true) => {}
                Ok(false) | Err(_) if stopping => return,
                Ok(false) => self.wait(stop).await,
                Err(error) => {
                    tracing::warn!(%error, "the outbox can't be read or written; its messages wait");
                    pause(stop).await;
                }
            }
        }
    }

    /// Publishes some rows; false when there were none, or nowhere to send them.
    async fn turn(&mut self, stopping: bool) -> Result<bool, StoreError> {
        self.sweep(stopping).await?;
        // While the broker is away, the client would keep each row in memory, and once more with every try.
        if !self.bus.is_connected() {
            self.store.handoff().forget();
            return Ok(false);
        }
        let batch = self.next().await?;
        let rows = batch.rows();
        if rows.is_empty() {
            return Ok(false);
        }
        edge!(BeforePublish);
        let mut outcomes = self.bus.publish_all(&rows).await;
        if lost!(AfterPublishBeforeForget) {
            return Ok(true);
        }
        self.make_missing_streams(&rows, &mut outcomes).await;
        tell(&rows, &outcomes);
        self.settle(&rows, &outcomes).await?;
        Ok(true)
    }

    /// Looks at the table now and then, without writing: the gauges, and whether there is something to claim.
    async fn sweep(&mut self, stopping: bool) -> Result<(), StoreError> {
        if self.swept.is_some_and(|swept| swept.elapsed() < SWEEP) && !stopping {
            return Ok(());
        }
        let mut look = self.store.read().await?;
        let backlog = outbox::backlog(&mut look).await?;
        look.rollback().await?;
        gauge!(names::OUTBOX_AGE).set(backlog.oldest.as_secs_f64());
        gauge!(names::OUTBOX_ROWS).set(f64::from(u32::try_from(backlog.rows).unwrap_or(u32::MAX)));
        self.unclaimed |= backlog.unclaimed;
        self.swept = Some(Instant::now());
        Ok(())
    }

    async fn next(&mut self) -> Result<Batch, StoreError> {
        let handoff = self.store.handoff();
        self.unclaimed |= handoff.left_some();
        let mut fresh = handoff.take(BATCH);
        fresh.retain(Fresh::is_ours);
        let mut found = Vec::new();
        if self.unclaimed {
            let mut tx = self.store.begin().await?;
            found = outbox::take(&mut tx, BATCH).await?;
            tx.commit().await?;
            // Of rows in order, the next one is there once this one is confirmed.
            self.unclaimed = found.len() == BATCH || found.iter().any(|row| row.ordered_by.is_some());
        }
        Ok(Batch { fresh, found })
    }

    /// Where no stream keeps a subject yet, one is made, and what it refused is sent again.
    async fn make_missing_streams(&self, rows: &[&OutboxRow], outcomes: &mut [Result<(), BusError>]) {
        let mut made: HashMap<&str, Option<String>> = HashMap::new();
        let mut again = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            if !matches!(outcomes[at], Err(BusError::NoStream { .. })) {
                continue;
            }
            let subject = row.subject.as_str();
            if !made.contains_key(subject) {
                let asked = self.bus.ensure_stream(&streams::for_subject(subject)).await;
                made.insert(subject, asked.err().map(|error| error.to_string()));
            }
            match made.get(subject) {
                Some(Some(reason)) => {
                    let (subject, reason) = (subject.to_owned(), reason.clone());
                    outcomes[at] = Err(BusError::NotTaken { subject, reason });
                }
                _ => again.push(at),
            }
        }
        if again.is_empty() {
            return;
        }
        let rows: Vec<_> = again.iter().map(|at| rows[*at]).collect();
        for (at, outcome) in again.into_iter().zip(self.bus.publish_all(&rows).await) {
            outcomes[at] = outcome;
        }
    }

    async fn settle(&self, rows: &[&OutboxRow], outcomes: &[Result<(), BusError>]) -> Result<(), StoreError> {
        let (mut confirmed, mut refused, mut replays) = (Vec::new(), Vec::new(), Vec::new());
        for (row, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    counter!(names::PUBLISHED, "subject" => row.subject.clone()).increment(1);
                    confirmed.push(row.id.clone());
                    replays.extend(row.headers.get(headers::RESENT).map(Replayed::arrived));
                }
                Err(BusError::NotTaken { reason, .. }) => match replay_of(row) {
                    Some(letter) => {
                        confirmed.push(row.id.clone());
                        replays.push(Replayed::refused(letter, reason));
                    }
                    None => refused.push(row.id.clone()),
                },
                // Its claim runs out, and then it is found in the table.
                Err(_) => {}
            }
        }
        self.store
            .relayed(Outgoing {
                confirmed,
                refused,
                aside: ASIDE,
                replays,
            })
            .await
    }

    async fn wait(&self, stop: &CancellationToken) {
        if !self.bus.is_connected() {
            return pause(stop).await;
        }
        tokio::select! {
            () = self.store.handoff().rung() => {}
            () = tokio::time::sleep(SWEEP) => {}
            () = stop.cancelled() => {}
        }
    }
}

impl Batch {
    fn rows(&self) -> Vec<&OutboxRow> {
        self.fresh
            .iter()
            .map(|fresh| &fresh.row)
            .chain(&self.found)
            .collect()
    }
}

/// The dead letter that this is a replay of, if it is one.
fn replay_of(row: &OutboxRow) -> Option<&str> {
    row.headers
        .get(headers::REPLAY)
        .or(row.headers.get(headers::RESENT))
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(PAUSE) => {}
        () = stop.cancelled() => {}
    }
}

/// Each refusal, since each needs a person; of what is only late, how much it is.
fn tell(rows: &[&OutboxRow], outcomes: &[Result<(), BusError>]) {
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
