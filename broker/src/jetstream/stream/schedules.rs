//! Messages that wait for their time, as of ADR-51. A schedule is the last message of its subject, and nothing but that: it
//! ends when another message takes its place, and it is found again in the log after a restart.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::Stream;
use super::expiry::Ttl;
use super::publish::Stamp;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::schedule::{self, NEXT, PURGE, SCHEDULE, SCHEDULER, Schedule};
use crate::protocol::headers;
use crate::store::{Loaded, Nanos, Seq, StoredMessage, StreamStore};

/// When the schedules of a stream are due. Some may have ended meanwhile.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    /// Those that are due at the same time in the order in which they were stored.
    by_time: BTreeSet<(Nanos, Seq, Bytes)>,
    by_subject: HashMap<Bytes, (Seq, Nanos)>,
    /// What was due in this turn: due again if the turn can not be written.
    fired: Vec<Due>,
}

#[derive(Debug, Clone)]
struct Due {
    subject: Bytes,
    seq: Seq,
    at: Nanos,
}

/// What the log says about schedules.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// By subject, the last one.
    schedules: HashMap<Bytes, (Seq, Nanos)>,
    /// When each said that it would be due next.
    told: HashMap<Bytes, Nanos>,
}

impl Logged {
    pub(super) fn on_message(&mut self, message: &StoredMessage<'_>) {
        if headers::value(message.headers, SCHEDULE).is_some() {
            let subject = Bytes::copy_from_slice(message.subject);
            self.told.remove(&subject);
            self.schedules.insert(subject, (message.seq, message.time));
        } else if let Some(scheduler) = ended(message.headers) {
            // It may still be there: a crash can come between what it brought forth and its end.
            self.schedules.remove(&scheduler);
        } else if let Some(scheduler) = headers::value(message.headers, SCHEDULER)
            && let Some(next) = schedule::told(message.headers)
        {
            self.told.insert(Bytes::copy_from_slice(scheduler), next);
        }
    }

    /// Those that have not ended, with their times.
    pub(super) fn revive(self, store: &mut StreamStore, now: Now) -> Schedules {
        let mut schedules = Schedules::default();
        for (subject, (seq, stored)) in self.schedules {
            if store.index().last_of_subject(&subject) != Some(seq) {
                continue;
            }
            let Ok(Some(message)) = store.load(seq) else {
                tracing::error!(seq, "schedule can not be read and is not followed");
                continue;
            };
            let Ok(Some(schedule)) = Schedule::of(&message.body[..message.header_len]) else {
                continue;
            };
            // What was due meanwhile and repeats is not made up for.
            let told = self.told.get(&subject).copied().filter(|&next| next > now.wall);
            if let Some(at) = told.or_else(|| schedule.first(stored, now.wall)) {
                schedules.note(subject, seq, at);
            }
        }
        schedules
    }
}

impl Schedules {
    pub(super) fn note(&mut self, subject: Bytes, seq: Seq, at: Nanos) {
        if let Some((before, was_at)) = self.by_subject.insert(subject.clone(), (seq, at)) {
            self.by_time.remove(&(was_at, before, subject.clone()));
        }
        self.by_time.insert((at, seq, subject));
    }

    fn take_due(&mut self, now: Nanos) -> Vec<Due> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now)
            && let Some((at, seq, subject)) = self.by_time.pop_first()
        {
            self.by_subject.remove(&subject);
            due.push(Due { subject, seq, at });
        }
        due
    }

    fn next(&self) -> Option<Nanos> {
        self.by_time.first().map(|(at, ..)| *at)
    }

    /// What was due is written.
    pub(super) fn settle(&mut self) {
        self.fired.clear();
    }

    /// Nothing of this turn happened.
    pub(super) fn undo(&mut self) {
        for Due { subject, seq, at } in std::mem::take(&mut self.fired) {
            self.note(subject, seq, at);
        }
    }
}

