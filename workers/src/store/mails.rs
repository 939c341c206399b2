//! Table `mails`: what became of each mail that was ever seen.
//!
//! ```text
//! discovered → published   its event is in the outbox
//!            → carried     the same mail was settled in an earlier epoch, or in another mailbox of the server
//!            → old         it came before this mailbox was watched
//!            → gone        it left the mailbox before it could be fetched
//!            → dead        dead letter; published after a replay that worked
//!            → held        unknown after the server's UIDs began anew; a person releases or dismisses it
//! ```

use std::collections::BTreeMap;

use postroom::{StoreError, Tx, execute, on_tx};
use uuid::Uuid;

use crate::messages::{BlobRef, NewMail};

/// A mail's place: unique for ever, also when the server starts its UIDs anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub account: String,
    pub mailbox: String,
    pub epoch: i64,
    pub uid: u32,
}

impl Place {
    /// The id of this mail's event: the same however often it is announced.
    pub fn event_id(&self) -> Uuid {
        /// A random UUID of this program's own; it must never change.
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_5c0e_7a55_4a53_9f0b_9d8d_6c1e_2b37);
        let Self {
            account,
            mailbox,
            epoch,
            uid,
        } = self;
        // Lengths, so that no two lists of names meet.
        let name = format!(
            "{}:{account}{}:{mailbox}{epoch}:{uid}",
            account.len(),
            mailbox.len()
        );
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }
}

/// A mail that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub uid: u32,
    /// How often it was begun already.
    pub attempts: i64,
}

const DISCOVER: &str = "\
INSERT INTO mails (account, mailbox, epoch, uid, state, event_id, attempts, discovered)
VALUES ($1, $2, $3, $4, 'discovered', $5, 0, (SELECT now_ms FROM clock))
ON CONFLICT (account, mailbox, epoch, uid) DO NOTHING";

/// Notes that the mail is there.
///
/// # Errors
/// When the database refuses.
pub async fn discover(tx: &mut Tx, place: &Place) -> Result<(), StoreError> {
    let event_id = place.event_id().to_string();
    let Place {
        account,
        mailbox,
        epoch,
        uid,
    } = place;
    execute!(tx, DISCOVER, account, mailbox, *epoch, i64::from(*uid), event_id)?;
    Ok(())
}

const WAITING: &str = "\
SELECT uid, attempts FROM mails
WHERE account = $1 AND mailbox = $2 AND epoch = $3 AND state = 'discovered' AND uid > $4 ORDER BY uid LIMIT $5";

