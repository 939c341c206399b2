//! Table `replies`: which mail was answered by which send, and whom an account has answered of late.

use postroom::{StoreError, Tx, execute, on_tx};
use uuid::Uuid;

/// An answer on its way.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Of `actions.send`.
    pub send_id: &'a str,
    /// Of the mail that is answered.
    pub event_id: Uuid,
    pub account: &'a str,
    pub peer: &'a str,
    /// No person wrote it.
    pub automatic: bool,
}

const RECORD: &str = "\
INSERT INTO replies (send_id, event_id, account, peer, automatic, created)
VALUES ($1, $2, $3, $4, $5, (SELECT now_ms FROM clock))
ON CONFLICT (send_id) DO NOTHING";

/// Notes which mail is answered by which send.
///
/// # Errors
/// When the database refuses.
pub async fn record(tx: &mut Tx, answer: Answer<'_>) -> Result<(), StoreError> {
    execute!(
        tx,
        RECORD,
        answer.send_id,
        answer.event_id.to_string(),
        answer.account,
        answer.peer.to_lowercase(),
        i64::from(answer.automatic)
    )?;
    Ok(())
}

const AUTOMATIC: &str = "\
SELECT COUNT(*) FROM replies
WHERE account = $1 AND peer = $2 AND automatic = 1 AND created > (SELECT now_ms FROM clock) - $3";

/// The automatic replies of a day to this address.
///
/// # Errors
/// When the database refuses.
pub async fn automatic_of_a_day(tx: &mut Tx, account: &str, peer: &str) -> Result<i64, StoreError> {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    Ok(on_tx!(tx, connection => sqlx::query_scalar(AUTOMATIC)
        .bind(account)
        .bind(peer.to_lowercase())
        .bind(DAY_MS)
        .fetch_one(connection)
        .await)?)
}

/// Bounded, so that a purge never holds the writer for long.
const PURGE: &str = "\
DELETE FROM replies WHERE send_id IN (
    SELECT send_id FROM replies WHERE created <= (SELECT now_ms FROM clock) - $1 ORDER BY created LIMIT 500)";

/// Longer than any mail is on its way.
const KEEP_MS: i64 = 90 * 24 * 3600 * 1000;

/// Forgets some answers of long ago; gives their number.
///
/// # Errors
/// When the database refuses.
pub async fn purge(tx: &mut Tx) -> Result<u64, StoreError> {
    Ok(execute!(tx, PURGE, KEEP_MS)?)
}
