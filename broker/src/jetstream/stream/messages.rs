//! Messages go away: limits, purges, roll-ups, single deletions. Consumers are told.

use super::Stream;
use crate::jetstream::config::Discard;
use crate::jetstream::consumer::Consumer;
use crate::store::record::ConsumerId;
use crate::store::{Seq, StoreError};
use crate::subject::Filter;
use std::collections::BTreeMap;

impl Stream {
    /// Brings the stream back within its limits, once per turn.
    ///
    /// After the commit: a message that makes others go must be durable first. Of an unsynced write a power loss may
    /// leave the end without the beginning, and so the removal without its cause.
    pub(super) fn enforce_limits(&mut self) {
        if self.store.poison().is_some() {
            return;
        }
        let unwanted = std::mem::take(&mut self.unwanted);
        let outcome = self
            .remove(&unwanted)
            .and_then(|_| self.roll_up())
            .and_then(|()| self.enforce_per_subject())
            .and_then(|()| self.enforce_totals());
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

    fn enforce_totals(&mut self) -> Result<(), StoreError> {
        if self.config.discard == Discard::Old {
            self.trim(self.first_within_totals())?;
        }
        Ok(())
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

    /// A roll-up message replaces what came before it, on its subject or at all.
    fn roll_up(&mut self) -> Result<(), StoreError> {
        for (by, subject) in std::mem::take(&mut self.roll_ups) {
            // Gone already, or never stored after all.
            if self.store.index().get(by).is_none() {
                continue;
            }
            let Some(subject) = subject else {
                self.trim(by)?;
                continue;
            };
            let seqs = self.store.index().seqs_of(&subject);
            let before = seqs.into_iter().flatten().copied().take_while(|&seq| seq < by);
            let before: Vec<Seq> = before.collect();
            self.remove(&before)?;
        }
        Ok(())
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
        let (consumers, expiry) = (&mut self.consumers, &mut self.expiry);
        self.store.remove(seqs, |seq, subject| {
            expiry.forget(seq);
            tell(consumers, seq, subject);
        })
    }

    pub(super) fn trim(&mut self, first_seq: Seq) -> Result<u64, StoreError> {
        let (consumers, expiry) = (&mut self.consumers, &mut self.expiry);
        self.store.trim(first_seq, |seq, subject| {
            expiry.forget(seq);
            tell(consumers, seq, subject);
        })
    }
}

pub(super) fn tell(consumers: &mut BTreeMap<ConsumerId, Consumer>, seq: Seq, subject: &[u8]) {
    for consumer in consumers.values_mut() {
        consumer.on_removed(seq, subject);
    }
}
