//! What clients were told, and what must therefore be true.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use crate::jetstream::stream::Stream;
use crate::store::Seq;

/// A promise that was broken, in words.
pub(super) type Violation = String;

#[derive(Debug)]
pub(super) struct Publish {
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
    pub(super) id: Option<String>,
}

/// What clients were told of is true for good.
#[derive(Debug, Clone, Default)]
pub(super) struct Promises {
    /// Acknowledged to a publisher or shown to a consumer.
    pub(super) stored: BTreeSet<Seq>,
    pub(super) removed: BTreeSet<Seq>,
    pub(super) confirmed: BTreeSet<Seq>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// At most one message per subject is kept.
    pub(super) keeps_last_only: bool,
    /// An acknowledged message stays.
    pub(super) keeps_settled: bool,
    pub(super) publishes: Vec<Publish>,
    /// Which of them were published as one.
    pub(super) batches: Vec<Range<usize>>,
    pub(super) promises: Promises,
    /// Which publish each sequence belongs to, however that was learnt.
    pub(super) seen: BTreeMap<Seq, usize>,
    pub(super) ids: BTreeMap<String, Seq>,
    pub(super) removing: BTreeSet<Seq>,
    pub(super) delivered: BTreeSet<Seq>,
    pub(super) acking: BTreeSet<Seq>,
    pub(super) refused: u64,
    /// A power loss took what it may.
    pub(super) has_forgiven: bool,
}

impl Model {
    /// A publisher was answered.
    pub(super) fn on_pub_ack(&mut self, n: usize, answer: &[u8]) -> Result<(), Violation> {
        let answer: Value = serde_json::from_slice(answer).map_err(|error| format!("answer: {error}"))?;
        if answer.get("error").is_some() {
            self.refused += 1;
            return Ok(());
        }
        let seq = answer["seq"].as_u64().ok_or("no sequence in the answer")?;
        let is_duplicate = answer["duplicate"].as_bool().unwrap_or(false);
        let id = self.publishes[n].id.clone();
        let known = id.as_ref().and_then(|id| self.ids.get(id).copied());
        match (is_duplicate, known) {
            (false, Some(known)) => return Err(format!("{id:?} was stored as {known} and again as {seq}")),
            (true, Some(known)) if known != seq => {
                return Err(format!(
                    "{id:?} was stored as {known} and is a duplicate of {seq}"
                ));
            }
            (false, None) => self.sight(seq, n)?,
            // Of a message that may have been lost together with the one that superseded it.
            (true, None) if self.has_forgiven => return Ok(()),
            (true, _) => {}
        }
        self.promises.stored.insert(seq);
        if let Some(id) = id {
            self.ids.insert(id, seq);
        }
        Ok(())
    }

    /// The publisher of a batch was answered.
    pub(super) fn on_batch_ack(&mut self, first: usize, answer: &[u8]) -> Result<(), Violation> {
        let answer: Value = serde_json::from_slice(answer).map_err(|error| format!("answer: {error}"))?;
        if answer.get("error").is_some() {
            self.refused += 1;
            return Ok(());
        }
        let (Some(last), Some(count)) = (answer["seq"].as_u64(), answer["count"].as_u64()) else {
            return Err(format!("the answer to a batch is {answer}"));
        };
        for (n, seq) in (first..).zip(last + 1 - count..=last) {
            self.sight(seq, n)?;
            self.promises.stored.insert(seq);
        }
        Ok(())
    }

    /// Of each batch all is there or nothing, but for what was removed since.
    fn check_batches(&mut self, present: &BTreeSet<Seq>) -> Result<(), Violation> {
        for batch in self.batches.clone() {
            let found = present.iter().find_map(|seq| {
                let n = *self.seen.get(seq)?;
                batch.contains(&n).then(|| seq + batch.start as u64 - n as u64)
            });
            let Some(first) = found else {
                continue;
            };
            let members = (first..).zip(batch.clone());
            members.clone().try_for_each(|(seq, n)| self.sight(seq, n))?;
            for (seq, n) in members {
                let is_excused = self.removing.contains(&seq) || self.is_superseded(seq);
                if !present.contains(&seq) && !is_excused {
                    return Err(format!("{n} at {seq} is missing of the batch {batch:?}"));
                }
            }
        }
        Ok(())
    }

    /// A sequence was seen with the content of publish `n`.
    pub(super) fn sight(&mut self, seq: Seq, n: usize) -> Result<(), Violation> {
        match self.seen.insert(seq, n) {
            Some(other) if other != n => Err(format!("sequence {seq} was given to {other} and to {n}")),
            _ => Ok(()),
        }
    }

    pub(super) fn on_delivery(&mut self, seq: Seq, subject: &[u8], payload: &[u8]) -> Result<(), Violation> {
        self.check_content(seq, subject, payload)?;
        if self.promises.confirmed.contains(&seq) {
            return Err(format!("{seq} came back after its ack was confirmed"));
        }
        if self.promises.removed.contains(&seq) {
            return Err(format!("{seq} was delivered after its removal was confirmed"));
        }
        self.promises.stored.insert(seq);
        self.delivered.insert(seq);
        Ok(())
    }

    pub(super) fn on_ack(&mut self, seq: Seq) {
        self.acking.insert(seq);
        if !self.keeps_settled {
            self.removing.insert(seq);
        }
    }

