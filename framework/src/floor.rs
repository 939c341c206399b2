//! The slots of one handler in one process: what runs, what waits, and how much more to ask for.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::buckets::{self, Buckets};
use crate::bus::{Incoming, Pull};
use crate::execute::Executor;
use crate::handler::Opened;
use crate::names;
use crate::per_key::PerKey;
use crate::room::{Room, SentAway, Ticket};
use crate::slot::Slot;
use crate::store::{StoreError, settled};

/// What is handed back unbegun is delivered again after this.
pub(crate) const HAND_BACK: Duration = Duration::from_millis(100);
/// Nothing more than this is pulled ahead, however quick the handler.
pub(crate) const MOST_AHEAD: usize = 256;
/// So much work is pulled ahead: about ten round trips to a broker nearby.
const AHEAD: Duration = Duration::from_millis(50);
/// A message whose key has its share of the room comes back after this at the latest, and up to a quarter of it more, at
/// random.
const SENT_AWAY: Duration = Duration::from_secs(3);
/// After one was sent away, the next messages are asked for after this: a long row of one busy key is walked past, not
/// run past.
const BREATH: Duration = Duration::from_millis(20);
/// Slots that are opened in place of stuck ones. Each stuck handler keeps a thread of the runtime, of which there are few.
const MOST_REPLACED: usize = 4;

/// Keys that are held up by what is away, and looked after at a time.
const MOST_LOOKED_AFTER: usize = 64;
/// The broker is asked about what does not come for so long, and of which the ledger knows nothing.
const LONG_AWAY: Duration = Duration::from_secs(30);

pub(crate) struct Floor {
    executor: Executor,
    room: Room<Arrived>,
    running: HashMap<u64, Running>,
    last: u64,
    reports: mpsc::UnboundedSender<Report>,
    reported: mpsc::UnboundedReceiver<Report>,
    tasks: TaskTracker,
    rate: Option<DefaultDirectRateLimiter>,
    /// The rates of keys.
    buckets: Option<Buckets>,
    /// When a token or a breath is due.
    wake: Option<Instant>,
    resting_until: Option<Instant>,
    /// Of the keys that are held up, so many were looked after.
    looked_after: usize,
    /// A moving average over the last deliveries.
    usual_time: Option<Duration>,
}

struct Arrived {
    incoming: Incoming,
    /// Opened already, where its key had to be known.
    opened: Option<Opened>,
    /// It has its key's token.
    paid: bool,
}

struct Running {
    slot: Slot,
    ticket: Option<Ticket>,
    stuck: bool,
}

struct Report {
    id: u64,
    took: Duration,
    settled: bool,
}

impl Floor {
    pub(crate) fn new(executor: Executor) -> Self {
        let policy = executor.handler.policy();
        let (reports, reported) = mpsc::unbounded_channel();
        Self {
            room: Room::new(policy.per_key),
            rate: policy.rate.and_then(buckets::limiter),
            buckets: policy.per_key.and_then(|per_key| per_key.rate).map(Buckets::new),
            executor,
            running: HashMap::new(),
            last: 0,
            reports,
            reported,
            tasks: TaskTracker::new(),
            wake: None,
            resting_until: None,
            looked_after: 0,
            usual_time: None,
        }
    }

    /// Takes messages into the room, in their order, or sends them away for a while.
    pub(crate) async fn admit(&mut self, arrivals: Vec<Incoming>) {
        if self.executor.handler.policy().per_key.is_none() {
            for incoming in arrivals {
                self.seat(incoming, None).await;
            }
            return;
        }
        // Opened side by side, since those that come again are written down first.
        let opened = join_all(arrivals.iter().map(|incoming| self.executor.open(incoming))).await;
        for (incoming, opened) in arrivals.into_iter().zip(opened) {
            self.seat(incoming, Some(opened)).await;
        }
    }