impl Stream {
    pub(super) fn check_schedule(&self, subject: &[u8], block: &[u8]) -> Result<(), ApiError> {
        if !self.config.allow_msg_schedules {
            return headers::value(block, SCHEDULE).map_or(Ok(()), |_| Err(api_error::SCHEDULES_DISABLED));
        }
        let schedule = Schedule::of(block)?;
        match (headers::value(block, SCHEDULER), headers::value(block, NEXT)) {
            (None, None) => {}
            // A client may end a schedule as the server does.
            (Some(_), Some(PURGE)) if schedule.is_none() => {}
            _ => return Err(api_error::SCHEDULER_INVALID),
        }
        let Some(schedule) = schedule else {
            return Ok(());
        };
        if let Some(ttl) = &schedule.ttl {
            Ttl::parse(ttl).ok_or(api_error::SCHEDULE_TTL)?;
            if !self.config.allow_msg_ttl {
                return Err(api_error::TTL_DISABLED);
            }
        }
        let filters = self.config.filters();
        schedule.check_subjects(subject, |other| {
            filters.iter().any(|filter| filter.matches(other))
        })?;
        match headers::value(block, b"Nats-Rollup") {
            None | Some(b"sub") => Ok(()),
            Some(_) => Err(api_error::SCHEDULE_ROLL_UP),
        }
    }

    /// The headers to store: a schedule takes the place of what its subject had before.
    pub(super) fn scheduled(&self, block: &[u8]) -> Option<Vec<u8>> {
        let is_schedule = self.config.allow_msg_schedules
            && headers::value(block, SCHEDULE).is_some_and(|pattern| !pattern.is_empty())
            && headers::value(block, b"Nats-Rollup").is_none();
        is_schedule.then(|| headers::with_lines(block, "Nats-Rollup: sub\r\n"))
    }

    /// A message was stored: is it a schedule, or does it end one?
    pub(super) fn note_schedule(&mut self, subject: &Bytes, block: &[u8], seq: Seq, time: Nanos) {
        if !self.config.allow_msg_schedules || block.is_empty() {
            return;
        }
        if let Some(scheduler) = ended(block) {
            self.roll_ups.push((seq, Some(scheduler)));
        }
        if let Ok(Some(schedule)) = Schedule::of(block)
            && let Some(first) = schedule.first(time, time)
        {
            self.schedules.note(subject.clone(), seq, first);
        }
    }

    /// Publishes what is due.
    pub(super) fn fire_due(&mut self, now: Now) {
        if self.store.poison().is_some() || self.config.sealed {
            return;
        }
        for due in self.schedules.take_due(now.wall) {
            if self.store.index().last_of_subject(&due.subject) != Some(due.seq) {
                continue;
            }
            self.schedules.fired.push(due.clone());
            if let Err(error) = self.fire(&due, now) {
                let subject = String::from_utf8_lossy(&due.subject);
                tracing::error!(stream = self.config.name, %subject, error = %error.description, "schedule not followed");
            }
        }
    }

    fn fire(&mut self, due: &Due, now: Now) -> Result<(), ApiError> {
        let own = self.read(due.seq)?;
        let Some(schedule) = Schedule::of(&own.body[..own.header_len])? else {
            return Ok(());
        };
        let next = schedule.next(now.wall);
        let source = schedule.source.as_ref();
        let message = match source.and_then(|source| self.store.index().last_of_subject(source)) {
            Some(seq) => self.read(seq)?,
            None => own,
        };
        let (block, payload) = message.body.split_at(message.header_len);
        let block = schedule.produced(block, &due.subject, next);
        let stamp = Stamp {
            time: now.wall,
            seq: None,
            part: None,
        };
        let seq = self.store(&Bytes::from(schedule.target), &block, payload, stamp)?;
        match next {
            Some(next) => self.schedules.note(due.subject.clone(), due.seq, next),
            // Where nobody is interested in what it brought forth, that is not there to end it.
            None if self.store.index().get(seq).is_none() => self.unwanted.push(due.seq),
            None => {}
        }
        Ok(())
    }

    fn read(&mut self, seq: Seq) -> Result<Loaded, ApiError> {
        let loaded = self.store.load(seq);
        let loaded = loaded.map_err(|error| api_error::store_failed(error.to_string()))?;
        loaded.ok_or(api_error::NO_MESSAGE)
    }

    /// When the next schedule is due, on the steady clock.
    pub(super) fn next_fires_at(&self) -> Option<u64> {
        if self.store.poison().is_some() || self.config.sealed {
            return None;
        }
        self.schedules.next().map(|at| self.on_steady_clock(at))
    }
}

/// The subject of the schedule that ends with this message.
pub(super) fn ended(block: &[u8]) -> Option<Bytes> {
    let scheduler = headers::value(block, SCHEDULER)?;
    let is_last = headers::value(block, NEXT) == Some(PURGE);
    is_last.then(|| Bytes::copy_from_slice(scheduler))
}
