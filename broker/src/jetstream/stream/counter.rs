//! Counters: a message adds to what the last one of its subject says.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Stream;
use crate::jetstream::amount::Amount;
use crate::jetstream::api_error::{self, ApiError};
use crate::protocol::headers;

const INCREMENT: &[u8] = b"Nats-Incr";

/// The payload of a counter's message.
#[derive(Serialize, Deserialize)]
struct Total {
    val: String,
}

impl Stream {
    /// What a message adds; `None` on a stream that does not count.
    pub(super) fn increment(&self, block: &[u8], payload: &[u8]) -> Result<Option<Amount>, ApiError> {
        let given = headers::value(block, INCREMENT);
        if !self.config.allow_msg_counter {
            return given.map_or(Ok(None), |_| Err(api_error::COUNTER_DISABLED));
        }
        let text = given
            .filter(|text| !text.is_empty())
            .ok_or(api_error::COUNTER_INCREMENT_MISSING)?;
        if !payload.is_empty() {
            return Err(api_error::COUNTER_WITH_PAYLOAD);
        }
        // Neither goes together with a sum.
        let others: [&[u8]; 4] = [
            b"Nats-Rollup",
            b"Nats-Expected-Last-Sequence",
            b"Nats-Expected-Last-Subject-Sequence",
            b"Nats-Expected-Last-Msg-Id",
        ];
        if others.iter().any(|name| headers::value(block, name).is_some()) {
            return Err(api_error::COUNTER_INCREMENT_INVALID);
        }
        let amount = std::str::from_utf8(text).ok().and_then(Amount::parse);
        amount.map(Some).ok_or(api_error::COUNTER_INCREMENT_INVALID)
    }

    /// The subject's total with `added` to it, and the payload that says so. `before` is what is not stored yet.
    pub(super) fn counted(
        &mut self,
        subject: &Bytes,
        before: Option<Amount>,
        added: &Amount,
    ) -> Result<(Amount, Vec<u8>), ApiError> {
        let last = self
            .store
            .index()
            .last_of_subject(subject)
            .filter(|_| before.is_none());
        let before = match last.map(|seq| self.store.load(seq)) {
            None if before.is_some() => before.unwrap_or_default(),
            None => Amount::default(),
            Some(Ok(Some(message))) => {
                let total: Result<Total, _> = serde_json::from_slice(&message.body[message.header_len..]);
                let amount = total.ok().and_then(|total| Amount::parse(&total.val));
                amount.ok_or(api_error::COUNTER_BROKEN)?
            }
            // It can not be read: to go on from nothing would lose the count.
            Some(_) => return Err(api_error::COUNTER_BROKEN),
        };
        let total = before.plus(added);
        let payload = serde_json::to_vec(&Total {
            val: total.to_string(),
        })
        .unwrap_or_default();
        Ok((total, payload))
    }
}
