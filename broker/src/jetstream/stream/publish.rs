//! A message comes in: what its headers demand, whether there is room, and storing it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::Stream;
use super::commit::{Reply, Republished, Stored};
use super::expiry::Ttl;
use crate::jetstream::amount::Amount;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::config::Discard;
use crate::jetstream::json;
use crate::protocol::headers;
use crate::store::{Nanos, Part, Seq};

/// What a message is stored as; without a sequence it gets the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub time: Nanos,
    pub seq: Option<Seq>,
    pub part: Option<Part>,
}

/// A message that was published.
#[derive(Debug)]
pub(super) struct Incoming {
    pub subject: Bytes,
    pub headers: Bytes,
    pub payload: Bytes,
}

/// What comes before a message in its batch, and is not stored yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub messages: u64,
    pub bytes: u64,
    pub of_subject: HashMap<Bytes, u64>,
    pub ids: HashSet<Bytes>,
    pub totals: HashMap<Bytes, Amount>,
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
        if let Some(id) = headers::value(headers, b"Nats-Batch-Id").filter(|id| !id.is_empty()) {
            let message = Incoming {
                subject: subject.clone(),
                headers: body.slice(..header_len),
                payload: body.slice(header_len..),
            };
            return self.publish_part(id, &message, reply, now);
        }
        let prolonged = self.prolonged(headers);
        let headers = prolonged.as_deref().unwrap_or(headers);
        let scheduled = self.scheduled(headers);
        let headers = scheduled.as_deref().unwrap_or(headers);
        let transformed = self.transforms.stored.as_ref().and_then(|to| to.apply(subject));
        let subject = &transformed.map_or_else(|| subject.clone(), Bytes::from);
        let stamp = Stamp {
            time: now.wall,
            seq: None,
            part: None,
        };
        let outcome = self
            .check(subject, headers, payload, now)
            .and_then(|verdict| match verdict {
                Verdict::Store(None) => self.store(subject, headers, payload, stamp).map(Stored::new),
                Verdict::Store(Some(added)) => {
                    let (total, payload) = self.counted(subject, None, &added)?;
                    let stored = self.store(subject, headers, &payload, stamp).map(Stored::new)?;
                    Ok(Stored {
                        value: Some(total.to_string()),
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
        self.check_size(subject, headers.len() + payload.len())?;
        let added = self.increment(headers, payload)?;
        if !headers.is_empty()
            && let Some(seq) = self.check_headers(subject, headers, now)?
        {
            return Ok(Verdict::Duplicate(seq));
        }
        if self.config.discard == Discard::New {
            self.check_room(subject, headers.len(), payload.len(), &Ahead::default())?;
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
            self.check_room(subject, block.len(), payload.len(), &Ahead::default())?;
        }
        let stamp = Stamp {
            time: now.wall,
            seq: None,
            part: None,
        };
        self.store(subject, block, payload, stamp).map(|_| ())
    }

    /// Stores the message, and does what its headers say about others.
    pub(super) fn store(
        &mut self,
        subject: &Bytes,
        block: &[u8],
        payload: &[u8],
        stamp: Stamp,
    ) -> Result<Seq, ApiError> {
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
        let is_unwanted = self.is_of_no_interest(subject);
        if is_unwanted && stamp.part.is_none() {
            self.sync_owed = true;
            let passed = self.pass_over(id, stamp.time);
            return passed.map_err(|error| api_error::store_failed(error.to_string()));
        }
        let segment = self.store.active_segment();
        let before = self.store.index().last_of_subject(subject).unwrap_or(0);
        let stored = match stamp.seq {
            Some(seq) => self.store.append_copy(seq, stamp.time, subject, block, payload),
            None => self
                .store
                .append_part(stamp.part, stamp.time, subject, block, payload),
        };
        let seq = stored.map_err(|error| api_error::store_failed(error.to_string()))?;
        self.sync_owed = true;
        if is_unwanted {
            // A batch counts as a whole, so it is stored as a whole first.
            self.unwanted.push(seq);
        }
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
        self.note_schedule(subject, block, seq, stamp.time);
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