    async fn seat(&mut self, incoming: Incoming, mut opened: Option<Opened>) {
        let lane = opened.as_mut().and_then(|opened| opened.lane.take());
        let ticket = opened.as_ref().zip(lane).map(|(opened, lane)| Ticket {
            lane,
            seq: incoming.stream_seq,
            key: opened.key.clone(),
            again: incoming.delivered > 1,
        });
        let arrived = Arrived {
            incoming,
            opened,
            paid: false,
        };
        if let Some(SentAway { item, ahead }) = self.room.admit(arrived, ticket, Instant::now()) {
            self.resting_until = Some(Instant::now() + BREATH);
            item.incoming.receipt.nak(self.back_in(ahead)).await;
        }
    }

    /// When one that was sent away is to be back: about when its turn comes, if its key moves.
    fn back_in(&self, ahead: Option<usize>) -> Duration {
        let at_a_time = self
            .executor
            .handler
            .policy()
            .per_key
            .map_or(1, PerKey::at_a_time)
            .min(self.slots());
        let turn = ahead.zip(self.usual_time).map(|(ahead, usual)| {
            let rounds = u32::try_from(ahead / at_a_time.max(1)).unwrap_or(u32::MAX);
            usual.saturating_mul(rounds)
        });
        let wait = turn.unwrap_or(SENT_AWAY).clamp(BREATH, SENT_AWAY);
        wait.mul_f64(1.0 + rand::random::<f64>() / 4.0)
    }

    /// Begins as many as there are slots, keys and tokens for.
    pub(crate) fn begin_what_can(&mut self) {
        let now = Instant::now();
        let mut due = self.resting_until;
        while self.free() > 0
            && let Some(at) = self.room.next(now)
        {
            if !self.has_its_keys_token(at, now) {
                continue;
            }
            if let Some(Err(not_yet)) = self.rate.as_ref().map(RateLimiter::check) {
                let token = now + not_yet.wait_time_from(DefaultClock::default().now());
                due = earlier(due, Some(token));
                break;
            }
            if let Some((arrived, ticket)) = self.room.take(at) {
                self.begin(arrived, ticket);
            }
        }
        if self.buckets.is_some() {
            due = earlier(due, self.room.due(now));
        }
        self.wake = due;
    }

    /// If not, its key is passed by until there is one.
    fn has_its_keys_token(&mut self, at: usize, now: Instant) -> bool {
        let (Some(buckets), Some((arrived, Some(key)))) = (&mut self.buckets, self.room.at(at)) else {
            return true;
        };
        if !arrived.paid {
            match buckets.take(key, now) {
                Ok(()) => arrived.paid = true,
                Err(due) => {
                    self.room.is_dry(at, due);
                    return false;
                }
            }
        }
        true
    }

    fn begin(&mut self, arrived: Arrived, ticket: Option<Ticket>) {
        self.last += 1;
        let (id, slot, reports) = (self.last, Slot::default(), self.reports.clone());
        let mut executor = self.executor.clone();
        executor.slot = slot.clone();
        self.running.insert(
            id,
            Running {
                slot,
                ticket,
                stuck: false,
            },
        );
        self.tasks.spawn(async move {
            let began = Instant::now();
            let receipt = arrived.incoming.receipt.clone();
            executor.execute(arrived.incoming, arrived.opened).await;
            // The floor may be gone, with the process about to follow.
            let _ = reports.send(Report {
                id,
                took: began.elapsed(),
                settled: receipt.is_settled(),
            });
        });
    }

    /// Resolves when a delivery has ended.
    pub(crate) async fn ended(&mut self) {
        let Some(Report { id, took, settled }) = self.reported.recv().await else {
            return std::future::pending().await;
        };
        self.usual_time = Some(self.usual_time.map_or(took, |usual| (usual * 7 + took) / 8));
        let Some(ended) = self.running.remove(&id) else {
            return;
        };
        self.room.ended(ended.ticket.as_ref(), settled, Instant::now());
        if ended.stuck {
            tracing::warn!(handler = self.handler(), "a stuck handler has ended after all");
            self.tell_stuck();
        }
    }

    /// How many messages to ask for.
    pub(crate) fn wanted(&self) -> usize {
        if self.resting_until.is_some_and(|until| until > Instant::now()) {
            return 0;
        }
        let budget = self.free() + self.ahead();
        let wanted = budget.saturating_sub(self.room.ready(Instant::now()));
        // Not one by one while there is something to do: each question costs a round trip.
        let all = self.slots() + self.ahead();
        let busy = self.free() < self.slots();
        if busy && wanted < all / 4 {
            0
        } else {
            wanted.min(MOST_AHEAD)
        }
    }

