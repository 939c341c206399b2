//! A message comes in: what its headers demand, whether there is room, and storing it.

use bytes::Bytes;

use super::Stream;
use super::commit::{Reply, Republished, Stored};
use super::expiry::{TTL, Ttl};
use super::origins::SOURCE;
use crate::jetstream::amount::Amount;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::config::Discard;
use crate::jetstream::json;
use crate::protocol::headers;
use crate::store::{Nanos, Seq, frame, record};

/// Ids are stored with a two-byte length, and nobody needs longer ones.
const MESSAGE_ID_MAX: usize = 4096;
/// Subjects are stored with a two-byte length; a control line is far shorter by default.
const SUBJECT_MAX: usize = u16::MAX as usize;
/// What one record of the log can hold besides the subject.
const BODY_MAX: usize = frame::BODY_MAX - record::MESSAGE_OVERHEAD - SUBJECT_MAX;

/// What a message is stored as; without a sequence it gets the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub time: Nanos,
    pub seq: Option<Seq>,
}

/// What becomes of a message that is not refused.
enum Verdict {
    /// With what it adds, on a stream that counts.
    Store(Option<Amount>),
    Duplicate(Seq),
}

impl Stream {
    pub(super) fn publish(
        &mut self,
        subject: &Bytes,
        reply: Bytes,
        header_len: usize,
        body: &Bytes,
        now: Now,
    ) {
        let (headers, payload) = body.split_at(header_len);
        let prolonged = self.prolonged(headers);
        let headers = prolonged.as_deref().unwrap_or(headers);
        let transformed = self.transforms.stored.as_ref().and_then(|to| to.apply(subject));
        let subject = &transformed.map_or_else(|| subject.clone(), Bytes::from);
        let outcome = self
            .check(subject, headers, payload, now)
            .and_then(|verdict| match verdict {
                Verdict::Store(None) => self.store(subject, headers, payload, now).map(Stored::new),
                Verdict::Store(Some(added)) => {
                    let (value, total) = self.counted(subject, &added)?;
                    let stored = self.store(subject, headers, &total, now).map(Stored::new)?;
                    Ok(Stored {
                        value: Some(value),
                        ..stored
                    })
                }
                Verdict::Duplicate(seq) => Ok(Stored {
                    is_duplicate: true,
                    ..Stored::new(seq)
                }),
            });
        if reply.is_empty() || self.config.no_ack {
            return;
        }
        self.reply(match outcome {
            Ok(stored) => Reply::Stored { to: reply, stored },
            Err(error) => Reply::Refused { to: reply, error },
        });
        // A duplicate may be of a message from this very turn.
        self.sync_owed = true;
    }

    fn check(
        &mut self,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
        now: Now,
    ) -> Result<Verdict, ApiError> {
        if self.config.sealed {
            return Err(api_error::SEALED);
        }
        let size = headers.len() + payload.len();
        let is_too_large = usize::try_from(self.config.max_msg_size).is_ok_and(|max| size > max);
        if is_too_large || subject.len() > SUBJECT_MAX || size > BODY_MAX {
            return Err(api_error::MESSAGE_TOO_LARGE);
        }
        let added = self.increment(headers, payload)?;
        if !headers.is_empty()
            && let Some(seq) = self.check_headers(subject, headers, now)?
        {
            return Ok(Verdict::Duplicate(seq));
        }
        if self.config.discard == Discard::New {
            self.check_room(subject, headers.len(), payload.len())?;
        }
        Ok(Verdict::Store(added))
    }

    /// A message from a source: what it demanded there was settled there.
    pub(super) fn store_copy(
        &mut self,
        subject: &Bytes,
        block: &[u8],
        payload: &[u8],
        now: Now,
    ) -> Result<(), ApiError> {
        let id = headers::value(block, b"Nats-Msg-Id").filter(|id| !id.is_empty());
        if self.config.duplicate_window > 0 && id.is_some_and(|id| self.dedupe.find(id).is_some()) {
            return Ok(());
        }
        if self.config.discard == Discard::New {
            self.check_room(subject, block.len(), payload.len())?;
        }
        self.store(subject, block, payload, now).map(|_| ())
    }

