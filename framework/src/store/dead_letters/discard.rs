//! Giving a letter up, on purpose and with a reason.

use super::row::find;
use super::trail::{self, Act};
use super::{now_text, without_nul};
use crate::execute;
use crate::store::{Store, StoreError};

/// What came of asking to discard a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discard {
    /// Nothing more will be done with it.
    Discarded,
    /// There is no such letter.
    NotFound,
    /// It is not `dead` but in this state.
    Not(String),
}

const DISCARD: &str = "\
UPDATE dead_letters SET state = 'discarded', settled_at = $2, settled_by = $3 WHERE id = $1 AND state = 'dead'";

/// Gives a dead letter up. The row stays, with `why` in its trail, until it is purged.
///
/// # Errors
/// When the database refuses.
pub async fn discard(store: &Store, id: &str, by: &str, why: &str) -> Result<Discard, StoreError> {
    let mut tx = store.begin().await?;
    if execute!(tx, DISCARD, id, now_text(), without_nul(by))? == 0 {
        let found = find(&mut tx, id).await?;
        return Ok(found.map_or(Discard::NotFound, |letter| Discard::Not(letter.state)));
    }
    trail::write(&mut tx, id, Act::Discard, by, why).await?;
    tx.commit().await?;
    Ok(Discard::Discarded)
}
