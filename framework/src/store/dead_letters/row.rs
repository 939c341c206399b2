//! A row of `dead_letters`, as people and programs read it.

use sqlx::FromRow;

use crate::on_tx;
use crate::store::{StoreError, Tx};

/// A row of the table.
#[derive(Debug, Clone, FromRow, serde::Serialize)]
pub struct DeadLetter {
    /// UUID.
    pub id: String,
    /// `dead`, `replaying`, `replayed` or `discarded`.
    pub state: String,
    /// One of [`Reason`](super::Reason)'s words.
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
    /// The bytes as received, or as a person has edited them.
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
    /// Of the trace that it is part of, where its headers named one.
    pub trace_id: Option<String>,
    /// How often it was replayed.
    pub replays: i64,
    /// RFC 3339, UTC.
    pub died_at: String,
    /// When it was replayed or discarded.
    pub settled_at: Option<String>,
    /// By whom.
    pub settled_by: Option<String>,
    /// How often a person has replaced the payload.
    pub edits: i64,
    /// The bytes as received, once they were replaced.
    pub original_payload: Option<Vec<u8>>,
}

impl DeadLetter {
    /// The ledger key that a replay runs under. An edited payload is other work than the one that died, so it has a row
    /// of its own: a late copy of the original finds that one dead, and the ledger sees no key used for two payloads.
    pub(super) fn replay_key(&self) -> String {
        replay_key(&self.key, self.edits)
    }
}

/// No key made of a message holds `%e`: a percent sign stands in it only before `25`, `2F` or `00`.
pub(super) fn replay_key(key: &str, edits: i64) -> String {
    match edits {
        0 => key.to_owned(),
        edit => format!("{key}%edit{edit}"),
    }
}

/// The columns of a [`DeadLetter`].
macro_rules! columns {
    () => {
        "id, state, reason, handler, key, subject, stream, stream_seq, payload, headers, error, error_class, \
         error_fingerprint, attempts, history, message_id, trace_id, replays, died_at, settled_at, settled_by, edits, \
         original_payload"
    };
}
pub(super) use columns;

const FIND: &str = concat!("SELECT ", columns!(), " FROM dead_letters WHERE id = $1");

/// The letter with that id.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, id: &str) -> Result<Option<DeadLetter>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(FIND).bind(id).fetch_optional(connection).await)?)
}