/// The next mails to fetch, oldest first, that come after `after`.
///
/// # Errors
/// When the database refuses.
pub async fn waiting(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
    epoch: i64,
    after: u32,
    limit: u32,
) -> Result<Vec<Waiting>, StoreError> {
    let rows: Vec<(i64, i64)> = on_tx!(tx, connection => sqlx::query_as(WAITING)
        .bind(account)
        .bind(mailbox)
        .bind(epoch)
        .bind(i64::from(after))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?;
    let row = |(uid, attempts)| Waiting {
        uid: u32::try_from(uid).unwrap_or(u32::MAX),
        attempts,
    };
    Ok(rows.into_iter().map(row).collect())
}

const BEGIN: &str = "\
UPDATE mails SET attempts = attempts + $5
WHERE account = $1 AND mailbox = $2 AND epoch = $3 AND uid = $4 AND state = 'discovered'";

/// Counts an attempt before it is made (`1`), or takes it back (`-1`) when it never came to it.
///
/// # Errors
/// When the database refuses.
pub async fn count_attempt(tx: &mut Tx, place: &Place, by: i64) -> Result<(), StoreError> {
    let Place {
        account,
        mailbox,
        epoch,
        uid,
    } = place;
    execute!(tx, BEGIN, account, mailbox, *epoch, i64::from(*uid), by)?;
    Ok(())
}

const FORGET: &str = "\
UPDATE mails SET state = 'gone', settled = (SELECT now_ms FROM clock)
WHERE account = $1 AND mailbox = $2 AND epoch < $3 AND state = 'discovered'";

const FORGET_HELD: &str = "\
UPDATE mails SET state = 'gone', settled = (SELECT now_ms FROM clock)
WHERE account = $1 AND mailbox = $2 AND epoch < $3 AND state = 'held'";

/// Gives up on mails of earlier epochs that were never fetched, or never released: their UIDs name other mails now, and
/// what is still in the mailbox is discovered again. Gives the number of those that were never fetched.
///
/// # Errors
/// When the database refuses.
pub async fn forget_before(tx: &mut Tx, account: &str, mailbox: &str, epoch: i64) -> Result<u64, StoreError> {
    execute!(tx, FORGET_HELD, account, mailbox, epoch)?;
    Ok(execute!(tx, FORGET, account, mailbox, epoch)?)
}

const CARRY: &str = "\
UPDATE mails SET carried_to = $3, carried_uid = $5
WHERE account = $1 AND mailbox = $2 AND (epoch, uid) IN (
    SELECT epoch, uid FROM mails
    WHERE account = $1 AND mailbox = $2 AND sha256 = $4 AND epoch < $3 AND carried_to IS NULL
        AND state IN ('published', 'carried', 'old', 'dead')
    ORDER BY epoch DESC, uid LIMIT 1)";

/// Matches a mail of this epoch with one of equal content from before the server's UIDs began anew. Each earlier mail
/// is matched once, so that of three equal mails, of which two were known, one is new.
///
/// # Errors
/// When the database refuses.
pub async fn carry_over(tx: &mut Tx, place: &Place, sha256: &str) -> Result<bool, StoreError> {
    let Place {
        account,
        mailbox,
        epoch,
        uid,
    } = place;
    Ok(execute!(tx, CARRY, account, mailbox, *epoch, sha256, i64::from(*uid))? == 1)
}

const CLAIM: &str = "\
INSERT INTO mail_copies (account, provider_id, event_id) VALUES ($1, $2, $3)
ON CONFLICT (account, provider_id) DO UPDATE SET event_id = mail_copies.event_id
RETURNING event_id";

/// Whether this mail is the copy that counts, of all that bear the server's own name for it. Whoever settles another copy in
/// the same moment waits for the end of this transaction.
///
/// # Errors
/// When the database refuses.
pub async fn is_first_copy(tx: &mut Tx, place: &Place, provider_id: u64) -> Result<bool, StoreError> {
    let own = place.event_id().to_string();
    let first: String = on_tx!(tx, connection => sqlx::query_scalar(CLAIM)
        .bind(&place.account)
        .bind(provider_id.to_string())
        .bind(&own)
        .fetch_one(connection)
        .await)?;
    Ok(first == own)
}

/// How a mail was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Published,
    Carried,
    Old,
    Gone,
    Dead,
    Held,
}

impl State {
    /// The word in the table, and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Carried => "carried",
            Self::Old => "old",
            Self::Gone => "gone",
            Self::Dead => "dead",
            Self::Held => "held",
        }
    }
}

/// What the server told of a mail beside its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// INTERNALDATE in epoch milliseconds.
    pub internal_date: Option<i64>,
    /// RFC822.SIZE.
    pub size: Option<i64>,
    /// The server's own name for the mail, in whatever mailbox it is.
    pub provider_id: Option<u64>,
}

/// What is kept of a settled mail.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept<'a> {
    pub raw: Option<&'a BlobRef>,
    pub message_id: Option<&'a str>,
    pub seen: Seen,
    pub summary: Option<&'a NewMail>,
    pub error: Option<&'a str>,
}

const SETTLE: &str = "\
UPDATE mails SET state = $2, sha256 = $3, size = $4, message_id = $5, summary = $6, error = $7,
    internal_date = COALESCE($8, internal_date), server_size = COALESCE($9, server_size),
    settled = (SELECT now_ms FROM clock)
WHERE event_id = $1 AND state IN ('discovered', 'dead', 'held')";

