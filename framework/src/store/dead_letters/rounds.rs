//! Table `dead_letter_rounds`: the earlier rounds of letters that were replayed and died again.

use sqlx::FromRow;

use crate::store::{StoreError, Tx};
use crate::{execute, on_tx};

/// Of a letter that is replayed again and again, so many of the latest rounds are kept beside the last one.
pub const MAX_ROUNDS: i64 = 100;

/// A round that a letter has died in, and was replayed after.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct Round {
    /// From 1.
    pub round: i64,
    /// One of [`Reason`](super::Reason)'s words.
    pub reason: String,
    /// Its last error.
    pub error: String,
    /// That one's class.
    pub error_class: String,
    /// How often it was tried in this round.
    pub attempts: i64,
    /// JSON array of failed attempts.
    pub history: String,
    /// RFC 3339, UTC.
    pub died_at: String,
}

const KEEP: &str = "\
INSERT INTO dead_letter_rounds (letter_id, round, reason, error, error_class, attempts, history, died_at)
SELECT id, 1 + COALESCE((SELECT MAX(r.round) FROM dead_letter_rounds r WHERE r.letter_id = $1), 0),
    reason, error, error_class, attempts, history, died_at
FROM dead_letters WHERE id = $1";

const DROP_OLDEST: &str = "\
DELETE FROM dead_letter_rounds WHERE letter_id = $1
    AND round <= (SELECT MAX(r.round) FROM dead_letter_rounds r WHERE r.letter_id = $1) - $2";

/// Keeps what the letter says now, before the next round is written over it.
pub(super) async fn keep(tx: &mut Tx, letter: &str) -> Result<(), StoreError> {
    execute!(tx, KEEP, letter)?;
    execute!(tx, DROP_OLDEST, letter, MAX_ROUNDS)?;
    Ok(())
}

const ROUNDS: &str = "\
SELECT round, reason, error, error_class, attempts, history, died_at FROM dead_letter_rounds
WHERE letter_id = $1 ORDER BY round";

/// The earlier rounds of the letter, the oldest first; the last one is in the letter itself.
///
/// # Errors
/// When the database refuses.
pub async fn rounds(tx: &mut Tx, letter: &str) -> Result<Vec<Round>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(ROUNDS).bind(letter).fetch_all(connection).await)?)
}
