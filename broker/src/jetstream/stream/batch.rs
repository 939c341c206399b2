//! Atomic batches, as of ADR-50: messages are staged until the one that commits them, and then all stored or none.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::Stream;
use super::commit::{Reply, Stored};
use super::demands::{expected, number};
use super::expiry::{TTL, Ttl};
use super::origins::SOURCE;
use super::publish::{Ahead, Incoming, Stamp};
use crate::jetstream::advisory::{self, Abandoned};
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::config::Discard;
use crate::protocol::headers;
use crate::protocol::info::API_LEVEL;
use crate::store::{Part, Seq};

const SEQUENCE: &[u8] = b"Nats-Batch-Sequence";
const COMMIT: &[u8] = b"Nats-Batch-Commit";

/// nats-server's bounds, and how long it waits for the next message of a batch.
const MESSAGES_MAX: u64 = 1000;
const OPEN_PER_STREAM_MAX: usize = 50;
const OPEN_MAX: usize = 1000;
const ID_MAX: usize = 64;
const IDLE_NANOS: u64 = 10_000_000_000;
/// What the batches of one stream may stage together: it is kept in memory, for nobody was promised anything yet.
const STAGED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The batches of a stream that are not committed yet.
#[derive(Debug)]
pub(super) struct Batches {
    open: HashMap<Bytes, Open>,
    bytes: usize,
    /// Those of all streams.
    open_in_all: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Open {
    staged: Vec<Incoming>,
    bytes: usize,
    give_up_at: u64,
}

/// What a message says of its batch.
struct Place {
    id: Bytes,
    commit: Commit,
}

#[derive(PartialEq, Eq)]
enum Commit {
    No,
    WithThis,
    /// This one is only the word for it, and not stored.
    WithoutThis,
}

impl Batches {
    pub(super) fn new(open_in_all: Arc<AtomicUsize>) -> Batches {
        Batches {
            open: HashMap::new(),
            bytes: 0,
            open_in_all,
        }
    }

