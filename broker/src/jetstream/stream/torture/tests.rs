//! The lives that the normal run lives, and the mistakes that it has to notice.

use std::panic::catch_unwind;

use super::{Bug, Kind, SYNC_INTERVAL, Totals, live};
use crate::config::SyncPolicy;
use crate::jetstream::config::Retention;
use crate::jetstream::stream::commit::ASYNC_SYNC_INTERVAL;

/// The normal run; `TORTURE_SEEDS` sets another number, `TORTURE_FROM` the first one.
const SEEDS: u64 = 2000;
/// Of each other kind of life.
const SEEDS_OF_OTHERS: u64 = 150;
/// Each mistake has to show within so many lives.
const SEEDS_TO_NOTICE: u64 = 500;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lives the lives from `from` on, on all cores.
fn live_many(from: u64, count: u64, kind: Kind) -> Totals {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let lives = |thread: u64| {
        let mut sum = Totals::default();
        for seed in (from + thread..from + count).step_by(usize::try_from(threads).unwrap()) {
            let totals =
                live(seed, kind).unwrap_or_else(|violation| panic!("{kind:?} seed {seed}: {violation}"));
            sum.add(totals);
        }
        sum
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || lives(thread)))
            .collect();
        let mut sum = Totals::default();
        for thread in running {
            sum.add(thread.join().unwrap());
        }
        sum
    })
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.acknowledged += other.acknowledged;
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.bad_spells += other.bad_spells;
        self.lost += other.lost;
    }
}

/// Lives lives of one kind and says what they added up to.
fn check(default_count: u64, kind: Kind) -> (u64, Totals) {
    // Of the other kinds as many in proportion.
    let count =
        setting("TORTURE_SEEDS").map_or(default_count, |seeds| (seeds * default_count / SEEDS).max(1));
    let from = setting("TORTURE_FROM").unwrap_or(0);
    let totals = live_many(from, count, kind);
    eprintln!("{count} lives from seed {from}, 0 violations, {kind:?}: {totals:?}");
    (count, totals)
}

#[test]
fn nothing_promised_is_broken() {
    let (count, totals) = check(SEEDS, Kind::default());
    assert_eq!(totals.lost, 0);
    // Were these few, the lives would be idle and prove nothing.
    assert!(totals.power_losses > count && totals.acknowledged > 20 * count);
    assert!(totals.confirmed > 10 * count && totals.refused > count / 4);
}

/// The message goes with its ack: neither is there without the other.
#[test]
fn nor_where_acknowledged_messages_go() {
    for retention in [Retention::WorkQueue, Retention::Interest] {
        let kind = Kind {
            retention,
            ..Kind::default()
        };
        let (count, totals) = check(SEEDS_OF_OTHERS, kind);
        assert_eq!(totals.lost, 0);
        assert!(totals.confirmed > 10 * count);
    }
}

/// A power loss takes what came since the last sync, and no more than that; a kill takes nothing.
#[test]
fn what_a_later_sync_may_lose() {
    let by_stream = SyncPolicy::Interval(ASYNC_SYNC_INTERVAL);
    let by_clock = SyncPolicy::Interval(SYNC_INTERVAL);
    for (sync, asks) in [(by_clock, false), (SyncPolicy::Os, false), (by_stream, true)] {
        for retention in [Retention::Limits, Retention::WorkQueue] {
            let kind = Kind {
                sync,
                asks,
                retention,
                ..Kind::default()
            };
            let (count, totals) = check(SEEDS_OF_OTHERS, kind);
            // Were nothing ever lost, the disk would not be what it says.
            assert!(totals.lost > count / 10);
        }
    }
}

/// Lives that once broke a promise: a purge was not written, consumers went on past what it took, and a kill in the middle
/// of healing brought that back behind them.
#[test]
fn lives_that_went_wrong_once() {
    for seed in [64399, 228_084] {
        let kind = Kind {
            has_batches: false,
            ..Kind::default()
        };
        live(seed, kind).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

/// A redelivery was logged after deliveries whose record the power loss took, and hid that they were missing. (Of two of
/// them the model thought wrongly: what a later message superseded may come back with it gone.) In the last, what had been
/// delivered again for that reason, and was settled, came back after a kill.
#[test]
fn lives_with_later_syncs_that_went_wrong_once() {
    let by_clock = SyncPolicy::Interval(SYNC_INTERVAL);
    for (sync, seed) in [
        (by_clock, 3461),
        (by_clock, 18926),
        (SyncPolicy::Os, 20230),
        (SyncPolicy::Os, 22423),
        (by_clock, 34359),
        (SyncPolicy::Os, 5892),
    ] {
        let kind = Kind {
            sync,
            has_batches: false,
            ..Kind::default()
        };
        live(seed, kind).unwrap_or_else(|violation| panic!("{kind:?} seed {seed}: {violation}"));
    }
}

#[test]
fn each_mistake_is_noticed() {
    for bug in [
        Bug::AckBeforeSync,
        Bug::NoFileSync,
        Bug::NoDirectorySync,
        Bug::LateAckState,
        Bug::BatchInParts,
    ] {
        let noticed = (0..SEEDS_TO_NOTICE).find_map(|seed| {
            match catch_unwind(|| {
                live(
                    seed,
                    Kind {
                        bug,
                        has_batches: bug == Bug::BatchInParts,
                        ..Kind::default()
                    },
                )
            }) {
                Ok(Ok(_)) => None,
                Ok(Err(violation)) => Some((seed, violation)),
                Err(_) => Some((seed, "panicked".into())),
            }
        });
        let (seed, violation) = noticed.unwrap_or_else(|| panic!("{bug:?} goes unnoticed"));
        eprintln!("{bug:?} is noticed in life {seed}: {violation}");
    }
}
