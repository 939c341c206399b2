//! Replacing a letter's payload by a mended one, which is what a replay sends then.

use super::row::{DeadLetter, find};
use super::trail::{self, Act};
use crate::execute;
use crate::store::outbox::MAX_PAYLOAD;
use crate::store::{Store, StoreError};

/// What came of asking to edit a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The payload is the new one.
    Edited,
    /// There is no such letter.
    NotFound,
    /// It is not `dead` but in this state.
    Not(String),
    /// Somebody has edited it since it was read.
    Stale,
    /// The new payload is no JSON, as the parser says here.
    NotJson(String),
    /// The new payload is larger than what can be published: so many bytes.
    TooLarge(usize),
}

/// What was received is kept once, whatever is edited after it.
const EDIT: &str = "\
UPDATE dead_letters SET original_payload = COALESCE(original_payload, payload), payload = $2, edits = edits + 1
WHERE id = $1 AND state = 'dead' AND edits = $3";

/// Replaces the payload of `letter`, provided that it is still the one that was read.
///
/// # Errors
/// When the database refuses.
pub async fn edit(store: &Store, letter: &DeadLetter, payload: &[u8], by: &str) -> Result<Edit, StoreError> {
    if payload.len() > MAX_PAYLOAD {
        return Ok(Edit::TooLarge(payload.len()));
    }
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
        return Ok(Edit::NotJson(error.to_string()));
    }
    let mut tx = store.begin().await?;
    if execute!(tx, EDIT, &letter.id, payload, letter.edits)? == 0 {
        return Ok(match find(&mut tx, &letter.id).await? {
            None => Edit::NotFound,
            Some(found) if found.state != "dead" => Edit::Not(found.state),
            Some(_) => Edit::Stale,
        });
    }
    let detail = format!("{} bytes became {}", letter.payload.len(), payload.len());
    trail::write(&mut tx, &letter.id, Act::Edit, by, &detail).await?;
    tx.commit().await?;
    Ok(Edit::Edited)
}
