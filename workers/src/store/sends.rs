//! Table `sends`: the mails that a relay took, for as long as reports about them may come back.

use postroom::{StoreError, Tx, execute, on_tx};

use crate::messages::Sent;

/// A mail that was sent.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SentMail {
    /// Of `actions.send`.
    pub id: String,
    pub account: String,
    /// In lower case.
    pub recipient: String,
}

/// The second copy of a mail, sent after a lost verdict, has the same Message-ID.
const RECORD: &str = "\
INSERT INTO sends (message_id, id, account, recipient, sent)
VALUES ($1, $2, $3, $4, (SELECT now_ms FROM clock))
ON CONFLICT (message_id) DO UPDATE SET sent = excluded.sent";

/// Notes that a relay took the mail.
///
/// # Errors
/// When the database refuses.
pub async fn record(tx: &mut Tx, sent: &Sent) -> Result<(), StoreError> {
    execute!(
        tx,
        RECORD,
        &sent.message_id,
        &sent.id,
        &sent.account,
        sent.to.to_lowercase()
    )?;
    Ok(())
}

const FIND: &str = "SELECT id, account, recipient FROM sends WHERE message_id = $1";

/// The mail with this Message-ID, if it was sent from here.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, message_id: &str) -> Result<Option<SentMail>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(FIND).bind(message_id).fetch_optional(connection).await)?)
}

const SENT_TO: &str =
    "SELECT COUNT(*) FROM (SELECT 1 AS one FROM sends WHERE recipient = $1 LIMIT 1) AS found";

/// Whether anything was sent to the address of late. Anybody can write a report about anybody.
///
/// # Errors
/// When the database refuses.
pub async fn was_sent_to(tx: &mut Tx, address: &str) -> Result<bool, StoreError> {
    let found: i64 = on_tx!(tx, connection => sqlx::query_scalar(SENT_TO)
        .bind(address.to_lowercase())
        .fetch_one(connection)
        .await)?;
    Ok(found > 0)
}

/// Bounded, so that a purge never holds the writer for long.
const PURGE: &str = "\
DELETE FROM sends WHERE message_id IN (
    SELECT message_id FROM sends WHERE sent <= (SELECT now_ms FROM clock) - $1 ORDER BY sent LIMIT 500)";

/// Reports come back for days; complaints for weeks.
const KEEP_MS: i64 = 90 * 24 * 3600 * 1000;

/// Forgets some mails that were sent long ago; gives their number.
///
/// # Errors
/// When the database refuses.
pub async fn purge(tx: &mut Tx) -> Result<u64, StoreError> {
    Ok(execute!(tx, PURGE, KEEP_MS)?)
}
