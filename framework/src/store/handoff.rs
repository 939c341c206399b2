//! What the commits of this process pass to its relay directly, so that it need not look for it in the table.
//!
//! Bounded: a row has to get room before it is written. One that gets none, or that no relay is there to take, is written
//! unclaimed and left to the table, where this relay or any other finds it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::outbox::{OutboxRow, RELAY_LEASE};

/// Bytes of messages between a commit and the broker's confirmation, whatever the backlog.
const ROOM: usize = 16 * 1024 * 1024;
/// What a row takes beside its payload: bounds the rows, too.
const ROW_COST: usize = 512;

/// Between the transactions that write outbox rows and the one relay of the process.
#[derive(Debug)]
pub(crate) struct Handoff {
    room: Arc<Semaphore>,
    fresh: Mutex<VecDeque<Fresh>>,
    bell: Notify,
    later: Notify,
    /// A relay is there.
    open: AtomicBool,
    /// Rows were left to the table.
    left: AtomicBool,
    commits: AtomicU64,
}

/// A committed row and the room that it takes up.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) row: OutboxRow,
    /// Until then nobody else publishes it; later, somebody may, and it is left to the table.
    ours_until: Instant,
    _room: OwnedSemaphorePermit,
}

impl Fresh {
    pub(crate) fn is_ours(&self) -> bool {
        Instant::now() < self.ours_until
    }
}

impl Default for Handoff {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM)),
            fresh: Mutex::default(),
            bell: Notify::new(),
            later: Notify::new(),
            open: AtomicBool::new(false),
            left: AtomicBool::new(false),
            commits: AtomicU64::new(0),
        }
    }
}

impl Handoff {
    /// A relay is there from now on, or gone: what it has not taken is in the table, and falls to others in time.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
        if !open {
            self.forget();
        }
    }

    /// Room for `row`, if there is any: it is then to be written as claimed by this process, and else as unclaimed.
    pub(super) fn admit(&self, row: &OutboxRow) -> Option<Fresh> {
        // What is in order is published when the table says that it is next.
        if !self.open.load(Ordering::Relaxed) || row.ordered_by.is_some() {
            return None;
        }
        let cost = u32::try_from(ROW_COST + row.payload.len() + row.headers.size()).ok()?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(cost).ok()?;
        Some(Fresh {
            row: row.clone(),
            ours_until: Instant::now() + RELAY_LEASE / 2,
            _room: room,
        })
    }

    /// A transaction has committed: with these rows, and, if `left`, with others that got no room.
    pub(super) fn pass(&self, rows: Vec<Fresh>, left: bool) {
        if left {
            self.left.store(true, Ordering::Relaxed);
        }
        self.locked(|fresh| fresh.extend(rows));
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Up to `limit` rows, in the order of their commits.
    pub(crate) fn take(&self, limit: usize) -> Vec<Fresh> {
        self.locked(|fresh| {
            let count = fresh.len().min(limit);
            fresh.drain(..count).collect()
        })
    }

    /// Leaves everything to the table.
    pub(crate) fn forget(&self) {
        self.locked(VecDeque::clear);
    }

    /// Whether rows were left to the table since this was asked last.
    pub(crate) fn left_some(&self) -> bool {
        self.left.swap(false, Ordering::Relaxed)
    }

    /// Waits for a commit with outbox rows.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// A transaction has committed messages that are due later.
    pub(super) fn tell_of_later(&self) {
        self.later.notify_one();
    }

    /// Waits for a commit with messages that are due later.
    pub(crate) async fn told_of_later(&self) {
        self.later.notified().await;
    }

    /// How many transactions of this process have left something in the outbox.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn locked<T>(&self, change: impl FnOnce(&mut VecDeque<Fresh>) -> T) -> T {
        // A panic while holding the lock leaves a queue that is still a queue.
        change(&mut self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Headers;

    fn row(size: usize) -> OutboxRow {
        OutboxRow::new("a.b", Headers::default(), vec![b'x'; size])
    }

    #[tokio::test]
    async fn rows_beyond_the_bound_or_without_a_relay_are_left_to_the_table() {
        let handoff = Handoff::default();
        assert!(handoff.admit(&row(1)).is_none(), "no relay is there");
        handoff.set_open(true);
        let all = handoff.admit(&row(ROOM - ROW_COST)).expect("exactly the bound");
        assert!(handoff.admit(&row(0)).is_none(), "there is no room beside it");
        handoff.pass(vec![all], true);
        assert!(handoff.left_some() && !handoff.left_some(), "told once");
        assert_eq!(handoff.take(10).len(), 1);
        assert!(
            handoff.admit(&row(0)).is_some(),
            "what was taken and dropped gives room back"
        );
        assert!(
            handoff.admit(&row(ROOM - ROW_COST + 1)).is_none(),
            "one byte past the bound"
        );
    }

    #[tokio::test]
    async fn a_relay_that_ends_leaves_everything() {
        let handoff = Handoff::default();
        handoff.set_open(true);
        handoff.pass(handoff.admit(&row(1)).into_iter().collect(), false);
        handoff.set_open(false);
        assert!(handoff.take(10).is_empty() && handoff.admit(&row(1)).is_none());
    }
}