    /// The first message with the same id, if this is a duplicate.
    fn check_headers(&mut self, subject: &[u8], block: &[u8], now: Now) -> Result<Option<Seq>, ApiError> {
        refuse_unsupported(block)?;
        if headers::value(block, b"Nats-Expected-Stream")
            .is_some_and(|name| name != self.config.name.as_bytes())
        {
            return Err(api_error::EXPECTED_STREAM);
        }
        if let Some(id) = headers::value(block, b"Nats-Msg-Id").filter(|id| !id.is_empty()) {
            if id.len() > MESSAGE_ID_MAX {
                return Err(api_error::store_failed(
                    "message id is too long, maximum allowed is 4096",
                ));
            }
            self.dedupe
                .expire(now.wall.saturating_sub(self.config.duplicate_window));
            if self.config.duplicate_window > 0
                && let Some(seq) = self.dedupe.find(id)
            {
                return Ok(Some(seq));
            }
        }
        if !self.config.sources.is_empty() && headers::value(block, SOURCE).is_some() {
            return Err(api_error::SOURCE_HEADER);
        }
        self.check_expectations(subject, block)?;
        if let Some(text) = headers::value(block, TTL).filter(|text| !text.is_empty()) {
            Ttl::parse(text).ok_or(api_error::TTL_INVALID)?;
            if !self.config.allow_msg_ttl {
                return Err(api_error::TTL_DISABLED);
            }
        }
        let rollup = headers::value(block, b"Nats-Rollup");
        if rollup.is_some() && (!self.config.allow_rollup_hdrs || self.config.deny_purge) {
            return Err(api_error::ROLLUP_NOT_PERMITTED);
        }
        if rollup.is_some_and(|scope| scope != b"sub" && scope != b"all") {
            return Err(ApiError {
                description: format!(
                    "rollup value invalid: {:?}",
                    String::from_utf8_lossy(rollup.unwrap_or_default())
                )
                .into(),
                ..api_error::ROLLUP_NOT_PERMITTED
            });
        }
        Ok(None)
    }

