//! What clients say about deliveries, and what happens to those that nobody says anything about.

use std::time::Duration;

use super::{Consumer, GivenUp};
use crate::jetstream::clock::{Now, nanos};
use crate::jetstream::config::AckPolicy;
use crate::store::Seq;

impl Consumer {
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

    pub(super) fn settle(&mut self, seq: Seq) -> bool {
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

    pub(super) fn set_ack_deadline(&mut self, seq: Seq, count: u32, now: u64) {
        self.deadlines
            .set(seq, now.saturating_add(nanos(self.config.ack_wait_after(count))));
    }
}
