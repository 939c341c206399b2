//! Tables `mailboxes` and `mails`, as a person sees them: what became of the mails, and those that wait for a word.

use postroom::{StoreError, Tx, execute, on_tx};

/// A mailbox, and how many of its mails are in one state.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Count {
    pub account: String,
    pub mailbox: String,
    pub state: String,
    pub mails: i64,
}

const COUNTS: &str = "\
SELECT account, mailbox, state, COUNT(*) AS mails FROM mails
GROUP BY account, mailbox, state ORDER BY account, mailbox, state";

/// What became of the mails of every mailbox.
///
/// # Errors
/// When the database refuses.
pub async fn counts(tx: &mut Tx) -> Result<Vec<Count>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(COUNTS).fetch_all(connection).await)?)
}

/// A mail that is held. Its raw bytes are in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Held {
    pub event_id: String,
    pub uidvalidity: i64,
    pub uid: i64,
    pub message_id: Option<String>,
    pub sha256: String,
    pub size: i64,
    /// Epoch milliseconds.
    pub received: i64,
}

const LIST: &str = "\
SELECT m.event_id, b.uidvalidity, m.uid, m.message_id, m.sha256, m.size, COALESCE(m.internal_date, m.discovered) AS received
FROM mails m JOIN mailboxes b ON b.account = m.account AND b.mailbox = m.mailbox AND b.epoch = m.epoch
WHERE m.account = $1 AND m.mailbox = $2 AND m.state = 'held' AND m.uid > $3
    AND m.sha256 IS NOT NULL AND m.size IS NOT NULL
ORDER BY m.uid LIMIT $4";

/// The next held mails of the mailbox after UID `after`.
///
/// # Errors
/// When the database refuses.
pub async fn list(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Held>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(LIST)
        .bind(account)
        .bind(mailbox)
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await)?)
}

const STOP: &str = "UPDATE mailboxes SET held_below = 0 WHERE account = $1 AND mailbox = $2";

/// From now on nothing more of the mailbox is held; `false` where there is no such mailbox.
///
/// # Errors
/// When the database refuses.
pub async fn stop(tx: &mut Tx, account: &str, mailbox: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, STOP, account, mailbox)? == 1)
}

const DISMISS: &str = "\
UPDATE mails SET state = 'old', settled = (SELECT now_ms FROM clock)
WHERE account = $1 AND mailbox = $2 AND state = 'held'";

/// Settles the held mails as old ones, which no event tells of; gives their number.
///
/// # Errors
/// When the database refuses.
pub async fn dismiss(tx: &mut Tx, account: &str, mailbox: &str) -> Result<u64, StoreError> {
    Ok(execute!(tx, DISMISS, account, mailbox)?)
}
