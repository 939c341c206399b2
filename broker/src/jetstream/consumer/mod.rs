//! A consumer: who waits for messages, which message is next, and what became of those delivered.

mod delivery;
mod flow;
pub mod frames;
mod groups;
pub mod progress;
pub mod pull;
mod push;
mod recovered;
mod redeliveries;
mod settling;
mod upcoming;

use std::collections::VecDeque;

use bytes::Bytes;

use super::clock::Now;
use super::config::{ConsumerConfig, DeliverPolicy, ReplayPolicy};
use super::deadlines::Deadlines;
use super::json;
use crate::store::index::Index;
use crate::store::record::ConsumerId;
use crate::store::{Delivery, Nanos, Seq};
use crate::subject::Filter;
pub use delivery::Outlet;
pub use flow::FLOW_PREFIX;
pub use groups::{Pin, PinEvent};
pub use progress::{Pair, Progress};
pub use pull::{Pull, PullLimits, Status};
pub use push::Push;
pub use recovered::Recovered;
use redeliveries::Redeliveries;
use upcoming::{LastPerSubject, Replay};

#[derive(Debug)]
pub struct Consumer {
    pub id: ConsumerId,
    pub name: String,
    pub config: ConsumerConfig,
    pub created: Nanos,
    pub progress: Progress,
    pub last_delivered: Option<Nanos>,
    pub last_acked: Option<Nanos>,
    /// Messages that match and were never delivered.
    pub num_pending: u64,
    filters: Vec<Filter>,
    /// The next message to be considered for a first delivery.
    cursor: Seq,
    deadlines: Deadlines,
    /// Pending messages whose turn has come again.
    redeliver: Redeliveries,
    waiting: VecDeque<Pull>,
    /// For a push consumer, who is sent to.
    pub push: Option<Push>,
    last_per_subject: Option<LastPerSubject>,
    replay: Option<Replay>,
    /// When a pause ends, on the steady clock.
    resumes_at: Option<u64>,
    pub pin: Option<Pin>,
    pin_events: Vec<PinEvent>,
    last_used: u64,
    /// The last turn ended before the work did.
    has_more: bool,
    /// Deliveries made since [`Consumer::take_unlogged`].
    unlogged: Vec<Delivery>,
}

/// A message that will not be delivered any more although nobody acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    pub seq: Seq,
    pub deliveries: u32,
}

impl Consumer {
    pub fn new(id: ConsumerId, config: ConsumerConfig, created: Nanos, index: &Index, now: Now) -> Consumer {
        let mut progress = Progress::starting_at(start_of(&config, index));
        if config.deliver_policy == DeliverPolicy::LastPerSubject {
            progress.snapshot = Some(index.last_seq());
        }
        Consumer::with_progress(id, config, created, progress, index, now)
    }

    /// A consumer as the log left it. What was pending gets a full ack wait again.
    pub fn with_progress(
        id: ConsumerId,
        config: ConsumerConfig,
        created: Nanos,
        progress: Progress,
        index: &Index,
        now: Now,
    ) -> Consumer {
        let filters = config.filters();
        let delivered = progress.delivered.stream_seq;
        let snapshot = progress.snapshot.filter(|&until| until > delivered);
        let mut consumer = Consumer {
            num_pending: 0,
            push: None,
            pin: None,
            pin_events: Vec::new(),
            last_per_subject: snapshot.map(|until| LastPerSubject::new(until, delivered, &filters, index)),
            replay: (config.replay_policy == ReplayPolicy::Original).then(Replay::default),
            name: config.name.clone(),
            last_delivered: None,
            last_acked: None,
            deadlines: Deadlines::default(),
            redeliver: Redeliveries::default(),
            waiting: VecDeque::new(),
            last_used: now.steady,
            has_more: false,
            resumes_at: None,
            unlogged: Vec::new(),
            id,
            config,
            created,
            progress,
            filters,
            cursor: delivered + 1,
        };
        consumer.recount(index);
        let gone: Vec<Seq> = consumer
            .progress
            .pending
            .keys()
            .copied()
            .filter(|&seq| index.get(seq).is_none())
            .collect();
        for seq in gone {
            consumer.progress.settle(seq);
        }
        let pending: Vec<(Seq, u32)> = consumer
            .progress
            .pending
            .iter()
            .map(|(&seq, pending)| (seq, pending.count))
            .collect();
        for (seq, count) in pending {
            consumer.set_ack_deadline(seq, count, now.steady);
        }
        consumer
    }