    fn check_expectations(&self, subject: &[u8], block: &[u8]) -> Result<(), ApiError> {
        let index = self.store.index();
        // What is expected and is no number is nowhere.
        let number = |name: &[u8]| -> Option<Option<u64>> {
            let text = headers::value(block, name).filter(|text| !text.is_empty())?;
            Some(std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()))
        };
        let of_subject = headers::value(block, b"Nats-Expected-Last-Subject-Sequence-Subject");
        if let Some(expected) = number(b"Nats-Expected-Last-Subject-Sequence") {
            let last = index.last_of_subject(of_subject.unwrap_or(subject)).unwrap_or(0);
            if expected != Some(last) {
                return Err(api_error::wrong_last_sequence(last));
            }
        } else if of_subject.is_some() {
            return Err(api_error::EXPECTED_SEQUENCE_MISSING);
        }
        if let Some(expected) = number(b"Nats-Expected-Last-Sequence")
            && expected != Some(index.last_seq())
        {
            return Err(api_error::wrong_last_sequence(index.last_seq()));
        }
        if let Some(expected) = headers::value(block, b"Nats-Expected-Last-Msg-Id") {
            let last = self.dedupe.last_id().unwrap_or_default();
            if last != expected {
                return Err(api_error::wrong_last_id(last));
            }
        }
        Ok(())
    }

    /// With "discard new" a full stream refuses.
    fn check_room(&self, subject: &[u8], headers_len: usize, payload_len: usize) -> Result<(), ApiError> {
        let index = self.store.index();
        let over = |limit: i64, value: u64| u64::try_from(limit).is_ok_and(|limit| value > limit);
        if over(self.config.max_msgs, index.messages() + 1) {
            return Err(api_error::store_failed("maximum messages exceeded"));
        }
        let bytes = index.accounting().bytes(subject.len(), headers_len, payload_len);
        if over(self.config.max_bytes, index.bytes() + bytes) {
            return Err(api_error::store_failed("maximum bytes exceeded"));
        }
        let of_subject = index.seqs_of(subject).map_or(0, std::collections::VecDeque::len) as u64;
        if self.config.discard_new_per_subject && over(self.config.max_msgs_per_subject, of_subject + 1) {
            return Err(api_error::store_failed("maximum messages per subject exceeded"));
        }
        Ok(())
    }

    /// Stores the message, and does what its headers say about others.
    fn store(&mut self, subject: &Bytes, block: &[u8], payload: &[u8], now: Now) -> Result<Seq, ApiError> {
        let stamp = Stamp {
            time: now.wall,
            seq: None,
        };
        let seq = self.keep(subject, block, payload, stamp)?;
        match headers::value(block, b"Nats-Rollup") {
            Some(b"sub") => self.roll_ups.push((seq, Some(subject.clone()))),
            Some(b"all") => self.roll_ups.push((seq, None)),
            _ => {}
        }
        Ok(seq)
    }

    pub(super) fn keep(
        &mut self,
        subject: &Bytes,
        block: &[u8],
        payload: &[u8],
        stamp: Stamp,
    ) -> Result<Seq, ApiError> {
        let id = headers::value(block, b"Nats-Msg-Id").filter(|id| !id.is_empty());
        if self.is_of_no_interest(subject) {
            self.sync_owed = true;
            let passed = self.pass_over(id, stamp.time);
            return passed.map_err(|error| api_error::store_failed(error.to_string()));
        }
        let segment = self.store.active_segment();
        let before = self.store.index().last_of_subject(subject).unwrap_or(0);
        let stored = match stamp.seq {
            Some(seq) => self.store.append_copy(seq, stamp.time, subject, block, payload),
            None => self.store.append_message(stamp.time, subject, block, payload),
        };
        let seq = stored.map_err(|error| api_error::store_failed(error.to_string()))?;
        self.sync_owed = true;
        self.republish(subject, block, payload, seq, before);
        for consumer in self.consumers.values_mut() {
            consumer.on_stored(subject);
        }
        if let Some(id) = id.filter(|_| self.config.duplicate_window > 0) {
            self.dedupe.insert(id, seq, stamp.time, segment);
        }
        self.dedupe.set_last_id(id);
        if self.config.max_msgs_per_subject > 0 {
            self.touched.insert(subject.clone());
        }
        if self.config.allow_msg_ttl
            && let Some(ttl) = Ttl::of(block)
        {
            self.expiry.note(seq, self.store.index().last_time(), ttl);
        }
        Ok(seq)
    }
}

impl Stream {
    fn republish(&mut self, subject: &[u8], block: &[u8], payload: &[u8], seq: Seq, before: Seq) {
        let Some(to) = self
            .transforms
            .republished
            .as_ref()
            .and_then(|to| to.apply(subject))
        else {
            return;
        };
        let mut lines = format!(
            "Nats-Stream: {}\r\nNats-Subject: {}\r\nNats-Sequence: {seq}\r\nNats-Time-Stamp: {}\r\nNats-Last-Sequence: {before}\r\n",
            self.config.name,
            String::from_utf8_lossy(subject),
            json::time(self.store.index().last_time()),
        );
        let is_bare = self
            .config
            .republish
            .as_ref()
            .is_some_and(|republish| republish.headers_only);
        if is_bare {
            lines.push_str(&format!("Nats-Msg-Size: {}\r\n", payload.len()));
        }
        let mut body = headers::with_lines(block, &lines);
        let header_len = body.len();
        if !is_bare {
            body.extend_from_slice(payload);
        }
        self.republished.push(Republished {
            subject: to.into(),
            header_len,
            body: body.into(),
        });
    }
}

/// Features that would change what the message means are refused, not ignored.
fn refuse_unsupported(block: &[u8]) -> Result<(), ApiError> {
    let refusal = |err_code: u16, description: &'static str| ApiError {
        code: 400,
        err_code,
        description: description.into(),
    };
    let known: [(&[u8], ApiError); 2] = [
        (b"Nats-Batch-Id", refusal(10174, "atomic publish is disabled")),
        (b"Nats-Schedule", refusal(10188, "message schedules is disabled")),
    ];
    // One scan for the common prefix saves four on the many messages that only carry an id.
    let has = |name: &[u8]| headers::value(block, name).is_some();
    known
        .into_iter()
        .find(|(name, _)| has(name))
        .map_or(Ok(()), |(_, error)| Err(error))
}
