//! Letters by what went wrong: one cause is mended once, and its letters go on together.

use sqlx::FromRow;

use super::filter::{Filter, bind_filter, matching};
use crate::on_tx;
use crate::store::{StoreError, Tx};

/// Letters that died of one error, in one handler.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct Group {
    /// Equal for errors of one shape.
    pub error_fingerprint: String,
    /// The handler they died in.
    pub handler: String,
    /// One of [`Reason`](super::Reason)'s words.
    pub reason: String,
    /// How many.
    pub letters: i64,
    /// When the first of them died: RFC 3339, UTC.
    pub oldest: String,
    /// When the last of them died.
    pub newest: String,
    /// The id of one of them.
    pub example: String,
    /// What that one died of.
    pub error: String,
}

const GROUPS: &str = concat!(
    "WITH grouped AS ( \
         SELECT error_fingerprint, handler, reason, COUNT(*) AS letters, MIN(died_at) AS oldest, \
             MAX(died_at) AS newest, MAX(id) AS example \
         FROM dead_letters WHERE ",
    matching!(),
    "    GROUP BY error_fingerprint, handler, reason) \
     SELECT g.error_fingerprint, g.handler, g.reason, g.letters, g.oldest, g.newest, g.example, d.error \
     FROM grouped g JOIN dead_letters d ON d.id = g.example \
     ORDER BY g.letters DESC, g.newest DESC, g.example DESC LIMIT $9"
);

/// The groups of what the filter matches, the largest first, at most `limit`.
///
/// # Errors
/// When the database refuses.
pub async fn groups(tx: &mut Tx, filter: &Filter, limit: u32) -> Result<Vec<Group>, StoreError> {
    Ok(
        on_tx!(tx, connection => bind_filter!(sqlx::query_as(GROUPS), filter)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?,
    )
}