/// Settles a mail once: `false` when it was settled before, and nothing must be published for it now.
///
/// # Errors
/// When the database refuses.
pub async fn settle(tx: &mut Tx, event_id: Uuid, state: State, kept: Kept<'_>) -> Result<bool, StoreError> {
    let summary = match kept.summary {
        Some(mail) => Some(serde_json::to_string(mail).map_err(|source| StoreError::Json {
            table: "mails",
            column: "summary",
            source,
        })?),
        None => None,
    };
    let rows = execute!(
        tx,
        SETTLE,
        event_id.to_string(),
        state.as_str(),
        kept.raw.map(|raw| raw.sha256.as_str()),
        kept.raw.map(|raw| i64::try_from(raw.size).unwrap_or(i64::MAX)),
        kept.message_id,
        summary,
        kept.error,
        kept.seen.internal_date,
        kept.seen.size
    )?;
    Ok(rows == 1)
}

const RETURN: &str = "\
UPDATE mails SET state = 'discovered', attempts = 0
WHERE event_id = $1 AND state = 'dead' AND epoch = (
    SELECT epoch FROM mailboxes WHERE mailboxes.account = mails.account AND mailboxes.mailbox = mails.mailbox)";

/// Sends a dead mail back to be fetched again; `false` when its UID means nothing any more.
///
/// # Errors
/// When the database refuses.
pub async fn return_to_queue(tx: &mut Tx, event_id: Uuid) -> Result<bool, StoreError> {
    Ok(execute!(tx, RETURN, event_id.to_string())? == 1)
}

const BY_EVENT: &str = "SELECT summary FROM mails WHERE event_id = $1 AND summary IS NOT NULL";

/// The mail of this event, as it was announced.
///
/// # Errors
/// When the database refuses, or the row can't be read.
pub async fn by_event(tx: &mut Tx, event_id: Uuid) -> Result<Option<NewMail>, StoreError> {
    let summary: Option<String> = on_tx!(tx, connection => sqlx::query_scalar(BY_EVENT)
        .bind(event_id.to_string())
        .fetch_optional(connection)
        .await)?;
    summary
        .map(|json| {
            serde_json::from_str(&json).map_err(|source| StoreError::Json {
                table: "mails",
                column: "summary",
                source,
            })
        })
        .transpose()
}

/// All states.
pub const STATES: [&str; 7] = [
    "discovered",
    "published",
    "carried",
    "old",
    "gone",
    "dead",
    "held",
];

const COUNT_OF: &str = "SELECT state, COUNT(*) FROM mails WHERE account = $1 AND mailbox = $2 GROUP BY state";

/// How many mails of this mailbox are in each state.
///
/// # Errors
/// When the database refuses.
pub async fn count_of(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows: Vec<(String, i64)> = on_tx!(tx, connection => sqlx::query_as(COUNT_OF)
        .bind(account)
        .bind(mailbox)
        .fetch_all(connection)
        .await)?;
    Ok(rows.into_iter().collect())
}

const COUNT: &str = "SELECT state, COUNT(*) FROM mails GROUP BY state";

/// How many mails are in each state, over all mailboxes.
///
/// # Errors
/// When the database refuses.
pub async fn count(tx: &mut Tx) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows: Vec<(String, i64)> =
        on_tx!(tx, connection => sqlx::query_as(COUNT).fetch_all(connection).await)?;
    Ok(rows.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_is_for_ever_and_no_two_places_share_one() {
        let place = |account: &str, mailbox: &str, epoch, uid| {
            Place {
                account: account.into(),
                mailbox: mailbox.into(),
                epoch,
                uid,
            }
            .event_id()
        };
        assert_eq!(
            place("a", "INBOX", 1, 7).to_string(),
            "67a06728-95de-5ac9-a760-24ed3c83b030"
        );
        let others = [
            place("a", "INBOX", 2, 7),
            place("a", "INBOX", 1, 8),
            place("aI", "NBOX", 1, 7),
            place("a", "INBOX1", 1, 7),
            place("b", "INBOX", 1, 7),
        ];
        assert!(others.iter().all(|other| *other != place("a", "INBOX", 1, 7)));
    }
}
