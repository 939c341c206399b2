//! The lives that the normal run lives, and the mistakes that it has to notice.

use std::panic::catch_unwind;

use super::{Bug, Totals, live};

/// The normal run; `TORTURE_SEEDS` sets another number, `TORTURE_FROM` the first one.
const SEEDS: u64 = 2000;
/// Each mistake has to show within so many lives.
const SEEDS_TO_NOTICE: u64 = 500;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lives the lives from `from` on, on all cores.
fn live_many(from: u64, count: u64) -> Totals {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let lives = |thread: u64| {
        let mut sum = Totals::default();
        for seed in (from + thread..from + count).step_by(usize::try_from(threads).unwrap()) {
            let totals = live(seed, Bug::None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
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
    }
}

#[test]
fn nothing_promised_is_broken() {
    let count = setting("TORTURE_SEEDS").unwrap_or(SEEDS);
    let from = setting("TORTURE_FROM").unwrap_or(0);
    let totals = live_many(from, count);
    eprintln!("{count} lives from seed {from}, 0 violations: {totals:?}");
    // Were these few, the lives would be idle and prove nothing.
    assert!(totals.power_losses > count && totals.acknowledged > 20 * count);
    assert!(totals.confirmed > 10 * count && totals.refused > count / 4);
}

/// Lives that once broke a promise: a purge was not written, consumers went on past what it took, and a kill in the middle
/// of healing brought that back behind them.
#[test]
fn lives_that_went_wrong_once() {
    for seed in [64399, 228_084] {
        live(seed, Bug::None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn each_mistake_is_noticed() {
    for bug in [
        Bug::AckBeforeSync,
        Bug::NoFileSync,
        Bug::NoDirectorySync,
        Bug::LateAckState,
    ] {
        let noticed = (0..SEEDS_TO_NOTICE).find_map(|seed| match catch_unwind(|| live(seed, bug)) {
            Ok(Ok(_)) => None,
            Ok(Err(violation)) => Some((seed, violation)),
            Err(_) => Some((seed, "panicked".into())),
        });
        let (seed, violation) = noticed.unwrap_or_else(|| panic!("{bug:?} goes unnoticed"));
        eprintln!("{bug:?} is noticed in life {seed}: {violation}");
    }
}
