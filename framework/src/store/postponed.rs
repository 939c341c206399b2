//! Table `postponed`: messages that are to be published at a time of their own.
//!
//! They are kept apart from the outbox, which is empty most of the time and looked at by every relay: here are perhaps a
//! million reminders, of which a few are due. When one is, it moves to the outbox under the id that it has always had.

use std::time::{Duration, SystemTime};

use sqlx::FromRow;

use super::outbox::{OutboxRow, Written, packed, read};
use super::{Store, StoreError, Tx};
use crate::message::Message;
use crate::terms::Terms;
use crate::{execute, on_tx};

const PUSH: &str = "\
INSERT INTO postponed (id, due, subject, headers, payload, ordered_by, created)
SELECT value ->> 'id',
    COALESCE(CAST(value ->> 'at' AS BIGINT), (SELECT now_ms FROM clock) + CAST(value ->> 'after' AS BIGINT)),
    value ->> 'subject', value ->> 'headers',
    substr($2, CAST(value ->> 'start' AS INTEGER), CAST(value ->> 'length' AS INTEGER)), value ->> 'ordered_by',
    (SELECT now_ms FROM clock)
FROM json_each($1) ORDER BY key";

/// Writes rows that have a time.
pub(super) async fn push(tx: &mut Tx, rows: &[&OutboxRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = rows.iter().map(|row| (*row, false)).collect();
    let (many, payloads) = packed(&rows)?;
    execute!(tx, PUSH, many, payloads)?;
    Ok(())
}

/// Of two that do this at once, the second waits for the first one's row locks, and then finds the rows gone.
const TAKE_DUE: &str = "\
DELETE FROM postponed WHERE seq IN (
    SELECT seq FROM postponed WHERE due <= (SELECT now_ms FROM clock) ORDER BY due, seq LIMIT $1)
RETURNING due, seq, id, subject, headers, payload, ordered_by";

/// Moves up to `limit` rows whose time has come into the outbox, by the order of their times; gives their number.
pub(crate) async fn move_due(tx: &mut Tx, limit: u32) -> Result<usize, StoreError> {
    type Row = (i64, i64, String, String, String, Vec<u8>, Option<String>);
    let mut rows: Vec<Row> = on_tx!(tx, connection => sqlx::query_as(TAKE_DUE)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?;
    // RETURNING promises no order.
    rows.sort_unstable_by_key(|row| (row.0, row.1));
    let written = |row: Row| -> Written { (row.2, row.3, row.4, row.5, row.6) };
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| read(written(row)))
        .collect::<Result<_, _>>()?;
    // No ordering key is held: what becomes due is in no order with what is being committed, and must not wait for it.
    tx.push_due(&rows.iter().collect::<Vec<_>>()).await?;
    Ok(rows.len())
}

const NEXT: &str = "SELECT MIN(due) - (SELECT now_ms FROM clock) FROM postponed";

/// How long until the next row is due; `None` when there is none.
pub(crate) async fn next(tx: &mut Tx) -> Result<Option<Duration>, StoreError> {
    let left: Option<i64> = on_tx!(tx, connection => sqlx::query_scalar(NEXT).fetch_one(connection).await)?;
    Ok(left.map(|left| Duration::from_millis(u64::try_from(left).unwrap_or(0))))
}

/// A message that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct Postponed {
    /// The order in which they were written.
    pub seq: i64,
    /// Becomes `Nats-Msg-Id`.
    pub id: String,
    /// When: milliseconds since 1970, by the database's clock.
    pub due: i64,
    /// Where to.
    pub subject: String,
    /// JSON object of arrays.
    pub headers: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Its ordering key.
    pub ordered_by: Option<String>,
    /// When it was written: milliseconds since 1970.
    pub created: i64,
}

const LIST: &str = "\
SELECT seq, id, due, subject, headers, payload, ordered_by, created FROM postponed
WHERE (due > $1 OR (due = $1 AND seq > $2)) AND ($3 IS NULL OR subject = $3) ORDER BY due, seq LIMIT $4";

/// What waits, by the order of its times: on `subject`, or on any, at most `limit`, after one of the list (`None`: from
/// the first).
///
/// # Errors
/// When the database refuses.
pub async fn list(
    tx: &mut Tx,
    subject: Option<&str>,
    after: Option<&Postponed>,
    limit: u32,
) -> Result<Vec<Postponed>, StoreError> {
    let (due, seq) = after.map_or((i64::MIN, i64::MIN), |row| (row.due, row.seq));
    Ok(on_tx!(tx, connection => sqlx::query_as(LIST)
        .bind(due)
        .bind(seq)
        .bind(subject)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?)
}

const CANCEL: &str = "DELETE FROM postponed WHERE id = $1";

/// Takes a message back whose time has not come; false if there is none with that id, since it has moved to the outbox, was
/// cancelled before, or never was.
///
/// # Errors
/// When the database refuses.
pub async fn cancel(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let id = id.replace('\0', "\u{fffd}");
    Ok(execute!(tx, CANCEL, id)? > 0)
}

/// Outside of any transaction of yours, as a service or a program without handlers publishes.
impl Store {
    /// Publishes `message` not before `time`, by the database's clock, whichever process with an [`App`](crate::App) on
    /// this database is there then. Gives the id by which it can be [cancelled](Self::cancel).
    ///
    /// # Errors
    /// When it can't be encoded, is too large or too far ahead, or the database refuses.
    pub async fn publish_at<M: Message>(&self, time: SystemTime, message: &M) -> Result<String, StoreError> {
        self.publish_on(&Terms::default().at(time), message).await
    }

    /// The same, so long after now.
    ///
    /// # Errors
    /// As [`publish_at`](Self::publish_at).
    pub async fn publish_after<M: Message>(
        &self,
        delay: Duration,
        message: &M,
    ) -> Result<String, StoreError> {
        self.publish_on(&Terms::default().after(delay), message).await
    }

    /// Publishes `message` on these terms; gives its id.
    ///
    /// # Errors
    /// When it can't be encoded, is too large, the terms can't be kept, or the database refuses.
    pub async fn publish_on<M: Message>(&self, terms: &Terms, message: &M) -> Result<String, StoreError> {
        let mut tx = self.begin().await?;
        let id = tx.publish_on(terms, message).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Takes a message back whose time has not come; false if it is too late, or there is none with that id.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn cancel(&self, id: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let cancelled = cancel(&mut tx, id).await?;
        tx.commit().await?;
        Ok(cancelled)
    }
}
