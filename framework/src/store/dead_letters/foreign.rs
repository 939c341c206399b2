//! Letters that postroom did not write itself: each one row, however often one hears of it.

use super::letter::{Burial, Letter, insert};
use super::without_nul;
use crate::store::{StoreError, Tx};
use crate::{execute, on_tx};

const KNOWN: &str = "SELECT 1 FROM dead_letters WHERE id = $1";

/// Whether there is a letter with that id.
pub(crate) async fn is_known(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let found: Option<i32> = on_tx!(tx, connection => sqlx::query_scalar(KNOWN)
        .bind(without_nul(id))
        .fetch_optional(connection)
        .await)?;
    Ok(found.is_some())
}

const KNOWN_ORIGIN: &str = "SELECT 1 FROM dead_letters WHERE origin = $1";
const SET_ORIGIN: &str = "UPDATE dead_letters SET origin = $2 WHERE id = $1";

/// Writes the row of a letter from elsewhere; `None` when the letter with that origin is in the table. Where two processes
/// write it at the same moment, the database refuses the second, which then finds it.
pub(crate) async fn insert_foreign(
    tx: &mut Tx,
    letter: &Letter,
    origin: &str,
) -> Result<Option<String>, StoreError> {
    let origin = without_nul(origin);
    let known: Option<i32> = on_tx!(tx, connection => sqlx::query_scalar(KNOWN_ORIGIN)
        .bind(&origin)
        .fetch_optional(connection)
        .await)?;
    if known.is_some() {
        return Ok(None);
    }
    let burial = Burial::of(letter.clone());
    insert(tx, &burial).await?;
    execute!(tx, SET_ORIGIN, &burial.id, &origin)?;
    Ok(Some(burial.id))
}

const TERMINATED_BY_POSTROOM: &str = "dead letter ";

/// What postroom says when it terminates a message: the reason, and where to look.
pub(crate) fn termination(reason: super::Reason, letter: &str) -> String {
    format!("{reason}: {TERMINATED_BY_POSTROOM}{letter}")
}

/// The id of the letter in what was said of a termination, if postroom said it.
pub(crate) fn letter_of_termination(said: &str) -> Option<&str> {
    said.split_once(TERMINATED_BY_POSTROOM).map(|(_, letter)| letter)
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::*;

    #[test]
    fn a_termination_of_postrooms_own_is_known_by_its_letter() {
        let said = termination(Reason::Permanent, "0192-ab");
        assert_eq!(said, "permanent: dead letter 0192-ab");
        assert_eq!(letter_of_termination(&said), Some("0192-ab"));
        assert_eq!(letter_of_termination("no such customer"), None);
        assert_eq!(letter_of_termination(""), None);
    }
}
