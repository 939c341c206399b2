//! Table `paused_handlers`: which handlers rest, until when, and who said so. A row counts in every process.

use std::time::Duration;

use super::deliveries::millis;
use super::{StoreError, Tx};
use crate::{execute, on_tx};

/// A handler at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Its id.
    pub handler: String,
    /// For so much longer; `None`: until it is resumed.
    pub remaining: Option<Duration>,
    /// Who paused it: a person, or the handler itself.
    pub by: String,
    /// Why.
    pub because: String,
}

/// A longer rest wins; what a person has paused until further notice stays so.
const PAUSE: &str = "\
INSERT INTO paused_handlers AS p (handler, until, paused_by, because, since)
VALUES ($1, (SELECT now_ms FROM clock) + $2, $3, $4, (SELECT now_ms FROM clock))
ON CONFLICT (handler) DO UPDATE SET
    until = excluded.until, paused_by = excluded.paused_by, because = excluded.because, since = excluded.since
WHERE p.until IS NOT NULL AND (excluded.until IS NULL OR excluded.until > p.until)";

/// Pauses `handler` for this long, or, if `None`, until it is resumed.
///
/// # Errors
/// When the database refuses.
pub async fn pause(
    tx: &mut Tx,
    handler: &str,
    rest: Option<Duration>,
    by: &str,
    because: &str,
) -> Result<(), StoreError> {
    let because = because.replace('\0', "\u{fffd}");
    execute!(tx, PAUSE, handler, rest.map(millis), by, because)?;
    Ok(())
}

const RESUME: &str = "DELETE FROM paused_handlers WHERE handler = $1";

/// Lets `handler` go on; false if it was not paused.
///
/// # Errors
/// When the database refuses.
pub async fn resume(tx: &mut Tx, handler: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, RESUME, handler)? > 0)
}

const LIST: &str = "\
SELECT handler, until - (SELECT now_ms FROM clock), paused_by, because FROM paused_handlers
WHERE until IS NULL OR until > (SELECT now_ms FROM clock) ORDER BY handler";

/// Every handler at rest.
///
/// # Errors
/// When the database refuses.
pub async fn list(tx: &mut Tx) -> Result<Vec<Paused>, StoreError> {
    let rows: Vec<(String, Option<i64>, String, String)> =
        on_tx!(tx, connection => sqlx::query_as(LIST).fetch_all(connection).await)?;
    let paused = rows.into_iter().map(|(handler, left, by, because)| Paused {
        handler,
        remaining: left.map(|left| Duration::from_millis(u64::try_from(left).unwrap_or(0))),
        by,
        because,
    });
    Ok(paused.collect())
}

const PURGE: &str = "DELETE FROM paused_handlers WHERE until <= (SELECT now_ms FROM clock)";

/// Forgets the rests that are over.
pub(crate) async fn purge(tx: &mut Tx) -> Result<u64, StoreError> {
    Ok(execute!(tx, PURGE)?)
}