    pub fn update(&mut self, config: ConsumerConfig, index: &Index) {
        self.filters = config.filters();
        self.config = config;
        self.recount(index);
    }

    /// Deliveries start over at `first`, as if there had been none.
    pub fn reset(&mut self, first: Seq, index: &Index) {
        let pending: Vec<Seq> = self.progress.pending.keys().copied().collect();
        for seq in pending {
            self.settle(seq);
        }
        self.progress = Progress::starting_at(first);
        self.last_per_subject = None;
        self.cursor = first;
        (self.last_delivered, self.last_acked) = (None, None);
        self.unlogged.clear();
        self.recount(index);
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn take_unlogged(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.unlogged)
    }

    pub fn on_stored(&mut self, subject: &[u8]) {
        if self.wants(subject) {
            self.num_pending += 1;
        }
    }

    pub fn on_removed(&mut self, seq: Seq, subject: &[u8]) {
        if self.progress.settle(seq) {
            self.deadlines.clear(seq);
        } else if self.awaits(seq, subject) {
            self.num_pending = self.num_pending.saturating_sub(1);
        }
    }

    /// Puts a request in the queue, or says why not.
    pub fn request(&mut self, reply: Bytes, body: &[u8], now: Now) -> Result<(), Status> {
        if self.config.is_push() {
            return Err(Status::PushBased);
        }
        self.last_used = now.steady;
        let limits = PullLimits {
            max_batch: self.config.max_batch,
            max_expires: self.config.max_expires,
            max_bytes: self.config.max_bytes,
        };
        let pull = Pull::parse(reply, body, limits, now.steady)?;
        self.check_group(&pull, now)?;
        let places = usize::try_from(self.config.max_waiting).unwrap_or(usize::MAX);
        if self.waiting.len() >= places {
            // With a heartbeat the client will notice by its absence, and nats-server stays silent.
            return if pull.heartbeat.is_some() {
                Ok(())
            } else {
                Err(Status::MaxWaiting)
            };
        }
        self.enqueue(pull);
        Ok(())
    }

    /// Has an ephemeral consumer been without a client for too long?
    pub fn is_abandoned(&self, now: Now) -> bool {
        self.abandoned_at().is_some_and(|at| at <= now.steady)
    }

    fn abandoned_at(&self) -> Option<u64> {
        let threshold = u64::try_from(self.config.inactive_threshold)
            .ok()
            .filter(|&nanos| nanos > 0)?;
        let is_used = !self.waiting.is_empty() || self.is_push_bound();
        (!is_used).then(|| self.last_used.saturating_add(threshold))
    }

    /// Until when nothing is delivered, if that is later than now.
    pub fn paused_until(&self, now: Now) -> Option<Nanos> {
        self.config.paused_until().filter(|&until| until > now.wall)
    }

    /// When something is due next.
    pub fn wake_at(&self) -> Option<u64> {
        if self.has_more {
            return Some(0);
        }
        let pulls = self
            .waiting
            .iter()
            .flat_map(|pull| {
                [
                    pull.expires,
                    pull.next_heartbeat,
                    pull.pause.as_ref().map(|pause| pause.until),
                ]
            })
            .flatten()
            .min();
        let replay = self.replay.and_then(|replay| replay.until);
        [
            self.deadlines.next(),
            pulls,
            self.push_wake_at(),
            replay,
            self.resumes_at,
            self.pin_ends_at(),
            self.abandoned_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

fn start_of(config: &ConsumerConfig, index: &Index) -> Seq {
    let after_last = index.last_seq() + 1;
    match config.deliver_policy {
        DeliverPolicy::All => index.first_seq(),
        DeliverPolicy::New => after_last,
        DeliverPolicy::Last => index
            .last_matching(index.last_seq(), &config.filters())
            .unwrap_or(after_last),
        DeliverPolicy::LastPerSubject => {
            let found = index.last_per_subject(index.last_seq(), &config.filters());
            found.into_iter().min().unwrap_or(after_last)
        }
        DeliverPolicy::ByStartSequence => config.opt_start_seq.clamp(index.first_seq(), after_last),
        DeliverPolicy::ByStartTime => {
            let time = config
                .opt_start_time
                .as_deref()
                .and_then(json::parse_time)
                .unwrap_or(Nanos::MIN);
            index.first_since(time).map_or(after_last, |entry| entry.seq)
        }
    }
}
