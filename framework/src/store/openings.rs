//! Table `openings`: messages that are being read, of those that were delivered before.
//!
//! A row is there from before the reading until the claim. One that is still there has lost its process in between.

use serde::Serialize;

use super::rows::as_rows;
use super::{StoreError, Tx};
use crate::{execute, on_tx};

/// A message as a handler finds it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Opening {
    /// The handler's id.
    pub(crate) handler: String,
    /// Where it is in its stream.
    pub(crate) place: String,
}

/// How long a process counts as alive without a word. Less than the broker waits before it delivers again.
const LEASE_MS: i64 = 3_000;

const BEGIN: &str = "\
INSERT INTO openings AS o (handler, place, owner, deaths, until)
VALUES ($1, $2, $3, 0, (SELECT now_ms FROM clock) + $4)
ON CONFLICT (handler, place) DO UPDATE SET
    deaths = CASE WHEN o.owner = excluded.owner THEN o.deaths ELSE o.deaths + 1 END,
    owner = excluded.owner,
    until = excluded.until
WHERE o.owner = excluded.owner OR o.until <= (SELECT now_ms FROM clock)
RETURNING deaths";

/// It is about to be read. Gives how many processes have died of that; `None` while another one is at it.
pub(super) async fn begin(tx: &mut Tx, opening: &Opening) -> Result<Option<i64>, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    Ok(on_tx!(tx, connection => sqlx::query_scalar(BEGIN)
        .bind(&opening.handler)
        .bind(&opening.place)
        .bind(owner)
        .bind(LEASE_MS)
        .fetch_optional(connection)
        .await)?)
}

const RENEW: &str = "\
UPDATE openings SET until = (SELECT now_ms FROM clock) + $2
WHERE owner = $3
  AND (handler, place) IN (SELECT value ->> 'handler', value ->> 'place' FROM json_each($1))";

/// This process lives, and has not claimed them yet.
pub(super) async fn renew(tx: &mut Tx, openings: &[&Opening]) -> Result<(), StoreError> {
    if !openings.is_empty() {
        let owner = tx.owner().as_str().to_owned();
        execute!(tx, RENEW, as_rows("openings", openings)?, LEASE_MS, owner)?;
    }
    Ok(())
}

const END: &str = "\
DELETE FROM openings
WHERE (handler, place) IN (SELECT value ->> 'handler', value ->> 'place' FROM json_each($1))";

/// They have been read.
pub(super) async fn end(tx: &mut Tx, openings: &[&Opening]) -> Result<(), StoreError> {
    if !openings.is_empty() {
        execute!(tx, END, as_rows("openings", openings)?)?;
    }
    Ok(())
}

/// What was begun thirty days ago has left its stream since.
const PURGE: &str = "\
DELETE FROM openings WHERE until <= (SELECT now_ms FROM clock) - 2592000000";

/// Forgets what nobody will read any more.
pub(crate) async fn purge(tx: &mut Tx) -> Result<u64, StoreError> {
    Ok(execute!(tx, PURGE)?)
}