    /// What the slots will have done within [`AHEAD`].
    fn ahead(&self) -> usize {
        let Some(usual) = self.usual_time else {
            return 0;
        };
        let each = AHEAD.as_micros() / usual.as_micros().max(1);
        let ahead = usize::try_from(each)
            .unwrap_or(MOST_AHEAD)
            .saturating_mul(self.slots());
        ahead.min(MOST_AHEAD)
    }

    fn slots(&self) -> usize {
        self.executor.handler.policy().slots()
    }

    fn free(&self) -> usize {
        let replaced = self.stuck().min(MOST_REPLACED);
        (self.slots() + replaced).saturating_sub(self.running.len())
    }

    fn stuck(&self) -> usize {
        self.running.values().filter(|running| running.stuck).count()
    }

    pub(crate) fn wake(&self) -> Option<Instant> {
        self.wake.filter(|wake| *wake > Instant::now())
    }

    /// Tells the broker that what waits is not forgotten, gives up on what is stuck, and looks for what does not come.
    pub(crate) async fn look_around(&mut self, pull: &Pull) {
        let handler = self.handler();
        let mut found = false;
        for running in self.running.values_mut().filter(|running| !running.stuck) {
            if running.slot.give_up() {
                running.stuck = true;
                found = true;
            }
        }
        if found {
            let stuck = self.stuck();
            tracing::error!(
                handler,
                stuck,
                "a handler is stuck: it blocks its thread, or does not end when it is dropped; its message is left to the \
                 next claim, and its slot replaced, {MOST_REPLACED} times at most: restart this process"
            );
            self.tell_stuck();
        }
        for arrived in self.room.iter() {
            arrived.incoming.receipt.progress().await;
        }
        self.look_after_the_away(pull).await;
    }

    /// What holds up its key and is not here may have been settled by another process.
    async fn look_after_the_away(&mut self, pull: &Pull) {
        let away = self.room.away(self.looked_after, MOST_LOOKED_AFTER);
        self.looked_after = match away.len() {
            MOST_LOOKED_AFTER => self.looked_after + MOST_LOOKED_AFTER,
            _ => 0,
        };
        let mut left = Vec::new();
        for (ticket, since) in away {
            match self.is_settled(&ticket).await {
                Ok(true) => self.room.settled_elsewhere(&ticket),
                Ok(false) if since.elapsed() > LONG_AWAY => left.push(ticket),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(handler = self.handler(), %error, "what is away can't be looked up");
                    return;
                }
            }
        }
        if left.is_empty() {
            return;
        }
        // Such as a replay that was another handler's: acked, without a row of this one.
        match pull.settled_up_to().await {
            Ok(seq) => left
                .iter()
                .filter(|ticket| ticket.seq <= seq)
                .for_each(|ticket| self.room.settled_elsewhere(ticket)),
            Err(error) => tracing::debug!(handler = self.handler(), %error, "the broker can't be asked"),
        }
    }

    async fn is_settled(&self, ticket: &Ticket) -> Result<bool, StoreError> {
        let mut tx = self.executor.store.read().await?;
        let settled = settled::is_settled(&mut tx, self.handler(), &ticket.key).await?;
        tx.rollback().await?;
        Ok(settled)
    }

    fn tell_stuck(&self) {
        let stuck = u32::try_from(self.stuck()).unwrap_or(u32::MAX);
        gauge!(names::STUCK, "handler" => self.handler()).set(f64::from(stuck));
    }

    fn handler(&self) -> &'static str {
        self.executor.handler.policy().id
    }

    /// Gives back what has not begun.
    pub(crate) async fn hand_back(&mut self) {
        for arrived in self.room.clear(Instant::now()) {
            arrived.incoming.receipt.nak(HAND_BACK).await;
        }
    }

    /// Waits for what is under way.
    pub(crate) async fn finish(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
