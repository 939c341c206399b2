//! Messages go away: limits, purges, roll-ups, single deletions. Consumers are told.

use bytes::Bytes;

use super::Stream;
use crate::jetstream::clock::Now;
use crate::jetstream::config::Discard;
use crate::jetstream::consumer::Consumer;
use crate::store::record::ConsumerId;
use crate::store::{Seq, StoreError};
use crate::subject::Filter;
use std::collections::BTreeMap;

impl Stream {
    /// Brings the stream back within its limits, once per turn.
    pub(super) fn enforce_limits(&mut self, now: Now) {
        let outcome = self.enforce_per_subject().and_then(|()| self.enforce_totals(now));
        if let Err(error) = outcome {
            tracing::debug!(stream = self.config.name, %error, "limits not enforced");
        }
    }

    fn enforce_per_subject(&mut self) -> Result<(), StoreError> {
        let Ok(max) = usize::try_from(self.config.max_msgs_per_subject) else {
            return Ok(());
        };
        let mut surplus = Vec::new();
        for subject in self.touched.drain() {
            if let Some(seqs) = self.store.index().seqs_of(&subject) {
                surplus.extend(seqs.iter().copied().take(seqs.len().saturating_sub(max)));
            }
        }
        self.remove(&surplus).map(|_| ())
    }

    fn enforce_totals(&mut self, now: Now) -> Result<(), StoreError> {
        let mut first_seq = self.store.index().first_seq();
        if self.config.max_age > 0 {
            let horizon = now.wall.saturating_sub(self.config.max_age);
            let index = self.store.index();
            first_seq = index
                .first_since(horizon + 1)
                .map_or(index.last_seq() + 1, |entry| entry.seq);
        }
        if self.config.discard == Discard::Old {
            first_seq = first_seq.max(self.first_within_totals());
        }
        self.trim(first_seq).map(|_| ())
    }

    /// The oldest message that may stay under `max_msgs` and `max_bytes`.
    fn first_within_totals(&self) -> Seq {
        let index = self.store.index();
        let max_messages = u64::try_from(self.config.max_msgs).unwrap_or(u64::MAX);
        let max_bytes = u64::try_from(self.config.max_bytes).unwrap_or(u64::MAX);
        let (mut messages, mut bytes) = (index.messages(), index.bytes());
        let mut first = index.first_seq();
        while messages > max_messages || bytes > max_bytes {
            let Some(entry) = index.next(first) else {
                break;
            };
            messages -= 1;
            bytes -= entry.accounted();
            first = entry.seq + 1;
        }
        first
    }

    /// When the oldest message reaches `max_age`, on the steady clock.
    pub(super) fn oldest_expires_at(&self) -> Option<u64> {
        let age = u64::try_from(self.config.max_age).ok().filter(|&age| age > 0)?;
        if self.store.poison().is_some() {
            return None;
        }
        let oldest = self.store.index().first()?.time;
        let now = self.around.clock.now();
        let left = oldest.saturating_add_unsigned(age).saturating_sub(now.wall);
        // A millisecond late rather than a turn per nanosecond.
        Some(
            now.steady
                .saturating_add(u64::try_from(left).unwrap_or(0) + 1_000_000),
        )
    }

    /// A roll-up message replaces what came before it, on its subject or at all.
    pub(super) fn roll_up(&mut self, subject: Option<&Bytes>, by: Seq) -> Result<(), StoreError> {
        match subject {
            None => self.trim(by).map(|_| ()),
            Some(subject) => {
                let seqs = self.store.index().seqs_of(subject);
                let before: Vec<Seq> = seqs
                    .into_iter()
                    .flatten()
                    .copied()
                    .filter(|&seq| seq < by)
                    .collect();
                self.remove(&before).map(|_| ())
            }
        }
    }

    /// Takes out what matches below `below`, keeping the `keep` newest of it. The count.
    pub(super) fn purge(
        &mut self,
        filter: Option<&Filter>,
        below: Seq,
        keep: u64,
    ) -> Result<u64, StoreError> {
        let index = self.store.index();
        if filter.is_none() && keep == 0 {
            return self.trim(below);
        }
        let mut found = index.matching_below(below, filter.map_or(&[], std::slice::from_ref));
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        found.truncate(found.len().saturating_sub(keep));
        self.remove(&found)
    }

    pub(super) fn remove(&mut self, seqs: &[Seq]) -> Result<u64, StoreError> {
        let consumers = &mut self.consumers;
        self.store
            .remove(seqs, |seq, subject| tell(consumers, seq, subject))
    }

    pub(super) fn trim(&mut self, first_seq: Seq) -> Result<u64, StoreError> {
        let consumers = &mut self.consumers;
        self.store
            .trim(first_seq, |seq, subject| tell(consumers, seq, subject))
    }
}

fn tell(consumers: &mut BTreeMap<ConsumerId, Consumer>, seq: Seq, subject: &[u8]) {
    for consumer in consumers.values_mut() {
        consumer.on_removed(seq, subject);
    }
}
