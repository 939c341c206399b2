//! Time under test: it stands still while anything happens, and passes when nothing does.

use std::time::{Duration, Instant};

use super::delivery::Bare;
use super::kit::Stage;
use crate::edge::Faults;
use crate::store::StoreError;
use crate::store::deliveries::millis;
use crate::store::rehearsal::{self, Unsettled, Waiting};

/// How often the kit looks whether something happens, in real time.
const LOOK: Duration = Duration::from_millis(2);
/// Nothing has happened if so many looks in a row saw the same.
const SAME_LOOKS: u32 = 3;
/// While a handler runs, it has this much real time before each move of the clock: it may be waiting for something real.
const REAL_WORK: Duration = Duration::from_millis(10);
/// The clock moves by this much while a handler runs; less than the safety margin of a heartbeat.
const STEP: Duration = Duration::from_millis(250);
/// And by no more than this while nobody runs and nothing is due at a known time.
const LONG_STEP: Duration = Duration::from_secs(2);
/// Things are asked for a little after they are due.
const MARGIN: i64 = 25;
/// The clock waits for a heartbeat whose lease has less than this left. If none comes within so much real time, none will.
const FRESH: i64 = 2_000;
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(1);
/// Whoever stands still and keeps the others from the database for so long, in real time, goes on.
const BLOCKED: Duration = Duration::from_millis(100);
/// Whoever stands still goes on after this, by the test's clock, overtaken or not: it may hold a lock that the others wait
/// for, on Postgres that of a row that another of its tasks was just about to commit. Several leases, and less than the
/// broker remembers the ids of messages.
const STANDSTILL: Duration = Duration::from_secs(60);
/// What has not settled by then, in real time, never will.
const LIMIT: Duration = Duration::from_secs(60);

/// What the kit sees in one look.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    deliveries: Vec<Unsettled>,
    /// What is being opened.
    reading: Vec<Unsettled>,
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
    /// Publishes one of `interludes` whenever a task is held. Gives how many of the planned faults never struck.
    pub(super) async fn until_settled(&self, interludes: Vec<Bare>) -> usize {
        *self.interludes.lock().await = interludes;
        let began = Instant::now();
        let mut unstruck = 0;
        let (mut last, mut same, mut changed_at) = (None, 0_u32, Instant::now());
        loop {
            unstruck += self.replace_the_dead().await;
            self.each(|faults| faults.missed() >= STANDSTILL, Faults::go_on)
                .await;
            self.stand_in_for_the_stalled().await;
            let look = self.look().await;
            same = if last.as_ref() == Some(&look) { same + 1 } else { 0 };
            if same == 0 {
                changed_at = Instant::now();
            }
            let interrupted = (self.any(Faults::is_held).await && self.play_interlude().await)
                || (same >= SAME_LOOKS && self.each(Faults::is_held, Faults::release).await);
            if interrupted {
                same = 0;
            } else if same >= SAME_LOOKS {
                // What stood still goes on now with what it believes to be its own.
                let settled = look.is_settled();
                if settled && !self.each(Faults::is_stalled, Faults::go_on).await {
                    return unstruck + self.leave_one().await;
                }
                if settled {
                    same = 0;
                    continue;
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
            let (deliveries, outbox) = rehearsal::unsettled(&mut tx).await?;
            Ok::<_, StoreError>((deliveries, rehearsal::reading(&mut tx).await?, outbox))
        };
        let (deliveries, reading, outbox) = seen.await.unwrap_or_else(|error| panic!("{error}"));
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
            reading,
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
            .chain(&look.reading)
            .filter(|row| is_alive(&row.owner) && matches!(row.state.as_str(), "claimed" | "effect"));
        if let Some(least) = running.map(|row| row.lease_ms).min() {
            let waited = unchanged_since.elapsed();
            if least < FRESH && waited >= HEARTBEAT_LIMIT {
                self.advance(until(least)).await;
            } else if least >= FRESH && waited >= REAL_WORK {
                self.advance(STEP).await;
            }
            return;
        }
        let due = look
            .deliveries
            .iter()
            .map(|row| row.due_ms.unwrap_or(row.lease_ms));
        let outbox = look.outbox.iter().map(|row| row.due_ms);
        let next = due.chain(outbox).filter(|due| *due > 0).min();
        let step = match next {
            Some(due) => until(due),
            None => LONG_STEP,
        };
        self.advance(step).await;
    }

    /// Moves every clock, the processes' first: then nobody believes in a lease for longer than the database does.
    pub(super) async fn advance(&self, by: Duration) {
        for process in self.processes.lock().await.iter() {
            process.advance(by).await;
        }
        let moved = self.unblocked(rehearsal::advance(&self.store, millis(by))).await;
        moved.unwrap_or_else(|error| panic!("{error}"));
        self.broker.advance(by);
    }

    /// Waits for what needs the database. Whoever stands still with a transaction open is let go on when it is in the
    /// way, since nobody could overtake it.
    async fn unblocked<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let began = Instant::now();
        loop {
            if let Ok(done) = tokio::time::timeout(LOOK, work.as_mut()).await {
                return done;
            }
            if self.any(Faults::is_held).await {
                // What was published meanwhile arrives before the task goes on.
                while self.play_interlude().await {
                    tokio::time::sleep(LOOK * SAME_LOOKS).await;
                }
                self.each(Faults::is_held, Faults::release).await;
            }
            if began.elapsed() > BLOCKED {
                self.each(Faults::is_stalled, Faults::go_on).await;
            }
        }
    }

    async fn play_interlude(&self) -> bool {
        let Some(interlude) = self.interludes.lock().await.pop() else {
            return false;
        };
        self.publish(&interlude).await;
        true
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
            self.unblocked(self.add_process()).await;
        }
    }

    async fn any(&self, is: impl Fn(&Faults) -> bool) -> bool {
        self.processes
            .lock()
            .await
            .iter()
            .any(|process| is(&process.faults))
    }

    /// Does `what` to each process that `is` so; false when none was.
    async fn each(&self, is: impl Fn(&Faults) -> bool, what: impl Fn(&Faults)) -> bool {
        let processes = self.processes.lock().await;
        let mut found = false;
        for process in processes.iter().filter(|process| is(&process.faults)) {
            what(&process.faults);
            found = true;
        }
        found
    }

    /// Ends all processes but the last, so that the next delivery goes to that one. What was planned and did not happen
    /// does not happen later either; gives how much that was.
    async fn leave_one(&self) -> usize {
        let spare = {
            let mut processes = self.processes.lock().await;
            let last = processes.len().saturating_sub(1);
            processes.drain(..last).collect::<Vec<_>>()
        };
        let mut unstruck = 0;
        for process in spare {
            unstruck += process.faults.forget();
            process.kill().await;
        }
        let processes = self.processes.lock().await;
        unstruck
            + processes
                .iter()
                .map(|process| process.faults.forget())
                .sum::<usize>()
    }
}

fn until(due_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(due_ms.max(0) + MARGIN).unwrap_or(0))
}