    fn begin(&mut self, id: &Bytes) -> Result<(), ApiError> {
        let is_full = self.open.len() >= OPEN_PER_STREAM_MAX
            || self.open_in_all.load(Ordering::Relaxed) >= OPEN_MAX
            || self.bytes >= STAGED_BYTES_MAX;
        if is_full {
            return Err(api_error::BATCHES_TOO_MANY);
        }
        let batch = Open {
            staged: Vec::new(),
            bytes: 0,
            give_up_at: 0,
        };
        self.open.insert(id.clone(), batch);
        self.open_in_all.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn take(&mut self, id: &Bytes) -> Option<Open> {
        let batch = self.open.remove(id)?;
        self.bytes -= batch.bytes;
        self.open_in_all.fetch_sub(1, Ordering::Relaxed);
        Some(batch)
    }

    pub(super) fn clear(&mut self) {
        let ids: Vec<Bytes> = self.open.keys().cloned().collect();
        ids.iter().for_each(|id| drop(self.take(id)));
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        self.open.values().map(|batch| batch.give_up_at).min()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Stream {
    pub(super) fn publish_part(&mut self, id: &[u8], message: &Incoming, reply: Bytes, now: Now) {
        let outcome = self.take_part(id, message, now);
        if reply.is_empty() || self.config.no_ack {
            return;
        }
        let answer = match outcome {
            // Nothing is promised before the commit.
            Ok(None) => Reply::Confirmed { to: reply },
            Ok(Some(stored)) => Reply::Stored { to: reply, stored },
            Err(error) => Reply::Refused { to: reply, error },
        };
        self.reply(answer);
    }

    /// What is stored, if this message commits its batch.
    fn take_part(&mut self, id: &[u8], message: &Incoming, now: Now) -> Result<Option<Stored>, ApiError> {
        self.check_size(&message.subject, message.headers.len() + message.payload.len())?;
        if !self.config.allow_atomic {
            return Err(api_error::BATCHES_DISABLED);
        }
        if let Some(reason) = self.store.poison() {
            return Err(api_error::store_failed(reason));
        }
        let place = self.place(id, message, now)?;
        if place.commit != Commit::WithoutThis {
            self.stage(&place.id, message, now)?;
        }
        if place.commit == Commit::No {
            return Ok(None);
        }
        let mut staged = self
            .batches
            .take(&place.id)
            .map(|batch| batch.staged)
            .unwrap_or_default();
        if place.commit == Commit::WithoutThis
            && let Some(last) = staged.last_mut()
        {
            last.headers = headers::with_lines(&last.headers, "Nats-Batch-Commit: 1\r\n").into();
        }
        let count = staged.len();
        let seq = self.store_batch(staged, now)?;
        let batch = Some((String::from_utf8_lossy(id).into_owned(), count));
        Ok(Some(Stored {
            batch,
            ..Stored::new(seq)
        }))
    }

    /// Opens the batch if this is its first message; gives it up if this is not the next one.
    fn place(&mut self, id: &[u8], message: &Incoming, now: Now) -> Result<Place, ApiError> {
        if id.len() > ID_MAX {
            return Err(api_error::BATCH_ID_INVALID);
        }
        let id = Bytes::copy_from_slice(id);
        let seq = number(&message.headers, SEQUENCE).ok_or(api_error::BATCH_SEQUENCE_MISSING)?;
        let known = self.batches.open.get(&id).map(|batch| batch.staged.len() as u64);
        match known {
            None if seq == 1 => self.batches.begin(&id)?,
            None if seq > MESSAGES_MAX => return Err(api_error::batch_too_large(MESSAGES_MAX)),
            None => return Err(api_error::BATCH_INCOMPLETE),
            Some(_) => {}
        }
        if seq != known.unwrap_or(0) + 1 {
            self.abandon(&id, Some(Abandoned::Incomplete), now);
            return Err(api_error::BATCH_INCOMPLETE);
        }
        if seq > MESSAGES_MAX {
            self.abandon(&id, Some(Abandoned::Large), now);
            return Err(api_error::batch_too_large(MESSAGES_MAX));
        }
        let level = number(&message.headers, b"Nats-Required-Api-Level");
        if level.is_some_and(|level| level > u64::from(API_LEVEL)) {
            self.abandon(&id, Some(Abandoned::Unsupported), now);
            return Err(api_error::API_LEVEL_REQUIRED);
        }
        let commit = match headers::value(&message.headers, COMMIT) {
            None => Commit::No,
            Some(b"1") => Commit::WithThis,
            Some(b"eob") if seq > 1 => Commit::WithoutThis,
            Some(b"eob") => {
                self.abandon(&id, Some(Abandoned::Incomplete), now);
                return Err(api_error::BATCH_INCOMPLETE);
            }
            Some(_) => {
                self.abandon(&id, None, now);
                return Err(api_error::BATCH_COMMIT_INVALID);
            }
        };
        Ok(Place { id, commit })
    }

    fn stage(&mut self, id: &Bytes, message: &Incoming, now: Now) -> Result<(), ApiError> {
        let size = message.subject.len() + message.headers.len() + message.payload.len();
        if self.batches.bytes + size > STAGED_BYTES_MAX {
            self.abandon(id, Some(Abandoned::Large), now);
            return Err(api_error::BATCHES_TOO_MANY);
        }
        if let Some(batch) = self.batches.open.get_mut(id) {
            // Copies, for what was read from the connection holds far more than this.
            batch.staged.push(Incoming {
                subject: Bytes::copy_from_slice(&message.subject),
                headers: Bytes::copy_from_slice(&message.headers),
                payload: Bytes::copy_from_slice(&message.payload),
            });
            batch.bytes += size;
            batch.give_up_at = now.steady.saturating_add(IDLE_NANOS);
            self.batches.bytes += size;
        }
        Ok(())
    }

    /// Forgets the batch; tells about it where nats-server does.
    fn abandon(&mut self, id: &Bytes, reason: Option<Abandoned>, now: Now) {
        if self.batches.take(id).is_some()
            && let Some(reason) = reason
        {
            let id = String::from_utf8_lossy(id);
            self.tell(advisory::on_abandoned(&self.config.name, &id, reason, now.wall));
        }
    }

    pub(super) fn give_up_batches(&mut self, now: Now) {
        let is_idle = |batch: &Open| batch.give_up_at <= now.steady;
        let open = self.batches.open.iter();
        let idle: Vec<Bytes> = open
            .filter(|(_, batch)| is_idle(batch))
            .map(|(id, _)| id.clone())
            .collect();
        for id in idle {
            self.abandon(&id, Some(Abandoned::TimedOut), now);
        }
    }

    /// Checks all before anything is stored. The last one's sequence.
    fn store_batch(&mut self, mut staged: Vec<Incoming>, now: Now) -> Result<Seq, ApiError> {
        let mut ahead = Ahead::default();
        for message in &mut staged {
            if let Some(subject) = self
                .transforms
                .stored
                .as_ref()
                .and_then(|to| to.apply(&message.subject))
            {
                message.subject = subject.into();
            }
            if let Some(scheduled) = self.scheduled(&message.headers) {
                message.headers = scheduled.into();
            }
            if let Some(prolonged) = self.prolonged(&message.headers) {
                message.headers = prolonged.into();
            }
            self.check_part(message, &mut ahead, now)?;
        }
        let of = u16::try_from(staged.len()).map_err(|_| api_error::batch_too_large(MESSAGES_MAX))?;
        let mut last = 0;
        for (at, message) in (0..of).zip(&staged) {
            let stamp = Stamp {
                time: now.wall,
                seq: None,
                part: (of > 1 && !self.forgets_batches()).then_some(Part { at, of }),
            };
            last = self.store(&message.subject, &message.headers, &message.payload, stamp)?;
        }
        Ok(last)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only the torture harness makes this mistake")]
    fn forgets_batches(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn forgets_batches(&self) -> bool {
        self.parts_count_alone
    }

    /// Is it right after what the batch has before it? On a stream that counts its payload becomes the new total.
    fn check_part(&mut self, message: &mut Incoming, ahead: &mut Ahead, now: Now) -> Result<(), ApiError> {
        let Incoming {
            subject,
            headers,
            payload,
        } = &*message;
        if headers::value(headers, b"Nats-Expected-Last-Msg-Id").is_some() {
            return Err(api_error::batch_header_unsupported("Nats-Expected-Last-Msg-Id"));
        }
        if headers::value(headers, SOURCE).is_some() {
            return Err(api_error::SOURCE_HEADER);
        }
        self.check_stream(headers)?;
        self.check_schedule(subject, headers)?;
        let added = self.increment(headers, payload)?;
        let id = headers::value(headers, b"Nats-Msg-Id").filter(|id| !id.is_empty());
        if let Some(id) = id.filter(|_| self.config.duplicate_window > 0)
            && (self.seen(id, now)?.is_some() || !ahead.ids.insert(Bytes::copy_from_slice(id)))
        {
            return Err(api_error::BATCH_WITH_DUPLICATE);
        }
        if let Some(text) = headers::value(headers, TTL).filter(|text| !text.is_empty()) {
            if !self.config.allow_msg_ttl {
                return Err(api_error::TTL_DISABLED);
            }
            Ttl::parse(text).ok_or(api_error::TTL_INVALID)?;
        }
        self.check_order(subject, headers, ahead)?;
        self.check_roll_up(headers)?;
        match headers::value(headers, b"Nats-Rollup") {
            Some(b"all") if ahead.messages > 0 => return Err(api_error::roll_up("batch rollup all invalid")),
            Some(b"sub") if ahead.of_subject.contains_key(subject) => {
                return Err(api_error::roll_up("batch rollup sub invalid"));
            }
            _ => {}
        }
        let total = match added {
            Some(added) => {
                let before = ahead.totals.get(subject).cloned();
                Some(self.counted(subject, before, &added)?)
            }
            None => None,
        };
        let payload_len = total.as_ref().map_or(payload.len(), |(_, payload)| payload.len());
        if self.config.discard == Discard::New {
            self.check_room(subject, headers.len(), payload_len, ahead)?;
        }
        let bytes = self
            .store
            .index()
            .accounting()
            .bytes(subject.len(), headers.len(), payload_len);
        ahead.messages += 1;
        ahead.bytes += bytes;
        *ahead.of_subject.entry(subject.clone()).or_default() += 1;
        if let Some((total, payload)) = total {
            ahead.totals.insert(message.subject.clone(), total);
            message.payload = payload.into();
        }
        Ok(())
    }

    /// What a message of a batch expects must hold before the batch, and none before it may have changed it.
    fn check_order(&self, subject: &Bytes, block: &[u8], ahead: &Ahead) -> Result<(), ApiError> {
        let index = self.store.index();
        if let Some(expected) = expected(block, b"Nats-Expected-Last-Sequence") {
            let last = index.last_seq() + ahead.messages;
            if expected != Some(last) {
                return Err(api_error::wrong_last_sequence(last));
            }
            if ahead.messages > 0 {
                return Err(api_error::WRONG_LAST_SEQUENCE);
            }
        }
        let other = headers::value(block, b"Nats-Expected-Last-Subject-Sequence-Subject");
        let Some(expected) = expected(block, b"Nats-Expected-Last-Subject-Sequence") else {
            return other.map_or(Ok(()), |_| Err(api_error::EXPECTED_SEQUENCE_MISSING));
        };
        let subject = other.unwrap_or(subject);
        if ahead.of_subject.contains_key(subject) {
            return Err(api_error::WRONG_LAST_SEQUENCE);
        }
        let last = index.last_of_subject(subject).unwrap_or(0);
        if expected != Some(last) {
            return Err(api_error::wrong_last_sequence(last));
        }
        Ok(())
    }
}
