//! Table `outgoing_mails`: bytes that must go out the same again, whatever has become of the templates and keys of their
//! making.

use postroom::{StoreError, Tx, execute, on_tx};

/// Whoever comes first is right: those bytes may be on the wire already.
const KEEP: &str = "\
INSERT INTO outgoing_mails (id, bytes, created) VALUES ($1, $2, (SELECT now_ms FROM clock)) ON CONFLICT (id) DO NOTHING";

/// Keeps the bytes of the mail with this id; false when there are some already.
///
/// # Errors
/// When the database refuses.
pub async fn keep(tx: &mut Tx, id: &str, bytes: &[u8]) -> Result<bool, StoreError> {
    Ok(execute!(tx, KEEP, id, bytes)? == 1)
}

const FIND: &str = "SELECT bytes FROM outgoing_mails WHERE id = $1";

/// The bytes that were kept.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_scalar(FIND).bind(id).fetch_optional(connection).await)?)
}

const FORGET: &str = "DELETE FROM outgoing_mails WHERE id = $1";

/// Forgets the bytes of a mail that has come to its end.
///
/// # Errors
/// When the database refuses.
pub async fn forget(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    execute!(tx, FORGET, id)?;
    Ok(())
}

/// Bounded, so that a purge never holds the writer for long.
const PURGE: &str = "\
DELETE FROM outgoing_mails WHERE id IN (
    SELECT id FROM outgoing_mails WHERE created <= (SELECT now_ms FROM clock) - $1 ORDER BY created LIMIT 500)";

/// As long as a key is remembered: after that nothing sends the mail again.
const KEEP_MS: i64 = 90 * 24 * 3600 * 1000;

/// Forgets some that nobody has sent in all that time; gives their number.
///
/// # Errors
/// When the database refuses.
pub async fn purge(tx: &mut Tx) -> Result<u64, StoreError> {
    Ok(execute!(tx, PURGE, KEEP_MS)?)
}
