//! Table `dead_letter_actions`: what was done to each letter, by whom, when and why.

use sqlx::FromRow;

use super::{now_text, without_nul};
use crate::store::{StoreError, Tx};
use crate::{execute, on_tx};

/// What can be done to a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A person replaced its payload.
    Edit,
    /// A person sent it on.
    Replay,
    /// Its handler took the replay.
    Replayed,
    /// Its handler failed once more.
    Failed,
    /// A person gave it up.
    Discard,
}

impl Act {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Replay => "replay",
            Self::Replayed => "replayed",
            Self::Failed => "failed",
            Self::Discard => "discard",
        }
    }
}

/// Something that was done to a letter.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct Action {
    /// `edit`, `replay`, `replayed`, `failed` or `discard`.
    pub action: String,
    /// A person, or the handler that a replay went to.
    pub done_by: String,
    /// RFC 3339, UTC.
    pub done_at: String,
    /// Why, or what became of it.
    pub detail: String,
}

const WRITE: &str = "\
INSERT INTO dead_letter_actions (letter_id, action, done_by, done_at, detail) VALUES ($1, $2, $3, $4, $5)";

/// In the transaction of the act itself: neither is there without the other.
pub(super) async fn write(
    tx: &mut Tx,
    letter: &str,
    act: Act,
    by: &str,
    detail: &str,
) -> Result<(), StoreError> {
    execute!(
        tx,
        WRITE,
        letter,
        act.as_str(),
        without_nul(by),
        now_text(),
        without_nul(detail)
    )?;
    Ok(())
}

const TRAIL: &str = "\
SELECT action, done_by, done_at, detail FROM dead_letter_actions WHERE letter_id = $1 ORDER BY seq";

/// Everything that was done to the letter, oldest first.
///
/// # Errors
/// When the database refuses.
pub async fn trail(tx: &mut Tx, letter: &str) -> Result<Vec<Action>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(TRAIL).bind(letter).fetch_all(connection).await)?)
}
