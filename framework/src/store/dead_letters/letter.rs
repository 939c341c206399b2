//! A message that is about to be dead: why, and what of it is kept.

use std::fmt;

use uuid::Uuid;

use super::rounds;
use super::trail::{self, Act};
use super::{now_text, unreadable_headers, without_nul};
use crate::execute;
use crate::fingerprint;
use crate::headers::{self, Headers};
use crate::store::deliveries::{FailedAttempt, write_history};
use crate::store::outbox::{MAX_PAYLOAD, OutboxRow};
use crate::store::{StoreError, Tx};
use crate::streams::DEAD_LETTER_SUBJECT;
use crate::trace::TraceContext;

/// Of a long error, so much goes into the letter's header; the table has all of it.
const MAX_ERROR_HEADER: usize = 1024;
/// More of the sender's own headers than this stay in the table: beside them, the letter might not fit into a message.
const MAX_SENDERS_HEADERS: usize = 32 * 1024;

/// Why a message is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Every attempt failed.
    Exhausted,
    /// The handler said that no further attempt can help.
    Permanent,
    /// The payload is not what its handler takes.
    Undecodable,
    /// It took the process down with it, again and again.
    Poison,
    /// Its idempotency key belongs to another payload.
    KeyReused,
    /// An effect outside SQL began, its outcome was lost, and the handler's policy is to hold it for a person.
    UnknownEffect,
    /// It came back when the ledger had forgotten it, so it may have been handled before.
    Forgotten,
    /// Another client put it on `emails.dlq`.
    Foreign,
    /// A consumer of the broker's has used up its deliveries.
    MaxDeliveries,
    /// Somebody else's consumer has terminated it.
    Terminated,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Exhausted,
        Self::Permanent,
        Self::Undecodable,
        Self::Poison,
        Self::KeyReused,
        Self::UnknownEffect,
        Self::Forgotten,
        Self::Foreign,
        Self::MaxDeliveries,
        Self::Terminated,
    ];

    /// Whether the message died where postroom had no part in it: no handler of postroom's waits for its replay.
    pub(super) fn is_elsewhere(word: &str) -> bool {
        [Self::Foreign, Self::MaxDeliveries, Self::Terminated]
            .iter()
            .any(|reason| reason.as_str() == word)
    }

    /// The word in the table and in the `Postroom-Reason` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Undecodable => "undecodable",
            Self::Poison => "poison",
            Self::KeyReused => "key_reused",
            Self::UnknownEffect => "unknown_effect",
            Self::Forgotten => "forgotten",
            Self::Foreign => "foreign",
            Self::MaxDeliveries => "max_deliveries",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message about to be recorded as dead.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Why.
    pub reason: Reason,
    /// The handler that a replay goes to.
    pub handler: String,
    /// The ledger key.
    pub key: String,
    /// The subject it came on, and that a replay is published on.
    pub subject: String,
    /// The stream it came from; empty for what never was in one.
    pub stream: String,
    /// Its sequence there.
    pub stream_seq: i64,
    /// The bytes as received.
    pub payload: Vec<u8>,
    /// The headers as received.
    pub headers: Headers,
    /// The last error, with its causes.
    pub error: String,
    /// Its class, such as the error enum's variant.
    pub error_class: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Each failed attempt.
    pub history: Vec<FailedAttempt>,
    /// The mail's Message-ID, where there is one.
    pub message_id: Option<String>,
    /// The letter that this was a replay of.
    pub replay_of: Option<String>,
}

impl Letter {
    /// The letter as a message on `emails.dlq`: the payload untouched, the story in the headers. A payload that doesn't
    /// fit beside them stays in the table alone, and the letter says so.
    pub(crate) fn as_outbox_row(&self, id: &str) -> OutboxRow {
        let mut headers = self.headers.for_resending();
        if headers.size() > MAX_SENDERS_HEADERS {
            headers = Headers::default();
        }
        if let Some(context) = TraceContext::current() {
            context.write(&mut headers);
        }
        headers.set(headers::DEAD_LETTER, id);
        headers.set(headers::REASON, self.reason.as_str());
        headers.set(
            headers::ERROR,
            &self.error[..self.error.floor_char_boundary(MAX_ERROR_HEADER)],
        );
        headers.set(headers::HANDLER, self.handler.as_str());
        headers.set(headers::ATTEMPTS, self.attempts.to_string());
        headers.set(headers::SUBJECT, self.subject.as_str());
        headers.set(headers::STREAM, self.stream.as_str());
        headers.set(headers::STREAM_SEQUENCE, self.stream_seq.to_string());
        let fits = self.payload.len() <= MAX_PAYLOAD;
        if !fits {
            headers.set(headers::PAYLOAD, "in the table");
        }
        OutboxRow::new(
            DEAD_LETTER_SUBJECT,
            headers,
            if fits { self.payload.clone() } else { Vec::new() },
        )
    }
}

/// The Message-ID in a payload that has one, as those of mails do.
pub(crate) fn message_id_in(payload: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Mail {
        message_id: Option<String>,
    }
    serde_json::from_slice::<Mail>(payload).ok()?.message_id
}

const INSERT: &str = "\
INSERT INTO dead_letters (id, state, reason, handler, key, subject, stream, stream_seq, payload, headers, error, error_class,
    error_fingerprint, attempts, history, message_id, trace_id, replays, died_at)
VALUES ($1, 'dead', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0, $17)
ON CONFLICT (id) DO UPDATE SET state = 'dead', reason = excluded.reason, error = excluded.error,
    error_class = excluded.error_class, error_fingerprint = excluded.error_fingerprint,
    attempts = excluded.attempts, history = excluded.history, died_at = excluded.died_at";

/// A letter with what is decided about it before it is written, in the task of its delivery.
#[derive(Debug)]
pub(crate) struct Burial {
    /// That of the row.
    pub(crate) id: String,
    pub(crate) letter: Letter,
    trace_id: Option<String>,
    /// The letter on `emails.dlq`.
    pub(crate) row: OutboxRow,
}

impl Burial {
    pub(crate) fn of(letter: Letter) -> Self {
        let id = letter
            .replay_of
            .clone()
            .unwrap_or_else(|| Uuid::now_v7().to_string());
        let context = TraceContext::current().or_else(|| TraceContext::from_headers(&letter.headers));
        Self {
            row: letter.as_outbox_row(&id),
            trace_id: context.map(|context| context.trace_id()),
            id,
            letter,
        }
    }
}

/// Writes the row, or, for a replay that failed, brings its letter back to `dead`.
pub(crate) async fn insert(tx: &mut Tx, burial: &Burial) -> Result<(), StoreError> {
    let Burial {
        id, letter, trace_id, ..
    } = burial;
    let headers = serde_json::to_string(&letter.headers).map_err(unreadable_headers)?;
    let history = write_history(&letter.history)?;
    if letter.replay_of.is_some() {
        rounds::keep(tx, id).await?;
    }
    execute!(
        tx,
        INSERT,
        id,
        letter.reason.as_str(),
        &letter.handler,
        &letter.key,
        &letter.subject,
        &letter.stream,
        letter.stream_seq,
        &letter.payload,
        &headers,
        without_nul(&letter.error),
        &letter.error_class,
        fingerprint::of_error(&letter.error_class, &letter.error),
        letter.attempts,
        &history,
        letter.message_id.as_deref().map(without_nul),
        trace_id.as_deref(),
        now_text()
    )?;
    if letter.replay_of.is_some() {
        let detail = format!("{}: {}", letter.reason, letter.error);
        trail::write(tx, id, Act::Failed, &letter.handler, &detail).await?;
    }
    Ok(())
}
