//! Table `mails`, when a server's UIDs begin anew: which mails are known, by what the server tells of each.

use postroom::{StoreError, Tx, execute, on_tx};
use serde::Serialize;

/// What tells one mail from another without its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub message_id: String,
    /// INTERNALDATE in epoch milliseconds.
    pub internal_date: i64,
    /// RFC822.SIZE.
    pub server_size: i64,
}

/// A mail of an earlier epoch that was not found again yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub epoch: i64,
    pub uid: i64,
    pub identity: Identity,
    pub sha256: Option<String>,
    pub size: Option<i64>,
}

const ALL: &str = "\
SELECT epoch, uid, message_id, internal_date, server_size, sha256, size FROM mails
WHERE account = $1 AND mailbox = $2 AND epoch < $3 AND carried_to IS NULL
    AND state IN ('published', 'carried', 'old', 'dead')
    AND message_id IS NOT NULL AND internal_date IS NOT NULL AND server_size IS NOT NULL
ORDER BY epoch DESC, uid";

type Row = (i64, i64, String, i64, i64, Option<String>, Option<i64>);

/// All mails of earlier epochs that can be told by their identity.
///
/// # Errors
/// When the database refuses.
pub async fn all(tx: &mut Tx, account: &str, mailbox: &str, epoch: i64) -> Result<Vec<Known>, StoreError> {
    let rows: Vec<Row> = on_tx!(tx, connection => sqlx::query_as(ALL)
        .bind(account)
        .bind(mailbox)
        .bind(epoch)
        .fetch_all(connection)
        .await)?;
    let known = |(epoch, uid, message_id, internal_date, server_size, sha256, size)| Known {
        epoch,
        uid,
        identity: Identity {
            message_id,
            internal_date,
            server_size,
        },
        sha256,
        size,
    };
    Ok(rows.into_iter().map(known).collect())
}

const COUNT: &str = "\
SELECT COUNT(*) FROM mails
WHERE account = $1 AND mailbox = $2 AND epoch < $3 AND carried_to IS NULL
    AND state IN ('published', 'carried', 'old', 'dead')";

/// How many mails of earlier epochs were not found again, whether they can be told by their identity or not.
///
/// # Errors
/// When the database refuses.
pub async fn count(tx: &mut Tx, account: &str, mailbox: &str, epoch: i64) -> Result<i64, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_scalar(COUNT)
        .bind(account)
        .bind(mailbox)
        .bind(epoch)
        .fetch_one(connection)
        .await)?)
}

const NEWEST: &str = "\
SELECT uid, internal_date FROM mails
WHERE account = $1 AND mailbox = $2 AND epoch = $3 AND internal_date IS NOT NULL
ORDER BY uid DESC LIMIT $4";

/// UID and INTERNALDATE of the newest mails of this epoch.
///
/// # Errors
/// When the database refuses.
pub async fn newest(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
    epoch: i64,
    limit: u32,
) -> Result<Vec<(i64, i64)>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(NEWEST)
        .bind(account)
        .bind(mailbox)
        .bind(epoch)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?)
}

const ROWLESS: &str = "\
SELECT CAST(value ->> 'uid' AS BIGINT) FROM json_each($4)
WHERE NOT EXISTS (SELECT 1 FROM mails
    WHERE account = $1 AND mailbox = $2 AND epoch = $3 AND uid = CAST(value ->> 'uid' AS BIGINT))
ORDER BY 1";

#[derive(Serialize)]
struct Uid {
    uid: u32,
}

/// Those of `uids` that have no row in this epoch.
///
/// # Errors
/// When the database refuses.
pub async fn rowless(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
    epoch: i64,
    uids: &[u32],
) -> Result<Vec<u32>, StoreError> {
    let rows: Vec<Uid> = uids.iter().map(|&uid| Uid { uid }).collect();
    let rows = as_rows(&rows)?;
    let found: Vec<i64> = on_tx!(tx, connection => sqlx::query_scalar(ROWLESS)
        .bind(account)
        .bind(mailbox)
        .bind(epoch)
        .bind(rows)
        .fetch_all(connection)
        .await)?;
    Ok(found
        .into_iter()
        .filter_map(|uid| u32::try_from(uid).ok())
        .collect())
}

/// A mail as it is entered at the beginning of an epoch.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    pub uid: u32,
    pub event_id: String,
    /// `carried`, or `discovered` where it is not known.
    pub state: &'static str,
    pub message_id: Option<&'a str>,
    pub internal_date: Option<i64>,
    pub server_size: Option<i64>,
    pub sha256: Option<&'a str>,
    pub size: Option<i64>,
}

const ENTER: &str = "\
INSERT INTO mails (account, mailbox, epoch, uid, state, event_id, attempts, message_id, internal_date, server_size,
    sha256, size, discovered, settled)
SELECT $1, $2, $3, CAST(value ->> 'uid' AS BIGINT), value ->> 'state', value ->> 'event_id', 0, value ->> 'message_id',
    CAST(value ->> 'internal_date' AS BIGINT), CAST(value ->> 'server_size' AS BIGINT), value ->> 'sha256',
    CAST(value ->> 'size' AS BIGINT), (SELECT now_ms FROM clock),
    CASE WHEN value ->> 'state' = 'carried' THEN (SELECT now_ms FROM clock) END
FROM json_each($4) WHERE true
ON CONFLICT (account, mailbox, epoch, uid) DO NOTHING";

/// Enters the mails of a new epoch.
///
/// # Errors
/// When the database refuses.
pub async fn enter(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
    epoch: i64,
    entries: &[Entry<'_>],
) -> Result<(), StoreError> {
    execute!(tx, ENTER, account, mailbox, epoch, as_rows(entries)?)?;
    Ok(())
}

const CARRY: &str = "\
UPDATE mails SET carried_to = $3, carried_uid = CAST(found.value ->> 'now' AS BIGINT)
FROM json_each($4) AS found
WHERE account = $1 AND mailbox = $2
    AND epoch = CAST(found.value ->> 'epoch' AS BIGINT) AND uid = CAST(found.value ->> 'uid' AS BIGINT)";

#[derive(Serialize)]
struct At {
    epoch: i64,
    uid: i64,
    now: u32,
}

/// Notes that these were found again, and by which UID, so that none is found twice.
///
/// # Errors
/// When the database refuses.
pub async fn carry(
    tx: &mut Tx,
    account: &str,
    mailbox: &str,
    epoch: i64,
    found: &[(u32, &Known)],
) -> Result<(), StoreError> {
    let rows: Vec<At> = found
        .iter()
        .map(|&(now, known)| At {
            epoch: known.epoch,
            uid: known.uid,
            now,
        })
        .collect();
    execute!(tx, CARRY, account, mailbox, epoch, as_rows(&rows)?)?;
    Ok(())
}

/// Many rows as one parameter, which `json_each` makes rows of again.
fn as_rows<R: Serialize>(rows: &[R]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|source| StoreError::Json {
        table: "mails",
        column: "of many",
        source,
    })
}