    pub(super) fn on_confirmed(&mut self, seq: Seq) {
        self.promises.confirmed.insert(seq);
        if !self.keeps_settled {
            self.promises.removed.insert(seq);
        }
    }

    /// The power failed under a policy that syncs later: of what was promised, `kept` must still be true, and of the
    /// rest what the stream still has. How many messages are gone.
    pub(super) fn forgive(&mut self, kept: Promises, stream: &mut Stream) -> Result<u64, Violation> {
        self.has_forgiven = true;
        let before = std::mem::replace(&mut self.promises, kept);
        // Before anything is forgotten, for sequences after the last may be given again.
        self.check(stream)?;
        let index = stream.store.index();
        let last = index.last_seq();
        let is_there = |seq: &Seq| index.get(*seq).is_some();
        let is_lost =
            |seq: &&Seq| !is_there(seq) && !self.removing.contains(seq) && !self.is_superseded(**seq);
        let lost = before.stored.iter().filter(is_lost).count() as u64;
        // A message that made another go may be lost while the other's removal is not: then both are.
        self.promises.stored = before.stored.into_iter().filter(is_there).collect();
        self.promises.confirmed.retain(|&seq| seq <= last);
        self.promises.removed.retain(|&seq| seq <= last);
        // What was superseded may be back, as after a purge.
        let superseded: Vec<Seq> = self
            .seen
            .keys()
            .copied()
            .filter(|&seq| self.is_superseded(seq))
            .collect();
        self.removing.extend(superseded);
        self.seen.retain(|seq, _| is_there(seq));
        self.ids.retain(|_, seq| is_there(seq));
        self.removing.retain(|&seq| seq <= last);
        self.acking.retain(|&seq| seq <= last);
        self.delivered.retain(|&seq| seq <= last);
        Ok(lost)
    }

    fn check_content(&mut self, seq: Seq, subject: &[u8], payload: &[u8]) -> Result<(), Violation> {
        let n = number_of(payload).ok_or_else(|| format!("{seq} holds what nobody published"))?;
        let publish = self
            .publishes
            .get(n)
            .ok_or_else(|| format!("{seq} holds {n}, never published"))?;
        if publish.subject.as_bytes() != subject || publish.payload != payload {
            return Err(format!("{seq} does not hold the bytes of {n}"));
        }
        self.sight(seq, n)
    }

    /// Reads all that the stream holds and compares.
    pub(super) fn check(&mut self, stream: &mut Stream) -> Result<(), Violation> {
        let mut present = BTreeSet::new();
        let mut next = 0;
        while let Some(seq) = stream.store.index().next(next).map(|entry| entry.seq) {
            let loaded = stream
                .store
                .load(seq)
                .map_err(|error| format!("{seq}: {error}"))?;
            let message = loaded.ok_or_else(|| format!("{seq} is in the index only"))?;
            self.check_content(seq, &message.subject, &message.body[message.header_len..])?;
            present.insert(seq);
            next = seq + 1;
        }
        if let Some(seq) = self.promises.removed.intersection(&present).next() {
            return Err(format!("{seq} is back after its removal was confirmed"));
        }
        for &seq in &self.promises.stored {
            let is_excused = self.removing.contains(&seq) || self.is_superseded(seq);
            if !present.contains(&seq) && !is_excused {
                return Err(format!("{seq} was acknowledged and is lost"));
            }
            let lost = stream.store.damage().iter().flat_map(|damage| &damage.lost);
            if !is_excused && lost.clone().any(|range| range.contains(&seq)) {
                return Err(format!("{seq} was acknowledged and is reported lost"));
            }
        }
        self.check_batches(&present)?;
        let last = self.seen.last_key_value().map_or(0, |(&seq, _)| seq);
        if self.promises.stored.contains(&last) && stream.store.index().last_seq() < last {
            return Err(format!("the last sequence went back from {last}"));
        }
        Ok(())
    }

    fn is_superseded(&self, seq: Seq) -> bool {
        let subject = |n: usize| &self.publishes[n].subject;
        self.keeps_last_only
            && self.seen.get(&seq).is_some_and(|&n| {
                let mut later = self.seen.range(seq + 1..);
                later.any(|(_, &other)| subject(other) == subject(n))
            })
    }

    /// After everything was delivered until it was acknowledged.
    pub(super) fn check_drained(&self, stream: &Stream) -> Result<(), Violation> {
        let mut next = 0;
        while let Some(seq) = stream.store.index().next(next).map(|entry| entry.seq) {
            next = seq + 1;
            // The power took its removal, and left it behind those who had gone on.
            if self.has_forgiven && self.removing.contains(&seq) {
                continue;
            }
            if !self.acking.contains(&seq) {
                return Err(format!(
                    "{seq} is stored, was not acknowledged, and is not delivered"
                ));
            }
            if !self.keeps_settled {
                return Err(format!("{seq} stays although all was acknowledged"));
            }
        }
        Ok(())
    }
}

/// Payloads begin with the number of their publish.
fn number_of(payload: &[u8]) -> Option<usize> {
    let end = payload.iter().position(|&byte| byte == b':')?;
    std::str::from_utf8(&payload[..end]).ok()?.parse().ok()
}
