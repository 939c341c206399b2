//! What must hold for a message to be stored: what its headers demand, and what the stream's limits do.

use super::Stream;
use super::expiry::{TTL, Ttl};
use super::origins::SOURCE;
use super::publish::Ahead;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::protocol::headers;
use crate::store::{Seq, frame, record};

/// Ids are stored with a two-byte length, and nobody needs longer ones.
const MESSAGE_ID_MAX: usize = 4096;
/// Subjects are stored with a two-byte length; a control line is far shorter by default.
const SUBJECT_MAX: usize = u16::MAX as usize;
/// What one record of the log can hold besides the subject.
const BODY_MAX: usize = frame::BODY_MAX - record::MESSAGE_OVERHEAD - record::PART_LEN - SUBJECT_MAX;

/// A header's value, if it is a number.
pub(super) fn number(block: &[u8], name: &[u8]) -> Option<u64> {
    std::str::from_utf8(headers::value(block, name)?)
        .ok()?
        .parse()
        .ok()
}

/// A sequence that a message expects. What is no number is nowhere.
pub(super) fn expected(block: &[u8], name: &[u8]) -> Option<Option<u64>> {
    let is_said = headers::value(block, name).is_some_and(|text| !text.is_empty());
    is_said.then(|| number(block, name))
}

impl Stream {
    pub(super) fn check_size(&self, subject: &[u8], size: usize) -> Result<(), ApiError> {
        if self.config.sealed {
            return Err(api_error::SEALED);
        }
        let is_too_large = usize::try_from(self.config.max_msg_size).is_ok_and(|max| size > max);
        if is_too_large || subject.len() > SUBJECT_MAX || size > BODY_MAX {
            return Err(api_error::MESSAGE_TOO_LARGE);
        }
        Ok(())
    }

    /// The first message with the same id, if this is a duplicate.
    pub(super) fn check_headers(
        &mut self,
        subject: &[u8],
        block: &[u8],
        now: Now,
    ) -> Result<Option<Seq>, ApiError> {
        self.check_schedule(subject, block)?;
        self.check_stream(block)?;
        if let Some(id) = headers::value(block, b"Nats-Msg-Id").filter(|id| !id.is_empty())
            && let Some(seq) = self.seen(id, now)?
        {
            return Ok(Some(seq));
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
        self.check_roll_up(block)?;
        Ok(None)
    }

    pub(super) fn check_stream(&self, block: &[u8]) -> Result<(), ApiError> {
        match headers::value(block, b"Nats-Expected-Stream") {
            Some(name) if name != self.config.name.as_bytes() => Err(api_error::EXPECTED_STREAM),
            _ => Ok(()),
        }
    }

    /// The message that came with this id within the duplicate window.
    pub(super) fn seen(&mut self, id: &[u8], now: Now) -> Result<Option<Seq>, ApiError> {
        if id.len() > MESSAGE_ID_MAX {
            return Err(api_error::store_failed(
                "message id is too long, maximum allowed is 4096",
            ));
        }
        self.dedupe
            .expire(now.wall.saturating_sub(self.config.duplicate_window));
        Ok(self.dedupe.find(id).filter(|_| self.config.duplicate_window > 0))
    }

    pub(super) fn check_roll_up(&self, block: &[u8]) -> Result<(), ApiError> {
        let Some(scope) = headers::value(block, b"Nats-Rollup") else {
            return Ok(());
        };
        if !self.config.allow_rollup_hdrs || self.config.deny_purge {
            return Err(api_error::roll_up("rollup not permitted"));
        }
        match scope {
            b"sub" | b"all" => Ok(()),
            other => {
                let other = String::from_utf8_lossy(other);
                Err(api_error::roll_up(format!("rollup value invalid: {other:?}")))
            }
        }
    }

    fn check_expectations(&self, subject: &[u8], block: &[u8]) -> Result<(), ApiError> {
        let index = self.store.index();
        let other = headers::value(block, b"Nats-Expected-Last-Subject-Sequence-Subject");
        if let Some(expected) = expected(block, b"Nats-Expected-Last-Subject-Sequence") {
            let last = index.last_of_subject(other.unwrap_or(subject)).unwrap_or(0);
            if expected != Some(last) {
                return Err(api_error::wrong_last_sequence(last));
            }
        } else if other.is_some() {
            return Err(api_error::EXPECTED_SEQUENCE_MISSING);
        }
        if let Some(expected) = expected(block, b"Nats-Expected-Last-Sequence")
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

    /// With "discard new" a full stream refuses; `ahead` is what will be in it before this.
    pub(super) fn check_room(
        &self,
        subject: &[u8],
        headers_len: usize,
        payload_len: usize,
        ahead: &Ahead,
    ) -> Result<(), ApiError> {
        let index = self.store.index();
        let over = |limit: i64, value: u64| u64::try_from(limit).is_ok_and(|limit| value > limit);
        if over(self.config.max_msgs, index.messages() + ahead.messages + 1) {
            return Err(api_error::store_failed("maximum messages exceeded"));
        }
        let bytes = index.accounting().bytes(subject.len(), headers_len, payload_len);
        if over(self.config.max_bytes, index.bytes() + ahead.bytes + bytes) {
            return Err(api_error::store_failed("maximum bytes exceeded"));
        }
        if self.config.discard_new_per_subject {
            let there = index.seqs_of(subject).map_or(0, std::collections::VecDeque::len) as u64;
            let of_subject = there + ahead.of_subject.get(subject).copied().unwrap_or(0);
            if over(self.config.max_msgs_per_subject, of_subject + 1) {
                return Err(api_error::store_failed("maximum messages per subject exceeded"));
            }
        }
        Ok(())
    }
}
