//! Table `deliveries`: the fenced ledger. The SQL row, not the broker's ack, decides who may do a piece of work.
//!
//! `claimed → done | retry_at | dead`, with `effect` while something outside SQL is under way and `unknown` when its
//! verdict was lost. Every write after the claim matches the fence; a write that matches nothing has lost its lease.

mod claim;
mod settle;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{StoreError, Tx};
use crate::key::Key;
use crate::{execute, on_tx};

pub(crate) use claim::{Ask, claim};
pub(crate) use settle::{Settlement, begin_effect, renew, settle, survived};

/// The right to settle one delivery: void as soon as somebody else claims the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The handler's id.
    pub scope: String,
    /// The idempotency key.
    pub key: Key,
    /// The number that every later write must match.
    pub fence: i64,
}

/// A failed attempt, as kept in `history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Counted from 1.
    pub attempt: i64,
    /// RFC 3339, UTC.
    pub at: String,
    /// The error's class, such as its enum variant.
    pub class: String,
    /// The error with its causes.
    pub error: String,
    /// What it logged; see [`attempt_log`](crate::attempt_log).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// What a claim found.
#[derive(Debug)]
pub enum Claim {
    /// The work is ours.
    Granted(Granted),
    /// It was done before, with this result.
    Done {
        /// JSON, if the handler gave one.
        result: Option<String>,
    },
    /// It is dead already: its letter is in `dead_letters`.
    Dead,
    /// Somebody has it, or its retry is not due: ask again after this.
    Later(Duration),
    /// The key belongs to another payload.
    KeyReused,
}

/// A claim that was granted.
#[derive(Debug)]
pub struct Granted {
    /// What later writes need.
    pub lease: Lease,
    /// This attempt included.
    pub attempts: i64,
    /// How often the lease ran out with the work unsettled, and its process was not heard of again.
    pub crashes: i64,
    /// An effect that an earlier attempt began and left without a verdict.
    pub unresolved_effect: Option<String>,
    /// The failures so far.
    pub history: Vec<FailedAttempt>,
}

/// Whether an effect outside SQL may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It did not happen, or none began.
    None,
    /// It began, and nobody knows how it ended.
    Unknown,
}

/// The fence is raised, so that no earlier delivery can settle what is being replayed.
const REVIVE: &str = "\
UPDATE deliveries SET state = 'retry_at', retry_at = (SELECT now_ms FROM clock), fence = fence + 1,
    attempts = 0, crashes = 0, effect_id = NULL, history = '[]', updated = (SELECT now_ms FROM clock)
WHERE scope = $1 AND key = $2 AND state = 'dead'";

/// Makes a dead row claimable again, for a replay.
pub(crate) async fn revive(tx: &mut Tx, scope: &str, key: &str) -> Result<(), StoreError> {
    execute!(tx, REVIVE, scope, key)?;
    Ok(())
}

const ADOPT: &str = "\
UPDATE deliveries SET scope = $1 WHERE scope = $2 AND key = $3
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE scope = $1 AND key = $3)";

/// Makes the row that the handler had under the name `alias` its own. A process that still works under that name finds
/// its lease lost.
pub(crate) async fn adopt(tx: &mut Tx, scope: &str, alias: &str, key: &Key) -> Result<(), StoreError> {
    execute!(tx, ADOPT, scope, alias, key.as_str())?;
    Ok(())
}

/// Bounded, so that a purge never holds the writer for long.
const PURGE: &str = "\
DELETE FROM deliveries WHERE (scope, key) IN (
    SELECT scope, key FROM deliveries
    WHERE expires_at <= (SELECT now_ms FROM clock) AND state IN ('done', 'discarded', 'dead')
    ORDER BY expires_at LIMIT 500)";

/// Forgets some settled rows that have expired; gives their number.
pub(crate) async fn purge(tx: &mut Tx) -> Result<u64, StoreError> {
    Ok(execute!(tx, PURGE)?)
}

const TALLY: &str = "\
SELECT scope, state, COUNT(*) AS deliveries,
    CAST(SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END) AS BIGINT) AS retries,
    CAST(SUM(duplicates) AS BIGINT) AS duplicates
FROM deliveries GROUP BY scope, state ORDER BY scope, state";

/// The ledger in numbers: how many deliveries of a handler are in a state.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Tally {
    /// The handler's id.
    pub scope: String,
    /// As in the table.
    pub state: String,
    /// Rows.
    pub deliveries: i64,
    /// Attempts beyond the first of each.
    pub retries: i64,
    /// Copies that came after their work was settled.
    pub duplicates: i64,
}

/// Every handler's deliveries, counted by state.
///
/// # Errors
/// When the database refuses.
pub async fn tally(tx: &mut Tx) -> Result<Vec<Tally>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(TALLY).fetch_all(connection).await)?)
}

fn read_history(json: &str) -> Result<Vec<FailedAttempt>, StoreError> {
    serde_json::from_str(json).map_err(|source| StoreError::Json {
        table: "deliveries",
        column: "history",
        source,
    })
}

pub(crate) fn write_history(history: &[FailedAttempt]) -> Result<String, StoreError> {
    serde_json::to_string(history).map_err(|source| StoreError::Json {
        table: "deliveries",
        column: "history",
        source,
    })
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Each statement that runs for every delivery, or over a table that grows.
#[cfg(test)]
pub(super) fn statements_for_plans() -> impl Iterator<Item = (&'static str, usize)> {
    claim::STATEMENTS
        .into_iter()
        .chain(settle::STATEMENTS)
        .chain([(PURGE, 0)])
}
