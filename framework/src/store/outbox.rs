//! Table `outbox`: what a committed transaction has decided to publish and the broker has not confirmed yet.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use serde_json::error::Error as JsonError;
use uuid::Uuid;

use super::deliveries::millis;
use super::rows::as_rows;
use super::{Connection, StoreError, Tx};
use crate::headers::{self, Headers};
use crate::message::Message;
use crate::terms::{Due, Terms};
use crate::trace::TraceContext;
use crate::{execute, on_tx};

/// What fits with its headers, and with those of the dead letter it may become, into the `max_payload` of a NATS server at
/// its defaults, 1 MiB: a larger message would stay in the outbox for ever.
pub const MAX_PAYLOAD: usize = (1024 - 64) * 1024;

/// One message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Becomes `Nats-Msg-Id`.
    pub id: String,
    /// Where to.
    pub subject: String,
    /// With what headers.
    pub headers: Headers,
    /// The bytes.
    pub payload: Bytes,
    /// Rows with the same key are published one after the other, in the order of their commits.
    pub ordered_by: Option<String>,
    /// Not before then.
    pub due: Option<Due>,
}

impl OutboxRow {
    /// The row of a typed message.
    pub(crate) fn of<M: Message>(message: &M) -> Result<Self, StoreError> {
        let payload =
            serde_json::to_vec(message).map_err(|source| StoreError::Encode { id: M::ID, source })?;
        if payload.len() > MAX_PAYLOAD {
            return Err(StoreError::TooLarge {
                id: M::ID,
                size: payload.len(),
                limit: MAX_PAYLOAD,
            });
        }
        let mut headers = Headers::default();
        headers.set(headers::MESSAGE, M::ID);
        if let Some(context) = TraceContext::current() {
            context.write(&mut headers);
        }
        Ok(Self::new(M::SUBJECT, headers, payload))
    }

    /// The row of a typed message on terms of its own.
    pub(crate) fn on<M: Message>(terms: &Terms, message: &M) -> Result<Self, StoreError> {
        terms
            .check(SystemTime::now())
            .map_err(|source| StoreError::Terms { id: M::ID, source })?;
        Ok(Self {
            ordered_by: terms.ordered_by.clone(),
            due: terms.due,
            ..Self::of(message)?
        })
    }

    /// A row with a new id.
    pub(crate) fn new(subject: impl Into<String>, headers: Headers, payload: impl Into<Bytes>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            subject: subject.into(),
            headers,
            payload: payload.into(),
            ordered_by: None,
            due: None,
        }
    }
}

/// A relay that has died leaves its rows to the others after this.
pub(crate) const RELAY_LEASE: Duration = Duration::from_secs(5);

/// The payloads are bytes, of which JSON makes none, so they come as one parameter of their own, and each row says where
/// its part of it is.
const PUSH: &str = "\
INSERT INTO outbox (id, subject, headers, payload, ordered_by, owner, claimed_until, created)
SELECT value ->> 'id', value ->> 'subject', value ->> 'headers',
    substr($2, CAST(value ->> 'start' AS INTEGER), CAST(value ->> 'length' AS INTEGER)), value ->> 'ordered_by', $3,
    CASE WHEN value ->> 'claimed' = 'yes' THEN (SELECT now_ms FROM clock) + $4 ELSE 0 END, (SELECT now_ms FROM clock)
FROM json_each($1) ORDER BY key";

#[derive(Serialize)]
struct PushRow<'a> {
    id: &'a str,
    subject: &'a str,
    headers: String,
    ordered_by: Option<&'a str>,
    /// Milliseconds since 1970.
    at: Option<i64>,
    /// Milliseconds from now.
    after: Option<i64>,
    /// Counted from 1, as SQL does.
    start: usize,
    length: usize,
    claimed: &'static str,
}

/// Rows as the two parameters of a statement: what is text, and all payloads in one.
pub(super) fn packed(rows: &[(&OutboxRow, bool)]) -> Result<(String, Vec<u8>), StoreError> {
    let mut payloads = Vec::with_capacity(rows.iter().map(|(row, _)| row.payload.len()).sum::<usize>() + 1);
    let mut many = Vec::with_capacity(rows.len());
    for (row, claimed) in rows {
        let (at, after) = match row.due {
            None => (None, None),
            // Whatever was before 1970 is past.
            Some(Due::At(time)) => (
                Some(millis(
                    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
                )),
                None,
            ),
            Some(Due::After(delay)) => (None, Some(millis(delay))),
        };
        many.push(PushRow {
            id: &row.id,
            subject: &row.subject,
            headers: serde_json::to_string(&row.headers).map_err(json)?,
            ordered_by: row.ordered_by.as_deref(),
            at,
            after,
            start: payloads.len() + 1,
            length: row.payload.len(),
            claimed: if *claimed { "yes" } else { "no" },
        });
        payloads.extend_from_slice(&row.payload);
    }
    // Never empty: of no bytes at all, SQLite's substr makes NULL.
    payloads.push(0);
    Ok((as_rows("outbox", &many)?, payloads))
}

/// Writes the rows in their order; those that are `claimed` belong to this process's relay for [`RELAY_LEASE`].
pub(super) async fn push(tx: &mut Tx, rows: &[(&OutboxRow, bool)]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let (many, payloads) = packed(rows)?;
    let owner = tx.owner().as_str().to_owned();
    execute!(tx, PUSH, many, payloads, owner, millis(RELAY_LEASE))?;
    Ok(())
}

/// Until the end of the transaction.
const HOLD_KEY: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

