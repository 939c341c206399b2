//! Table `mailboxes`: how far each watched mailbox is known.

use postroom::{StoreError, Tx, execute, on_tx};

/// The checkpoint of one mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Raised when the server's UIDs begin anew; part of every mail's identity.
    pub epoch: i64,
    pub uidvalidity: u32,
    /// Every UID below it has its row, or came before the first look.
    pub low_uid: u32,
    /// Every UID below it came before the first look.
    pub first_uid: u32,
    /// Mails below this UID are held for a person unless their content is known; 0 where none are.
    pub held_below: u32,
    /// Mails that the server received before this (epoch milliseconds) are left alone.
    pub since: i64,
}

const FIND: &str = "\
SELECT epoch, uidvalidity, low_uid, first_uid, held_below, since FROM mailboxes WHERE account = $1 AND mailbox = $2";

/// The checkpoint, if the mailbox was ever looked at.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, account: &str, mailbox: &str) -> Result<Option<Checkpoint>, StoreError> {
    let row: Option<(i64, i64, i64, i64, i64, i64)> = on_tx!(tx, connection => sqlx::query_as(FIND)
        .bind(account)
        .bind(mailbox)
        .fetch_optional(connection)
        .await)?;
    Ok(row.map(
        |(epoch, uidvalidity, low_uid, first_uid, held_below, since)| Checkpoint {
            epoch,
            uidvalidity: u32::try_from(uidvalidity).unwrap_or(0),
            low_uid: u32::try_from(low_uid).unwrap_or(u32::MAX),
            first_uid: u32::try_from(first_uid).unwrap_or(1),
            held_below: u32::try_from(held_below).unwrap_or(u32::MAX),
            since,
        },
    ))
}

const SAVE: &str = "\
INSERT INTO mailboxes (account, mailbox, epoch, uidvalidity, low_uid, since, first_uid, held_below, updated)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT now_ms FROM clock))
ON CONFLICT (account, mailbox) DO UPDATE SET epoch = excluded.epoch, uidvalidity = excluded.uidvalidity,
    low_uid = excluded.low_uid, since = excluded.since, first_uid = excluded.first_uid, updated = excluded.updated,
    held_below = CASE WHEN excluded.epoch = mailboxes.epoch THEN mailboxes.held_below ELSE excluded.held_below END";

/// Writes the checkpoint. Within an epoch what is held is left to the person who releases it.
///
/// # Errors
/// When the database refuses.
pub async fn save(tx: &mut Tx, account: &str, mailbox: &str, at: Checkpoint) -> Result<(), StoreError> {
    execute!(
        tx,
        SAVE,
        account,
        mailbox,
        at.epoch,
        i64::from(at.uidvalidity),
        i64::from(at.low_uid),
        at.since,
        i64::from(at.first_uid),
        i64::from(at.held_below)
    )?;
    Ok(())
}

const NOW: &str = "SELECT now_ms FROM clock";

/// Epoch milliseconds by the database's clock.
///
/// # Errors
/// When the database refuses.
pub async fn now(tx: &mut Tx) -> Result<i64, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_scalar(NOW).fetch_one(connection).await)?)
}
