//! Table `outbox`: what a committed transaction has decided to publish and the broker has not confirmed yet.

use std::time::Duration;

use serde_json::error::Error as JsonError;
use uuid::Uuid;

use super::deliveries::millis;
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
    pub payload: Vec<u8>,
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
    pub(crate) fn new(subject: impl Into<String>, headers: Headers, payload: Vec<u8>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            subject: subject.into(),
            headers,
            payload,
        }
    }
}

/// A relay that has died leaves its rows to the others after this.
pub(crate) const RELAY_LEASE: Duration = Duration::from_secs(5);

const PUSH: &str = "\
INSERT INTO outbox (id, subject, headers, payload, owner, claimed_until, created)
VALUES ($1, $2, $3, $4, $5, (SELECT now_ms FROM clock) + $6, (SELECT now_ms FROM clock))";

pub(super) async fn push(tx: &mut Tx, row: &OutboxRow) -> Result<(), StoreError> {
    let headers = serde_json::to_string(&row.headers).map_err(json)?;
    let owner = tx.owner().as_str().to_owned();
    execute!(
        tx,
        PUSH,
        &row.id,
        &row.subject,
        headers,
        &row.payload,
        owner,
        millis(RELAY_LEASE)
    )?;
    Ok(())
}

/// Ours, or left by a relay that died. The outer condition is repeated for Postgres: it is what a second relay, having
/// waited for the first one's row lock, checks again.
const TAKE: &str = "\
UPDATE outbox SET owner = $1, claimed_until = (SELECT now_ms FROM clock) + $2
WHERE seq IN (
    SELECT seq FROM outbox WHERE owner = $1 OR claimed_until <= (SELECT now_ms FROM clock) ORDER BY seq LIMIT $3)
  AND (owner = $1 OR claimed_until <= (SELECT now_ms FROM clock))
RETURNING seq, id, subject, headers, payload";

/// Takes up to `limit` rows to publish, oldest first.
pub(crate) async fn take(tx: &mut Tx, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    let mut rows: Vec<(i64, String, String, String, Vec<u8>)> = on_tx!(tx, connection => sqlx::query_as(TAKE)
        .bind(owner)
        .bind(millis(RELAY_LEASE))
        .bind(limit)
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
                payload,
            })
        })
        .collect()
}

const DELETE: &str = "DELETE FROM outbox WHERE id = $1";

/// Forgets a row that the broker has confirmed.
pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    execute!(tx, DELETE, id)?;
    Ok(())
}

const SET_ASIDE: &str =
    "UPDATE outbox SET owner = '', claimed_until = (SELECT now_ms FROM clock) + $2 WHERE id = $1";

/// Leaves a row that the broker refuses for later, so that it holds up no other: it is nobody's, and anybody's after `wait`.
pub(crate) async fn set_aside(tx: &mut Tx, id: &str, wait: Duration) -> Result<(), StoreError> {
    execute!(tx, SET_ASIDE, id, millis(wait))?;
    Ok(())
}

const BACKLOG: &str = "\
SELECT COUNT(*), COALESCE((SELECT now_ms FROM clock) - MIN(created), 0) FROM outbox";

/// How many rows wait to be confirmed, and for how long the oldest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Rows.
    pub rows: i64,
    /// The age of the oldest.
    pub oldest: Duration,
}

/// The outbox as it stands.
///
/// # Errors
/// When the database refuses.
pub async fn backlog(tx: &mut Tx) -> Result<Backlog, StoreError> {
    let (rows, oldest): (i64, i64) =
        on_tx!(tx, connection => sqlx::query_as(BACKLOG).fetch_one(connection).await)?;
    Ok(Backlog {
        rows,
        oldest: Duration::from_millis(u64::try_from(oldest).unwrap_or(0)),
    })
}

fn json(source: JsonError) -> StoreError {
    StoreError::Json {
        table: "outbox",
        column: "headers",
        source,
    }
}
