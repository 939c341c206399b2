//! A pull consumer: who waits for messages, which message is next, and what became of those delivered.

pub mod delivery;
pub mod progress;
pub mod pull;
mod redeliveries;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::clock::{Now, nanos};
use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy};
use super::deadlines::Deadlines;
use super::json;
use crate::store::index::Index;
use crate::store::record::ConsumerId;
use crate::store::{Delivery, Nanos, Seq};
use crate::subject::Filter;
pub use delivery::Outlet;
pub use progress::{Pair, Progress};
pub use pull::{Pull, PullLimits, Status};
use redeliveries::Redeliveries;

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
        let start = start_of(&config, index);
        Consumer::with_progress(id, config, created, Progress::starting_at(start), index, now)
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
        let cursor = progress.delivered.stream_seq + 1;
        let mut consumer = Consumer {
            num_pending: index.count_matching(cursor, &filters),
            name: config.name.clone(),
            last_delivered: None,
            last_acked: None,
            deadlines: Deadlines::default(),
            redeliver: Redeliveries::default(),
            waiting: VecDeque::new(),
            last_used: now.steady,
            has_more: false,
            unlogged: Vec::new(),
            id,
            config,
            created,
            progress,
            filters,
            cursor,
        };
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

    /// Counts anew what is to be delivered, after more changed than is worth following one by one.
    pub fn recount(&mut self, index: &Index) {
        self.num_pending = index.count_matching(self.cursor, &self.filters);
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn take_unlogged(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.unlogged)
    }

    pub fn on_stored(&mut self, subject: &[u8]) {
        if self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(subject)) {
            self.num_pending += 1;
        }
    }

    pub fn on_removed(&mut self, seq: Seq, subject: &[u8]) {
        if self.progress.settle(seq) {
            self.deadlines.clear(seq);
        } else if seq >= self.cursor
            && (self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(subject)))
        {
            self.num_pending = self.num_pending.saturating_sub(1);
        }
    }

    /// Puts a request in the queue, or says why not.
    pub fn request(&mut self, reply: Bytes, body: &[u8], now: Now) -> Result<(), Status> {
        self.last_used = now.steady;
        let limits = PullLimits {
            max_batch: self.config.max_batch,
            max_expires: self.config.max_expires,
            max_bytes: self.config.max_bytes,
        };
        let pull = Pull::parse(reply, body, limits, now.steady)?;
        let places = usize::try_from(self.config.max_waiting).unwrap_or(usize::MAX);
        if self.waiting.len() >= places {
            // With a heartbeat the client will notice by its absence, and nats-server stays silent.
            return if pull.heartbeat.is_some() {
                Ok(())
            } else {
                Err(Status::MaxWaiting)
            };
        }
        self.waiting.push_back(pull);
        Ok(())
    }

    /// The messages that an ack of `seq` settles; they are settled now.
    pub fn ack(&mut self, seq: Seq, now: Now) -> Vec<Seq> {
        self.last_used = now.steady;
        let covered = match self.config.ack_policy {
            AckPolicy::All => self.progress.pending_up_to(seq),
            _ => vec![seq],
        };
        let settled: Vec<Seq> = covered.into_iter().filter(|&seq| self.settle(seq)).collect();
        if !settled.is_empty() {
            self.last_acked = Some(now.wall);
        }
        settled
    }

    fn settle(&mut self, seq: Seq) -> bool {
        self.deadlines.clear(seq);
        self.progress.settle(seq)
    }

    pub fn count_of(&self, seq: Seq) -> Option<u32> {
        self.progress.pending.get(&seq).map(|pending| pending.count)
    }

    /// Schedules a redelivery; a message that has used up its deliveries is given up instead.
    pub fn nak(&mut self, seq: Seq, delay: Option<Duration>, now: Now) -> Option<GivenUp> {
        self.last_used = now.steady;
        let count = self.count_of(seq)?;
        match delay {
            Some(delay) => self.deadlines.set(seq, now.steady.saturating_add(nanos(delay))),
            None => return self.retry_or_give_up(seq, count),
        }
        None
    }

    /// The client is still at work: the ack wait starts over.
    pub fn in_progress(&mut self, seq: Seq, now: Now) {
        self.last_used = now.steady;
        if let Some(count) = self.count_of(seq) {
            self.set_ack_deadline(seq, count, now.steady);
        }
    }

    /// Messages whose ack wait or NAK delay is over; those given up are settled and returned.
    pub fn redeliver_due(&mut self, now: Now) -> Vec<GivenUp> {
        let mut given_up = Vec::new();
        while let Some(seq) = self.deadlines.pop_due(now.steady) {
            if let Some(count) = self.count_of(seq) {
                given_up.extend(self.retry_or_give_up(seq, count));
            }
        }
        given_up
    }

    fn retry_or_give_up(&mut self, seq: Seq, count: u32) -> Option<GivenUp> {
        self.deadlines.clear(seq);
        if self.config.max_deliver > 0 && i64::from(count) >= self.config.max_deliver {
            self.progress.settle(seq);
            return Some(GivenUp {
                seq,
                deliveries: count,
            });
        }
        self.redeliver.push(seq);
        None
    }

    fn set_ack_deadline(&mut self, seq: Seq, count: u32, now: u64) {
        self.deadlines
            .set(seq, now.saturating_add(nanos(self.config.ack_wait_after(count))));
    }

    /// Has an ephemeral consumer been without a client for too long?
    pub fn is_abandoned(&self, now: Now) -> bool {
        self.abandoned_at().is_some_and(|at| at <= now.steady)
    }

    fn abandoned_at(&self) -> Option<u64> {
        let threshold = u64::try_from(self.config.inactive_threshold)
            .ok()
            .filter(|&nanos| nanos > 0)?;
        self.waiting
            .is_empty()
            .then(|| self.last_used.saturating_add(threshold))
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
        [self.deadlines.next(), pulls, self.abandoned_at()]
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
        DeliverPolicy::Last | DeliverPolicy::LastPerSubject => {
            index.last_matching(&config.filters()).unwrap_or(after_last)
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
