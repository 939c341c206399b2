//! Time under test: it stands still while anything happens, and passes when nothing does.

use std::time::{Duration, Instant};

use super::kit::Stage;
use crate::store::deliveries::millis;
use crate::store::rehearsal::{self, Unsettled, Waiting};

/// How often the kit looks whether something happens, in real time.
const LOOK: Duration = Duration::from_millis(2);
/// Nothing has happened if so many looks in a row saw the same.
const SAME_LOOKS: u32 = 3;
/// While a handler runs, it has this much real time before the clock moves for it: it may be waiting for something real.
const REAL_WORK: Duration = Duration::from_millis(40);
/// The clock moves by this much while a handler runs; less than the safety margin of a heartbeat.
const STEP: Duration = Duration::from_millis(250);
/// And by no more than this while nobody runs and nothing is due at a known time.
const LONG_STEP: Duration = Duration::from_secs(2);
/// Things are asked for a little after they are due.
const MARGIN: i64 = 25;
/// The clock waits for a heartbeat whose lease has less than this left, for as long in real time as it must.
const FRESH: i64 = 2_000;
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(1);
/// What has not settled by then, in real time, never will.
const LIMIT: Duration = Duration::from_secs(60);

/// What the kit sees in one look.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    deliveries: Vec<Unsettled>,
    outbox: Vec<Waiting>,
    /// What the broker has left for the handlers.
    backlog: u64,
}

impl Look {
    fn is_settled(&self) -> bool {
        self.deliveries.is_empty() && self.outbox.is_empty() && self.backlog == 0
    }

    /// The broker has nothing left, and yet there is work that nobody will ever take up.
    fn is_lost(&self) -> bool {
        self.backlog == 0 && self.outbox.is_empty() && !self.deliveries.is_empty()
    }
}

impl Stage {
    /// Gives how many of the planned faults never struck.
    pub(super) async fn until_settled(&self) -> usize {
        let began = Instant::now();
        let mut unstruck = 0;
        let (mut last, mut same, mut changed_at) = (None, 0_u32, Instant::now());
        let mut stalled_settled = false;
        loop {
            unstruck += self.replace_the_dead().await;
            self.stand_in_for_the_stalled().await;
            let look = self.look().await;
            same = if last.as_ref() == Some(&look) { same + 1 } else { 0 };
            if same == 0 {
                changed_at = Instant::now();
            }
            if same >= SAME_LOOKS {
                if look.is_settled() && !stalled_settled && self.wake_the_stalled().await {
                    // It goes on now with what it believes to be its own.
                    stalled_settled = true;
                    same = 0;
                } else if look.is_settled() {
                    return unstruck + self.forget_faults().await;
                }
                assert!(
                    !look.is_lost(),
                    "work was lost: the broker has nothing left, and this is unsettled: {look:?}"
                );
                self.pass_time(&look, changed_at).await;
            }
            assert!(
                began.elapsed() < LIMIT,
                "not settled after {LIMIT:?} of real time: {look:?}"
            );
            last = Some(look);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&self) -> Look {
        let seen = async {
            let mut tx = self.store.read().await?;
            rehearsal::unsettled(&mut tx).await
        };
        let (deliveries, outbox) = seen.await.unwrap_or_else(|error| panic!("{error}"));
        let consumers: Vec<_> = {
            let processes = self.processes.lock().await;
            processes
                .iter()
                .flat_map(|process| process.consumers.clone())
                .collect()
        };
        let mut backlog = 0;
        for (stream, durable) in consumers {
            // A consumer that is just being made again has something to do all the same.
            backlog += self.bus.backlog(&stream, durable).await.unwrap_or(1);
        }
        Look {
            deliveries,
            outbox,
            backlog,
        }
    }

    async fn pass_time(&self, look: &Look, unchanged_since: Instant) {
        let alive: Vec<String> = {
            let processes = self.processes.lock().await;
            let alive = processes
                .iter()
                .filter(|process| !process.faults.is_stalled() && !process.faults.is_dead());
            alive.map(|process| process.owner.clone()).collect()
        };
        let is_alive = |owner: &String| alive.contains(owner);
        let running = look
            .deliveries
            .iter()
            .filter(|row| is_alive(&row.owner) && matches!(row.state.as_str(), "claimed" | "effect"));
        if let Some(least) = running.map(|row| row.lease_ms).min() {
            let waited = unchanged_since.elapsed();
            if waited < REAL_WORK || (least < FRESH && waited < HEARTBEAT_LIMIT) {
                return;
            }
            return self.advance(STEP).await;
        }
        let due = look
            .deliveries
            .iter()
            .map(|row| row.due_ms.unwrap_or(row.lease_ms));
        let outbox = look.outbox.iter().map(|row| row.due_ms);
        let next = due.chain(outbox).filter(|due| *due > 0).min();
        let step = match next {
            Some(due) => Duration::from_millis(u64::try_from(due + MARGIN).unwrap_or(0)),
            None => LONG_STEP,
        };
        self.advance(step).await;
    }

    /// Moves every clock, the processes' first: then nobody believes in a lease for longer than the database does.
    pub(super) async fn advance(&self, by: Duration) {
        for process in self.processes.lock().await.iter() {
            process.advance(by).await;
        }
        let moved = rehearsal::advance(&self.store, millis(by)).await;
        moved.unwrap_or_else(|error| panic!("{error}"));
        self.broker.advance(by);
    }

    async fn replace_the_dead(&self) -> usize {
        let dead: Vec<_> = {
            let mut processes = self.processes.lock().await;
            processes
                .extract_if(.., |process| process.faults.is_dead())
                .collect()
        };
        let mut unstruck = 0;
        for process in dead {
            unstruck += process.faults.pending();
            process.kill().await;
            self.add_process().await;
        }
        unstruck
    }

    /// Another process, as soon as all that there are stand still.
    async fn stand_in_for_the_stalled(&self) {
        let all_stand_still = {
            let processes = self.processes.lock().await;
            processes.iter().all(|process| process.faults.is_stalled())
        };
        if all_stand_still {
            self.add_process().await;
        }
    }

    /// Lets go on what stood still; false when nothing did.
    async fn wake_the_stalled(&self) -> bool {
        let processes = self.processes.lock().await;
        let mut woken = false;
        for process in processes.iter().filter(|process| process.faults.is_stalled()) {
            process.faults.go_on();
            woken = true;
        }
        woken
    }

    /// What was planned and did not happen does not happen later either.
    async fn forget_faults(&self) -> usize {
        let processes = self.processes.lock().await;
        processes.iter().map(|process| process.faults.forget()).sum()
    }
}
