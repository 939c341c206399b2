//! Forgetting letters that were dealt with long ago.

use std::time::SystemTime;

use super::time_text;
use crate::execute;
use crate::store::{Store, StoreError};

/// All three statements choose the same rows: nothing that is settled changes any more.
const PURGE_TRAILS: &str = "\
DELETE FROM dead_letter_actions WHERE letter_id IN (
    SELECT id FROM dead_letters WHERE state IN ('replayed', 'discarded') AND settled_at < $1
    ORDER BY settled_at, id LIMIT $2)";

const PURGE_ROUNDS: &str = "\
DELETE FROM dead_letter_rounds WHERE letter_id IN (
    SELECT id FROM dead_letters WHERE state IN ('replayed', 'discarded') AND settled_at < $1
    ORDER BY settled_at, id LIMIT $2)";

const PURGE: &str = "\
DELETE FROM dead_letters WHERE id IN (
    SELECT id FROM dead_letters WHERE state IN ('replayed', 'discarded') AND settled_at < $1
    ORDER BY settled_at, id LIMIT $2)";

/// Forgets letters that were replayed or discarded before `settled_before`, at most `limit` of them, so that a purge never
/// holds the writer for long; gives their number. What is dead or on its way is never forgotten.
///
/// # Errors
/// When the database refuses.
pub async fn purge(store: &Store, settled_before: SystemTime, limit: u32) -> Result<u64, StoreError> {
    let before = time_text(settled_before);
    let mut tx = store.begin().await?;
    execute!(tx, PURGE_TRAILS, &before, i64::from(limit))?;
    execute!(tx, PURGE_ROUNDS, &before, i64::from(limit))?;
    let letters = execute!(tx, PURGE, &before, i64::from(limit))?;
    tx.commit().await?;
    Ok(letters)
}