/// Makes sure that `seq` of rows with the same ordering key is the order of their commits: whoever else writes one waits
/// for the end of this transaction.
///
/// Differs because Postgres gives numbers before the commit, to many writers at a time; SQLite has one writer.
pub(super) async fn hold_keys(tx: &mut Tx, rows: &[&OutboxRow]) -> Result<(), StoreError> {
    let Connection::Postgres(connection) = tx.connection() else {
        return Ok(());
    };
    // In one order everywhere, so that two who hold many do not wait for each other.
    let keys: BTreeSet<&str> = rows.iter().filter_map(|row| row.ordered_by.as_deref()).collect();
    for key in keys {
        sqlx::query(HOLD_KEY).bind(key).execute(&mut **connection).await?;
    }
    Ok(())
}

/// Of rows in order, only the first of each key is there to take, so that none is under way before the one before it has
/// been confirmed. The keys are found one after the other by index, however many rows each has. The outer condition is
/// repeated for Postgres: it is what a second relay, having waited for the first one's row lock, checks again.
const TAKE: &str = "\
WITH RECURSIVE keys (name) AS (
    SELECT MIN(ordered_by) FROM outbox WHERE ordered_by IS NOT NULL
    UNION ALL
    SELECT (SELECT MIN(o.ordered_by) FROM outbox o WHERE o.ordered_by > k.name) FROM keys k WHERE k.name IS NOT NULL
), firsts (seq) AS (
    SELECT (SELECT MIN(o.seq) FROM outbox o WHERE o.ordered_by = k.name) FROM keys k WHERE k.name IS NOT NULL
)
UPDATE outbox SET owner = $1, claimed_until = (SELECT now_ms FROM clock) + $2
WHERE seq IN (
    SELECT seq FROM (
        SELECT seq FROM (
            SELECT seq FROM outbox WHERE ordered_by IS NULL AND claimed_until <= (SELECT now_ms FROM clock)
            ORDER BY seq LIMIT $3
        ) AS free
        UNION ALL
        SELECT o.seq FROM firsts f JOIN outbox o ON o.seq = f.seq WHERE o.claimed_until <= (SELECT now_ms FROM clock)
    ) AS due ORDER BY seq LIMIT $3
) AND claimed_until <= (SELECT now_ms FROM clock)
RETURNING seq, id, subject, headers, payload, ordered_by";

/// Takes up to `limit` rows that nobody has claimed, or whose relay has died; oldest first.
pub(crate) async fn take(tx: &mut Tx, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    let mut rows: Vec<(i64, Written)> = on_tx!(tx, connection => sqlx::query_as(TAKE)
        .bind(owner)
        .bind(millis(RELAY_LEASE))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await)?
    .into_iter()
    .map(|(seq, id, subject, headers, payload, ordered_by)| {
        (seq, (id, subject, headers, payload, ordered_by))
    })
    .collect();
    // RETURNING promises no order.
    rows.sort_unstable_by_key(|row| row.0);
    rows.into_iter().map(|(_, row)| read(row)).collect()
}

/// Id, subject, headers, payload and ordering key, as they are in a table.
pub(super) type Written = (String, String, String, Vec<u8>, Option<String>);

pub(super) fn read((id, subject, headers, payload, ordered_by): Written) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        id,
        subject,
        headers: serde_json::from_str(&headers).map_err(json)?,
        payload: payload.into(),
        ordered_by,
        due: None,
    })
}

#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
}

fn named(ids: &[String]) -> Result<String, StoreError> {
    as_rows("outbox", &ids.iter().map(|id| Named { id }).collect::<Vec<_>>())
}

const DELETE: &str = "DELETE FROM outbox WHERE id IN (SELECT value ->> 'id' FROM json_each($1))";

/// Forgets rows that the broker has confirmed.
pub(crate) async fn delete(tx: &mut Tx, ids: &[String]) -> Result<(), StoreError> {
    if !ids.is_empty() {
        execute!(tx, DELETE, named(ids)?)?;
    }
    Ok(())
}

const SET_ASIDE: &str = "\
UPDATE outbox SET owner = '', claimed_until = (SELECT now_ms FROM clock) + $2
WHERE id IN (SELECT value ->> 'id' FROM json_each($1))";

/// Leaves rows that the broker refuses for later, so that they hold up no other: they are nobody's, and anybody's after
/// `wait`.
pub(crate) async fn set_aside(tx: &mut Tx, ids: &[String], wait: Duration) -> Result<(), StoreError> {
    if !ids.is_empty() {
        execute!(tx, SET_ASIDE, named(ids)?, millis(wait))?;
    }
    Ok(())
}

/// Both by index, whatever the payloads weigh.
const BACKLOG: &str = "\
SELECT COUNT(*),
    COALESCE((SELECT now_ms FROM clock) - (SELECT created FROM outbox ORDER BY seq LIMIT 1), 0),
    (SELECT COUNT(*) FROM (SELECT 1 FROM outbox WHERE claimed_until <= (SELECT now_ms FROM clock) LIMIT 1) AS free)
FROM outbox";

/// How many rows wait to be confirmed, and for how long the oldest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Rows.
    pub rows: i64,
    /// The age of the oldest.
    pub oldest: Duration,
    /// Whether there are rows that no relay has claimed.
    pub unclaimed: bool,
}

/// The outbox as it stands.
///
/// # Errors
/// When the database refuses.
pub async fn backlog(tx: &mut Tx) -> Result<Backlog, StoreError> {
    let (rows, oldest, unclaimed): (i64, i64, i64) =
        on_tx!(tx, connection => sqlx::query_as(BACKLOG).fetch_one(connection).await)?;
    Ok(Backlog {
        rows,
        oldest: Duration::from_millis(u64::try_from(oldest).unwrap_or(0)),
        unclaimed: unclaimed > 0,
    })
}

fn json(source: JsonError) -> StoreError {
    StoreError::Json {
        table: "outbox",
        column: "headers",
        source,
    }
}
