//! How far a consumer had come, gathered from the log. Pure.
//!
//! Deliveries are counted without gaps. Where a power loss left a later record of an unsynced stretch and not an earlier
//! one, the count tells: the messages in between may have been delivered, and unless they are settled they are again.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Progress;
use crate::jetstream::config::AckPolicy;
use crate::store::record::ConsumerId;
use crate::store::{Delivery, Seq};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub progress: Progress,
    /// Messages whose delivery may have been lost from the log.
    unclear: Vec<Range<Seq>>,
    /// Where such a stretch begins whose end is not known yet: the next first delivery tells it.
    unclear_from: Option<Seq>,
    /// Settled by a record whose delivery was not seen, or that may lie in a gap and was delivered once more after it.
    settled: BTreeSet<Seq>,
}

impl Recovered {
    pub fn on_state(&mut self, progress: Progress) {
        *self = Recovered {
            progress,
            ..Recovered::default()
        };
    }

    pub fn on_delivered(&mut self, delivery: &Delivery, policy: AckPolicy) {
        let known = self.progress.delivered;
        if delivery.consumer_seq > known.consumer_seq + 1 && policy != AckPolicy::None {
            self.unclear_from.get_or_insert(known.stream_seq + 1);
        }
        if delivery.stream_seq > known.stream_seq
            && let Some(from) = self.unclear_from.take()
        {
            self.unclear.push(from..delivery.stream_seq);
        }
        self.progress.record(delivery, policy);
    }

    pub fn on_settled(&mut self, seq: Seq) {
        let has_gaps = self.unclear_from.is_some() || !self.unclear.is_empty();
        if !self.progress.settle(seq) || has_gaps {
            self.settled.insert(seq);
        }
    }

    /// The progress, with everything pending that is among `candidates` and may have been delivered.
    pub fn finish(mut self, id: ConsumerId, candidates: impl Fn(Range<Seq>) -> Vec<Seq>) -> Progress {
        for range in std::mem::take(&mut self.unclear) {
            let mut again = candidates(range);
            again.retain(|seq| !self.settled.contains(seq));
            if !again.is_empty() {
                tracing::warn!(consumer = id, ?again, "not known to be settled; delivered again");
            }
            for seq in again {
                self.progress.resume(seq);
            }
        }
        self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(stream_seq: Seq, consumer_seq: u64) -> Delivery {
        Delivery {
            stream_seq,
            consumer_seq,
            count: 1,
            time: 0,
        }
    }

    fn pending(recovered: Recovered) -> Vec<Seq> {
        let progress = recovered.finish(1, |range| range.collect());
        progress.pending.into_keys().collect()
    }

    #[test]
    fn what_lies_in_a_gap_is_delivered_again_unless_it_is_settled() {
        let mut recovered = Recovered::default();
        recovered.on_delivered(&delivery(1, 1), AckPolicy::Explicit);
        recovered.on_settled(3);
        recovered.on_delivered(&delivery(5, 5), AckPolicy::Explicit);
        recovered.on_settled(5);
        recovered.on_settled(4);
        assert_eq!(pending(recovered), [1, 2]);
    }

    #[test]
    fn a_redelivery_after_the_gap_does_not_hide_it() {
        let mut recovered = Recovered::default();
        recovered.on_delivered(&delivery(1, 1), AckPolicy::Explicit);
        recovered.on_delivered(&delivery(1, 4), AckPolicy::Explicit);
        recovered.on_delivered(&delivery(4, 5), AckPolicy::Explicit);
        assert_eq!(pending(recovered), [1, 2, 3, 4]);
    }

    #[test]
    fn what_was_delivered_again_and_settled_then_is_done() {
        let mut recovered = Recovered::default();
        recovered.on_delivered(&delivery(5, 5), AckPolicy::Explicit);
        recovered.on_delivered(&delivery(2, 6), AckPolicy::Explicit);
        recovered.on_settled(2);
        assert_eq!(pending(recovered), [1, 3, 4, 5]);
    }

    #[test]
    fn nothing_is_delivered_again_where_nothing_is_missing() {
        let mut recovered = Recovered::default();
        recovered.on_delivered(&delivery(1, 1), AckPolicy::Explicit);
        // Those in between are not for this consumer.
        recovered.on_delivered(&delivery(9, 2), AckPolicy::Explicit);
        assert_eq!(pending(recovered), [1, 9]);
    }

    #[test]
    fn a_state_supersedes_what_came_before() {
        let mut recovered = Recovered::default();
        recovered.on_delivered(&delivery(9, 9), AckPolicy::Explicit);
        recovered.on_state(Progress::starting_at(20));
        assert_eq!(pending(recovered), [0; 0]);
    }
}
