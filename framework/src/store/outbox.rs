//! Table `outbox`: what a committed transaction has decided to publish and the broker has not confirmed yet.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::error::Error as JsonError;
use uuid::Uuid;

use super::deliveries::millis;
use super::rows::as_rows;
use super::{StoreError, Tx};
use crate::headers::{self, Headers};
use crate::message::Message;
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

    /// A row with a new id.
    pub(crate) fn new(subject: impl Into<String>, headers: Headers, payload: impl Into<Bytes>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            subject: subject.into(),
            headers,
            payload: payload.into(),
        }
    }
}

/// A relay that has died leaves its rows to the others after this.
pub(crate) const RELAY_LEASE: Duration = Duration::from_secs(5);

/// The payloads are bytes, of which JSON makes none, so they come as one parameter of their own, and each row says where
/// its part of it is.
const PUSH: &str = "\
INSERT INTO outbox (id, subject, headers, payload, owner, claimed_until, created)
SELECT value ->> 'id', value ->> 'subject', value ->> 'headers',
    substr($2, CAST(value ->> 'start' AS INTEGER), CAST(value ->> 'length' AS INTEGER)), $3,
    CASE WHEN value ->> 'claimed' = 'yes' THEN (SELECT now_ms FROM clock) + $4 ELSE 0 END, (SELECT now_ms FROM clock)
FROM json_each($1) ORDER BY key";

#[derive(Serialize)]
struct PushRow<'a> {
    id: &'a str,
    subject: &'a str,
    headers: String,
    /// Counted from 1, as SQL does.
    start: usize,
    length: usize,
    claimed: &'static str,
}

/// Writes the rows in their order; those that are `claimed` belong to this process's relay for [`RELAY_LEASE`].
pub(super) async fn push(tx: &mut Tx, rows: &[(&OutboxRow, bool)]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut payloads = Vec::with_capacity(rows.iter().map(|(row, _)| row.payload.len()).sum::<usize>() + 1);
    let mut many = Vec::with_capacity(rows.len());
    for (row, claimed) in rows {
        many.push(PushRow {
            id: &row.id,
            subject: &row.subject,
            headers: serde_json::to_string(&row.headers).map_err(json)?,
            start: payloads.len() + 1,
            length: row.payload.len(),
            claimed: if *claimed { "yes" } else { "no" },
        });
        payloads.extend_from_slice(&row.payload);
    }
    // Never empty: of no bytes at all, SQLite's substr makes NULL.
    payloads.push(0);
    let owner = tx.owner().as_str().to_owned();
    execute!(
        tx,
        PUSH,
        as_rows("outbox", &many)?,
        payloads,
        owner,
        millis(RELAY_LEASE)
    )?;
    Ok(())
}

/// The outer condition is repeated for Postgres: it is what a second relay, having waited for the first one's row lock,
/// checks again.
const TAKE: &str = "\
UPDATE outbox SET owner = $1, claimed_until = (SELECT now_ms FROM clock) + $2
WHERE seq IN (SELECT seq FROM outbox WHERE claimed_until <= (SELECT now_ms FROM clock) ORDER BY seq LIMIT $3)
  AND claimed_until <= (SELECT now_ms FROM clock)
RETURNING seq, id, subject, headers, payload";

/// Takes up to `limit` rows that nobody has claimed, or whose relay has died; oldest first.
pub(crate) async fn take(tx: &mut Tx, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    let mut rows: Vec<(i64, String, String, String, Vec<u8>)> = on_tx!(tx, connection => sqlx::query_as(TAKE)
        .bind(owner)
        .bind(millis(RELAY_LEASE))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await)?;
    // RETURNING promises no order.
    rows.sort_unstable_by_key(|row| row.0);
    rows.into_iter()
        .map(|(_, id, subject, headers, payload)| {
            let headers = serde_json::from_str(&headers).map_err(json)?;
            Ok(OutboxRow {
                id,
                subject,
                headers,
                payload: payload.into(),
            })
        })
        .collect()
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
