//! Which message a consumer delivers next.

use std::collections::BTreeSet;

use super::{Consumer, Outlet};
use crate::store::index::Index;
use crate::store::{Loaded, Nanos, Seq, StoreError};
use crate::subject::Filter;

/// What there is to deliver.
pub enum Next {
    Message(Loaded),
    Nothing,
    /// There is something, but not now: the disk does not give it, or its time has not come.
    NotYet,
}

/// The deliver policy "last per subject": of what was there at the start, only the newest of each subject.
#[derive(Debug)]
pub struct LastPerSubject {
    /// The last message at the start; after it every message counts.
    pub until: Seq,
    left: BTreeSet<Seq>,
}

/// The replay policy "original" while there is a backlog.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replay {
    /// When the last message was stored, and when it was delivered.
    last: Option<(Nanos, u64)>,
    /// When the next one may go.
    pub until: Option<u64>,
}

impl LastPerSubject {
    /// What is left of it after everything up to `delivered` went out.
    pub fn new(until: Seq, delivered: Seq, filters: &[Filter], index: &Index) -> LastPerSubject {
        let left = index.last_per_subject(until, filters);
        LastPerSubject {
            until,
            left: left.into_iter().filter(|&seq| seq > delivered).collect(),
        }
    }

    pub fn len(&self) -> u64 {
        self.left.len() as u64
    }

    /// False if it was not among them.
    pub fn forget(&mut self, seq: Seq) -> bool {
        self.left.remove(&seq)
    }
}

impl Replay {
    fn is_due(&mut self, stored: Nanos, now: u64) -> bool {
        let Some((last_stored, last_delivered)) = self.last else {
            return true;
        };
        let pause = u64::try_from(stored.saturating_sub(last_stored)).unwrap_or(0);
        let at = last_delivered.saturating_add(pause);
        self.until = (at > now).then_some(at);
        at <= now
    }

    pub fn on_delivered(&mut self, stored: Nanos, now: u64) {
        *self = Replay {
            last: Some((stored, now)),
            until: None,
        };
    }
}

impl Consumer {
    /// Redeliveries go first; new messages only while fewer than `max_ack_pending` are out.
    pub(super) fn next_message(&mut self, out: &mut Outlet<'_>) -> Next {
        while let Some(seq) = self.redeliver.first() {
            if self.progress.pending.contains_key(&seq) {
                match load(seq, out) {
                    Next::Nothing => drop(self.settle(seq)),
                    found => return found,
                }
            }
            self.redeliver.remove(seq);
        }
        let room = usize::try_from(self.config.max_ack_pending)
            .ok()
            .filter(|&max| max > 0);
        if room.is_some_and(|max| self.progress.pending.len() >= max) {
            return Next::Nothing;
        }
        loop {
            let index = out.store.index();
            let next = self.candidate(index);
            let Some(seq) = next.filter(|&seq| seq <= out.visible) else {
                // Nothing up to the end concerns this consumer; it need not look there again.
                self.cursor = self.cursor.max(next.unwrap_or(index.last_seq() + 1));
                self.replay = None;
                return Next::Nothing;
            };
            self.cursor = seq;
            match load(seq, out) {
                Next::Nothing => {}
                Next::Message(message) if !self.is_due(&message, out.now.steady) => return Next::NotYet,
                found => return found,
            }
            self.pass(seq);
            self.num_pending = self.num_pending.saturating_sub(1);
        }
    }

    fn is_due(&mut self, message: &Loaded, now: u64) -> bool {
        self.replay
            .as_mut()
            .is_none_or(|replay| replay.is_due(message.time, now))
    }

    fn candidate(&mut self, index: &Index) -> Option<Seq> {
        if let Some(snapshot) = &self.last_per_subject {
            if let Some(&seq) = snapshot.left.first() {
                return Some(seq);
            }
            self.cursor = self.cursor.max(snapshot.until + 1);
            self.last_per_subject = None;
        }
        index
            .next_matching(self.cursor, &self.filters)
            .map(|entry| entry.seq)
    }

    /// Everything up to `seq` is behind this consumer.
    pub(super) fn pass(&mut self, seq: Seq) {
        self.cursor = seq + 1;
        if let Some(snapshot) = &mut self.last_per_subject {
            snapshot.forget(seq);
        }
    }

    /// Does a message that goes away take one off what is to be delivered?
    pub(super) fn awaits(&mut self, seq: Seq, subject: &[u8]) -> bool {
        if let Some(snapshot) = &mut self.last_per_subject
            && seq <= snapshot.until
        {
            return snapshot.forget(seq);
        }
        seq >= self.cursor && self.wants(subject)
    }

    /// Is the message still to be delivered, or out and not settled?
    pub fn needs(&self, seq: Seq, subject: &[u8]) -> bool {
        if self.progress.pending.contains_key(&seq) {
            return true;
        }
        match &self.last_per_subject {
            Some(snapshot) if seq <= snapshot.until => snapshot.left.contains(&seq),
            _ => seq >= self.cursor && self.wants(subject),
        }
    }

    pub fn wants(&self, subject: &[u8]) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(subject))
    }

    /// Counts anew what is to be delivered, after more changed than is worth following one by one.
    pub fn recount(&mut self, index: &Index) {
        self.num_pending = match &self.last_per_subject {
            Some(snapshot) => snapshot.len() + index.count_matching(snapshot.until + 1, &self.filters),
            None => index.count_matching(self.cursor, &self.filters),
        };
    }
}

/// A damaged message is reported where it lies and passed over; the ones after it are still served. One that can not
/// be read for now is waited for.
fn load(seq: Seq, out: &mut Outlet<'_>) -> Next {
    match out.store.load(seq) {
        Ok(Some(message)) => Next::Message(message),
        Ok(None) => Next::Nothing,
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(stream = out.stream, seq, %error, "message is lost to its consumers");
            Next::Nothing
        }
        Err(error) => {
            tracing::error!(stream = out.stream, seq, %error, "message can not be read now");
            Next::NotYet
        }
    }
}
