//! The message of the benchmark, the handler that takes it, and the count that the handler keeps: in memory, by number,
//! and of what it was really called with, so that it does not depend on what the ledger believes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use postroom::{Cx, CxError, Handle, Key, Message, Spec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::options::Work;

/// The handler's id, and so its scope in the ledger.
pub(super) const HANDLER: &str = "bench";
/// The stream that keeps the subject.
pub(super) const STREAM: &str = "BENCH";
/// About what an event of a mail weighs with its summary.
const TEXT: usize = 200;
/// Longer than a run may take, so that every copy finds its original's row.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "bench.parcel", id = "bench.parcel.v1")]
pub(super) struct Parcel {
    run: String,
    number: u64,
    text: String,
}

/// The parcels of one run, and what became of each.
#[derive(Debug)]
pub(super) struct Count {
    run: String,
    parcels: Vec<Fate>,
    handled: AtomicU64,
    strangers: AtomicU64,
}

#[derive(Debug, Default)]
struct Fate {
    published: OnceLock<Instant>,
    handled: AtomicU32,
    latency: OnceLock<Duration>,
}

impl Count {
    /// Of a new run with so many different parcels.
    pub(super) fn new(parcels: usize) -> Arc<Self> {
        Arc::new(Self {
            run: Uuid::now_v7().to_string(),
            parcels: std::iter::repeat_with(Fate::default).take(parcels).collect(),
            handled: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
        })
    }

    /// The parcel with this number, stamped with the time at which it is first asked for.
    pub(super) fn parcel(&self, number: usize) -> Parcel {
        self.parcels[number].published.get_or_init(Instant::now);
        Parcel {
            run: self.run.clone(),
            number: number as u64,
            text: "x".repeat(TEXT),
        }
    }

    /// How often the handler was called.
    pub(super) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    /// Parcels that were never handled.
    pub(super) fn lost(&self) -> u64 {
        let untouched = |fate: &&Fate| fate.handled.load(Ordering::Acquire) == 0;
        self.parcels.iter().filter(untouched).count() as u64
    }

    /// Calls beyond the first of each parcel.
    pub(super) fn doubled(&self) -> u64 {
        let beyond = |fate: &Fate| u64::from(fate.handled.load(Ordering::Acquire).saturating_sub(1));
        self.parcels.iter().map(beyond).sum()
    }

    /// Calls with a parcel of another run, which an earlier one left on this broker.
    pub(super) fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Acquire)
    }

    /// From just before the publish to the handler's call, of the parcels from `first` on, sorted.
    pub(super) fn latencies(&self, first: usize) -> Vec<Duration> {
        let fates = self.parcels.iter().skip(first);
        let mut latencies: Vec<Duration> = fates.filter_map(|fate| fate.latency.get().copied()).collect();
        latencies.sort_unstable();
        latencies
    }

    fn note(&self, parcel: &Parcel) {
        let fate = usize::try_from(parcel.number)
            .ok()
            .filter(|_| parcel.run == self.run)
            .and_then(|number| self.parcels.get(number));
        let Some(fate) = fate else {
            self.strangers.fetch_add(1, Ordering::AcqRel);
            return;
        };
        if let Some(published) = fate.published.get() {
            fate.latency.get_or_init(|| published.elapsed());
        }
        fate.handled.fetch_add(1, Ordering::AcqRel);
        self.handled.fetch_add(1, Ordering::AcqRel);
    }
}

/// Counts, and does its work.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) count: Arc<Count>,
    pub(super) work: Work,
}

impl Receiver {
    pub(super) fn spec(concurrency: u16) -> Spec<Parcel> {
        Spec::new(HANDLER)
            .idempotent(|parcel: &Parcel| Key::of(&[&parcel.run, &parcel.number]), TTL)
            .concurrency(concurrency)
    }
}

impl Handle<Parcel> for Receiver {
    type Error = CxError;

    async fn handle(&self, parcel: Parcel, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.count.note(&parcel);
        self.work.perform().await;
        Ok(())
    }
}

/// The order of publishing: every original once, and each copy half a run after its original, so that both meet in the
/// ledger and not in the broker's memory of what is under way.
pub(super) fn order(originals: usize, copies: usize) -> impl Iterator<Item = usize> {
    let half = originals / 2;
    (0..originals).flat_map(move |original| {
        // Spread evenly over the second half: the copies that are due after this original, less those before it.
        let due = |at: usize| copies * at.saturating_sub(half) / (originals - half);
        let copied =
            (due(original)..due(original + 1)).map(move |copy| copy * originals.div_ceil(2) / copies.max(1));
        std::iter::once(original).chain(copied)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_original_comes_once_and_each_copy_after_it() {
        for (originals, copies) in [(90, 10), (1, 0), (1, 1), (2, 1), (7, 3), (50, 50), (901, 99)] {
            let order: Vec<usize> = order(originals, copies).collect();
            assert_eq!(order.len(), originals + copies, "{originals} and {copies}");
            let mut seen = HashSet::new();
            let firsts: Vec<usize> = order.into_iter().filter(|number| seen.insert(*number)).collect();
            assert_eq!(firsts, (0..originals).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_lost_doubled_or_strange_is_told() {
        let count = Count::new(3);
        let parcel = count.parcel(0);
        count.note(&parcel);
        count.note(&parcel);
        count.note(&count.parcel(1));
        assert_eq!((count.handled(), count.lost(), count.doubled()), (3, 1, 1));
        assert_eq!(count.latencies(0).len(), 2);
        count.note(&Count::new(1).parcel(0));
        assert_eq!((count.handled(), count.strangers()), (3, 1));
    }
}
