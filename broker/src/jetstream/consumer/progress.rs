//! How far a consumer has come: what was delivered, what is acknowledged, what is still out. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::jetstream::config::AckPolicy;
use crate::store::{Delivery, Nanos, Seq};

/// A position counted in both ways: the consumer's deliveries and the stream's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pair {
    pub consumer_seq: u64,
    pub stream_seq: Seq,
}

/// A delivery that is not settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Of the first delivery; redeliveries do not change it, because the ack floor counts by it.
    pub consumer_seq: u64,
    pub count: u32,
    pub time: Nanos,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    pub delivered: Pair,
    pub ack_floor: Pair,
    pub pending: BTreeMap<Seq, Pending>,
    /// For the deliver policy "last per subject": the last message when the consumer was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Seq>,
}

impl Progress {
    /// Nothing delivered; the first message to be considered is `first`.
    pub fn starting_at(first: Seq) -> Progress {
        let before = Pair {
            consumer_seq: 0,
            stream_seq: first.saturating_sub(1),
        };
        Progress {
            delivered: before,
            ack_floor: before,
            pending: BTreeMap::new(),
            snapshot: None,
        }
    }

    /// The delivery of `stream_seq` that comes next, not yet recorded.
    pub fn next_delivery(&self, stream_seq: Seq, time: Nanos) -> Delivery {
        let count = self.pending.get(&stream_seq).map_or(0, |pending| pending.count) + 1;
        Delivery {
            stream_seq,
            consumer_seq: self.delivered.consumer_seq + 1,
            count,
            time,
        }
    }

    pub fn record(&mut self, delivery: &Delivery, policy: AckPolicy) {
        self.delivered.consumer_seq = self.delivered.consumer_seq.max(delivery.consumer_seq);
        self.delivered.stream_seq = self.delivered.stream_seq.max(delivery.stream_seq);
        if policy == AckPolicy::None {
            self.ack_floor = self.delivered;
            return;
        }
        let fresh = Pending {
            consumer_seq: delivery.consumer_seq,
            count: 0,
            time: 0,
        };
        let pending = self.pending.entry(delivery.stream_seq).or_insert(fresh);
        pending.count = delivery.count;
        pending.time = delivery.time;
    }

    /// Takes up a delivery that is not known to be settled, of which no more is known.
    pub fn resume(&mut self, seq: Seq) {
        let unknown = Pending {
            consumer_seq: self.ack_floor.consumer_seq + 1,
            count: 1,
            time: 0,
        };
        self.pending.entry(seq).or_insert(unknown);
    }

    /// Takes a message out of what is pending. False if it was not.
    pub fn settle(&mut self, seq: Seq) -> bool {
        let Some(settled) = self.pending.remove(&seq) else {
            return false;
        };
        if self.pending.is_empty() {
            self.ack_floor = self.delivered;
        } else if settled.consumer_seq == self.ack_floor.consumer_seq + 1 {
            self.ack_floor = Pair {
                consumer_seq: settled.consumer_seq,
                stream_seq: seq,
            };
            if let Some((&next, pending)) = self.pending.range(seq..).next() {
                self.ack_floor = Pair {
                    consumer_seq: pending.consumer_seq.saturating_sub(1),
                    stream_seq: next - 1,
                };
            }
        }
        true
    }

    /// The pending messages up to and including `seq`, which one ack of the policy "all" covers.
    pub fn pending_up_to(&self, seq: Seq) -> Vec<Seq> {
        self.pending.range(..=seq).map(|(&seq, _)| seq).collect()
    }

    pub fn redelivered(&self) -> usize {
        self.pending.values().filter(|pending| pending.count > 1).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(progress: &mut Progress, seq: Seq) {
        let delivery = progress.next_delivery(seq, 0);
        progress.record(&delivery, AckPolicy::Explicit);
    }

    fn floor(progress: &Progress) -> (u64, Seq) {
        (progress.ack_floor.consumer_seq, progress.ack_floor.stream_seq)
    }

    #[test]
    fn the_floor_follows_the_oldest_pending() {
        let mut progress = Progress::starting_at(1);
        for seq in [1, 2, 5, 6] {
            deliver(&mut progress, seq);
        }
        assert!(progress.settle(2));
        assert_eq!(floor(&progress), (0, 0));
        assert!(progress.settle(1));
        assert_eq!(floor(&progress), (2, 4));
        assert!(!progress.settle(1));
        assert!(progress.settle(6));
        assert_eq!(floor(&progress), (2, 4));
        assert!(progress.settle(5));
        assert_eq!(floor(&progress), (4, 6));
    }

    #[test]
    fn redelivery_counts_but_keeps_its_first_consumer_sequence() {
        let mut progress = Progress::starting_at(1);
        deliver(&mut progress, 1);
        deliver(&mut progress, 1);
        assert_eq!(
            progress.delivered,
            Pair {
                consumer_seq: 2,
                stream_seq: 1
            }
        );
        assert_eq!(
            (progress.pending[&1].consumer_seq, progress.pending[&1].count),
            (1, 2)
        );
        assert_eq!(progress.redelivered(), 1);
        assert!(progress.settle(1));
        assert_eq!(floor(&progress), (2, 1));
    }

    #[test]
    fn without_acks_the_floor_is_what_was_delivered() {
        let mut progress = Progress::starting_at(7);
        let delivery = progress.next_delivery(9, 0);
        progress.record(&delivery, AckPolicy::None);
        assert_eq!((floor(&progress), progress.pending.len()), ((1, 9), 0));
    }

    #[test]
    fn ack_all_covers_what_came_before() {
        let mut progress = Progress::starting_at(1);
        (1..=4).for_each(|seq| deliver(&mut progress, seq));
        assert_eq!(progress.pending_up_to(3), [1, 2, 3]);
    }
}
