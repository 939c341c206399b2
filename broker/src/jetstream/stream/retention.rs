//! Retention by interest and as a work queue: a message goes once those who should have it are done with it.

use super::Stream;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::config::{AckPolicy, ConsumerConfig, DeliverPolicy, Retention};
use crate::jetstream::consumer::Consumer;
use crate::store::record::{ConsumerId, MessageId};
use crate::store::{Nanos, Record, Seq, StoreError};
use crate::subject::Filter;

impl Stream {
    /// A consumer is done with these messages; those that nobody else needs are taken out.
    pub(super) fn release(&mut self, seqs: &[Seq]) {
        let unneeded: Vec<Seq> = match self.config.retention {
            Retention::Limits => return,
            Retention::WorkQueue => seqs.to_vec(),
            Retention::Interest => seqs.iter().copied().filter(|&seq| !self.is_needed(seq)).collect(),
        };
        self.remove_unneeded(&unneeded);
    }

    /// Under retention by interest, takes out what no consumer will ever want: after one is gone or wants less.
    pub(super) fn sweep_unneeded(&mut self) {
        if self.config.retention != Retention::Interest {
            return;
        }
        let index = self.store.index();
        let mut unneeded = Vec::new();
        let mut next = index.first_seq();
        while let Some(entry) = index.next(next) {
            if !self.is_needed(entry.seq) {
                unneeded.push(entry.seq);
            }
            next = entry.seq + 1;
        }
        self.remove_unneeded(&unneeded);
    }

    fn remove_unneeded(&mut self, seqs: &[Seq]) {
        if let Err(error) = self.remove(seqs) {
            // The store is poisoned, which was reported when it happened.
            tracing::debug!(stream = self.config.name, %error, "settled messages not removed");
        }
    }

    fn is_needed(&self, seq: Seq) -> bool {
        let index = self.store.index();
        index.get(seq).is_some_and(|entry| {
            let subject = index.subject_of(entry);
            self.consumers
                .values()
                .any(|consumer| consumer.needs(seq, subject))
        })
    }

    /// Consumers that do not acknowledge are done with what they were sent.
    pub(super) fn release_delivered(&mut self, id: ConsumerId, seqs: &[Seq]) {
        let acks = |consumer: &Consumer| consumer.config.ack_policy != AckPolicy::None;
        if self.config.removes_settled() && self.consumers.get(&id).is_some_and(|it| !acks(it)) {
            self.release(seqs);
        }
    }

    /// Would nobody ever be sent a message on `subject`?
    pub(super) fn is_of_no_interest(&self, subject: &[u8]) -> bool {
        self.config.retention == Retention::Interest
            && !self.consumers.values().any(|consumer| consumer.wants(subject))
    }

    /// The message gets a sequence and is not kept; its id still counts.
    pub(super) fn pass_over(&mut self, id: Option<&[u8]>, time: Nanos) -> Result<Seq, StoreError> {
        let segment = self.store.active_segment();
        let seq = self.store.skip_message()?;
        if let Some(id) = id {
            self.store
                .append(&Record::MessageIds(vec![MessageId { seq, time, id }]))?;
            self.dedupe.insert(id, seq, time, segment);
        }
        self.dedupe.set_last_id(id);
        Ok(seq)
    }

    /// Each message of a work queue is for one consumer.
    pub(super) fn check_queue(&self, config: &ConsumerConfig) -> Result<(), ApiError> {
        if self.config.retention != Retention::WorkQueue {
            return Ok(());
        }
        if !matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::FlowControl) {
            return Err(api_error::QUEUE_NEEDS_EXPLICIT_ACKS);
        }
        if config.deliver_policy != DeliverPolicy::All {
            return Err(api_error::QUEUE_NEEDS_DELIVER_ALL);
        }
        let others = || self.consumers.values().filter(|other| other.name != config.name);
        let filters = config.filters();
        if filters.is_empty() && others().next().is_some() {
            return Err(api_error::QUEUE_WITH_SECOND_UNFILTERED);
        }
        let overlaps = |other: &Consumer| {
            let theirs = other.config.filters();
            theirs.is_empty() || theirs.iter().any(|theirs| overlap_any(theirs, &filters))
        };
        if others().any(overlaps) {
            return Err(api_error::QUEUE_FILTER_NOT_UNIQUE);
        }
        Ok(())
    }
}

fn overlap_any(filter: &Filter, others: &[Filter]) -> bool {
    others.iter().any(|other| other.overlaps(filter))
}
