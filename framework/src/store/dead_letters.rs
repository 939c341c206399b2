//! Table `dead_letters`: every message that failed for good, kept as it was received until a person has dealt with it.
//!
//! `dead → replaying → replayed`, or back to `dead` when the replay fails too. Each death is on `emails.dlq` as well.

use std::fmt;
use std::time::SystemTime;

use sqlx::FromRow;
use uuid::Uuid;

use super::deliveries::{self, FailedAttempt, write_history};
use super::outbox::{MAX_PAYLOAD, OutboxRow};
use super::{Store, StoreError, Tx};
use crate::fingerprint;
use crate::headers::{self, Headers};
use crate::streams::DEAD_LETTER_SUBJECT;
use crate::{execute, on_tx};

/// Of a long error, so much goes into the letter's header; the table has all of it.
const MAX_ERROR_HEADER: usize = 1024;

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
}

impl Reason {
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

const INSERT: &str = "\
INSERT INTO dead_letters (id, state, reason, handler, key, subject, stream, stream_seq, payload, headers, error, error_class,
    error_fingerprint, attempts, history, message_id, trace_id, replays, died_at)
VALUES ($1, 'dead', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0, $17)
ON CONFLICT (id) DO UPDATE SET state = 'dead', reason = excluded.reason, error = excluded.error,
    error_class = excluded.error_class, error_fingerprint = excluded.error_fingerprint,
    attempts = excluded.attempts, history = excluded.history, died_at = excluded.died_at";

/// Writes the row, or, for a replay that failed, brings its letter back to `dead`. Gives the letter's id.
pub(super) async fn insert(tx: &mut Tx, letter: &Letter) -> Result<String, StoreError> {
    let id = letter
        .replay_of
        .clone()
        .unwrap_or_else(|| Uuid::now_v7().to_string());
    let headers = serde_json::to_string(&letter.headers).map_err(|source| StoreError::Json {
        table: "dead_letters",
        column: "headers",
        source,
    })?;
    let history = write_history(&letter.history)?;
    let trace_id = letter
        .headers
        .get("traceparent")
        .and_then(|parent| parent.split('-').nth(1))
        .map(str::to_owned);
    execute!(
        tx,
        INSERT,
        &id,
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
        trace_id,
        now_text()
    )?;
    Ok(id)
}

/// A row of the table.
#[derive(Debug, Clone, FromRow, serde::Serialize)]
pub struct DeadLetter {
    /// UUID.
    pub id: String,
    /// `dead`, `replaying`, `replayed` or `discarded`.
    pub state: String,
    /// One of [`Reason`]'s words.
    pub reason: String,
    /// The handler it died in.
    pub handler: String,
    /// The ledger key.
    pub key: String,
    /// The subject it came on.
    pub subject: String,
    /// The stream it came from.
    pub stream: String,
    /// Its sequence there.
    pub stream_seq: i64,
    /// The bytes as received.
    pub payload: Vec<u8>,
    /// JSON object of arrays.
    pub headers: String,
    /// The last error.
    pub error: String,
    /// Its class.
    pub error_class: String,
    /// Equal for errors of one shape.
    pub error_fingerprint: String,
    /// How often it was tried.
    pub attempts: i64,
    /// JSON array of failed attempts.
    pub history: String,
    /// The mail's Message-ID.
    pub message_id: Option<String>,
    /// How often it was replayed.
    pub replays: i64,
    /// RFC 3339, UTC.
    pub died_at: String,
    /// When it was replayed or discarded.
    pub settled_at: Option<String>,
    /// By whom.
    pub settled_by: Option<String>,
}

const LIST: &str = "\
SELECT id, state, reason, handler, key, subject, stream, stream_seq, payload, headers, error, error_class, error_fingerprint,
    attempts, history, message_id, replays, died_at, settled_at, settled_by
FROM dead_letters WHERE $1 IS NULL OR state = $1 ORDER BY died_at DESC, id DESC LIMIT $2";

/// The newest letters in `state` (`None`: in any), at most `limit`.
///
/// # Errors
/// When the database refuses.
pub async fn list(tx: &mut Tx, state: Option<&str>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(LIST)
        .bind(state)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?)
}

const FIND: &str = "\
SELECT id, state, reason, handler, key, subject, stream, stream_seq, payload, headers, error, error_class, error_fingerprint,
    attempts, history, message_id, replays, died_at, settled_at, settled_by
FROM dead_letters WHERE id = $1";

/// The letter with that id.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, id: &str) -> Result<Option<DeadLetter>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(FIND).bind(id).fetch_optional(connection).await)?)
}

/// What came of asking for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// It is in the outbox.
    Begun,
    /// There is no such letter.
    NotFound,
    /// It is not `dead` but in this state: there is nothing to replay, or somebody was faster.
    Not(String),
}

const BEGIN_REPLAY: &str = "\
UPDATE dead_letters SET state = 'replaying', replays = replays + 1, settled_by = $2 WHERE id = $1 AND state = 'dead'";

/// Sends a dead letter once more to the handler it died in. Fenced: of many callers one begins it.
///
/// # Errors
/// When the database refuses.
pub async fn replay(store: &Store, id: &str, by: &str) -> Result<Replay, StoreError> {
    let mut tx = store.begin().await?;
    let begun = execute!(tx, BEGIN_REPLAY, id, by)?;
    let Some(letter) = find(&mut tx, id).await? else {
        return Ok(Replay::NotFound);
    };
    if begun == 0 {
        return Ok(Replay::Not(letter.state));
    }
    deliveries::revive(&mut tx, &letter.handler, &letter.key).await?;
    let received: Headers = serde_json::from_str(&letter.headers).map_err(|source| StoreError::Json {
        table: "dead_letters",
        column: "headers",
        source,
    })?;
    let mut headers = received.for_resending();
    headers.set(headers::REPLAY, id);
    headers.set(headers::HANDLER, letter.handler.as_str());
    tx.push(&OutboxRow::new(letter.subject, headers, letter.payload))
        .await?;
    tx.commit().await?;
    Ok(Replay::Begun)
}

const REPLAYED_KEY: &str =
    "SELECT key FROM dead_letters WHERE id = $1 AND handler = $2 AND state = 'replaying'";

/// The ledger key under which `handler` runs the replay of letter `id`; `None` when no such replay is under way.
pub(crate) async fn replayed_key(tx: &mut Tx, id: &str, handler: &str) -> Result<Option<String>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_scalar(REPLAYED_KEY)
        .bind(id)
        .bind(handler)
        .fetch_optional(connection)
        .await)?)
}

const REPLAYED: &str =
    "UPDATE dead_letters SET state = 'replayed', settled_at = $2 WHERE id = $1 AND state = 'replaying'";

/// The replay has succeeded.
pub(crate) async fn replayed(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    execute!(tx, REPLAYED, id, now_text())?;
    Ok(())
}

/// Now, as people read it: RFC 3339 with milliseconds, UTC.
pub(crate) fn now_text() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Postgres keeps no NUL in TEXT; an error that quotes hostile bytes must not keep its letter out of the table.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
