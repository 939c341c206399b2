//! What JetStream says of a message that it will not deliver any more, and the letter that becomes of it.

use serde::Deserialize;

use super::{ForeignError, tell};
use crate::bus::{Bus, Incoming, Stored};
use crate::headers::Headers;
use crate::key::Key;
use crate::store::Store;
use crate::store::dead_letters::{self, Letter, Reason};
use crate::streams::ADVISORIES;

/// The fields that both kinds have, and those of one.
#[derive(Debug, Deserialize)]
struct Advisory {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    stream: String,
    consumer: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: i64,
    /// Of a termination, what the one that terminated it has said.
    #[serde(default)]
    reason: String,
}

/// Writes the letter of the message that an advisory is about, unless that was terminated by postroom, whose letter is there.
pub(super) async fn bury(store: &Store, bus: &Bus, incoming: &Incoming) -> Result<(), ForeignError> {
    let Ok(advisory) = serde_json::from_slice::<Advisory>(&incoming.payload) else {
        tracing::warn!(
            stream_seq = incoming.stream_seq,
            "an advisory can't be read; it stays in the stream {ADVISORIES}"
        );
        return Ok(());
    };
    let Some(reason) = advisory.fate() else {
        return Ok(());
    };
    if let Some(letter) = dead_letters::letter_of_termination(&advisory.reason) {
        let mut look = store.read().await?;
        let ours = dead_letters::is_known(&mut look, letter).await?;
        look.rollback().await?;
        if ours {
            return Ok(());
        }
    }
    let found = bus.stored(&advisory.stream, advisory.stream_seq).await?;
    let origin = advisory.origin(found.as_ref());
    let letter = advisory.letter(reason, found);
    let mut tx = store.begin().await?;
    let written = dead_letters::insert_foreign(&mut tx, &letter, origin.as_str()).await?;
    if let Some(id) = &written {
        tx.push(&letter.as_outbox_row(id)).await?;
    }
    tx.commit().await?;
    if let Some(id) = written {
        tell(&letter, &id);
    }
    Ok(())
}

impl Advisory {
    fn fate(&self) -> Option<Reason> {
        match self.kind.as_str() {
            "io.nats.jetstream.advisory.v1.max_deliver" => Some(Reason::MaxDeliveries),
            "io.nats.jetstream.advisory.v1.terminated" => Some(Reason::Terminated),
            _ => None,
        }
    }

    /// One message that one consumer is done with. A stream that was made anew counts from 1 again; the time tells.
    fn origin(&self, found: Option<&Stored>) -> Key {
        let once = match found {
            Some(found) => found.stored_at.to_string(),
            None => self.id.clone(),
        };
        Key::of(&[
            &self.kind.as_str(),
            &self.stream.as_str(),
            &self.stream_seq,
            &self.consumer.as_str(),
            &once.as_str(),
        ])
    }

    fn letter(&self, reason: Reason, found: Option<Stored>) -> Letter {
        let Self {
            consumer,
            stream,
            deliveries,
            ..
        } = self;
        let mut error = match reason {
            Reason::Terminated => format!("consumer {consumer} has terminated it: {}", self.said()),
            _ => format!("consumer {consumer} has not acknowledged it in {deliveries} deliveries"),
        };
        if found.is_none() {
            error.push_str("; the message itself is not in the stream any more");
        }
        let (subject, headers, payload) = match found {
            Some(found) => (found.subject, found.headers, found.payload.to_vec()),
            None => (String::new(), Headers::default(), Vec::new()),
        };
        Letter {
            reason,
            handler: consumer.clone(),
            key: String::new(),
            subject,
            stream: stream.clone(),
            stream_seq: i64::try_from(self.stream_seq).unwrap_or(i64::MAX),
            message_id: dead_letters::message_id_in(&payload),
            payload,
            headers,
            error,
            error_class: reason.as_str().to_owned(),
            attempts: *deliveries,
            history: Vec::new(),
            replay_of: None,
        }
    }

    fn said(&self) -> &str {
        if self.reason.is_empty() {
            "no reason was given"
        } else {
            &self.reason
        }
    }
}
