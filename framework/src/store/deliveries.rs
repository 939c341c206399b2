//! Table `deliveries`: the fenced ledger. The SQL row, not the broker's ack, decides who may do a piece of work.
//!
//! `claimed → done | retry_at | dead`, with `effect` while something outside SQL is under way and `unknown` when its
//! verdict was lost. Every write after the claim matches the fence; a write that matches nothing has lost its lease.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{StoreError, Tx};
use crate::key::Key;
use crate::{execute, on_tx};

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
    /// How often the lease ran out with the work unsettled.
    pub crashes: i64,
    /// An effect that an earlier attempt began and left without a verdict.
    pub unresolved_effect: Option<String>,
    /// The failures so far.
    pub history: Vec<FailedAttempt>,
}

/// Why a row may be claimed: new; due for a retry; its lease ran out; or settled so long ago that it is forgotten.
/// `excluded.updated` is the database's time of this statement.
const CLAIM: &str = "\
INSERT INTO deliveries AS d
    (scope, key, state, fence, owner, lease_until, attempts, crashes, fingerprint, history, first_seen, updated, expires_at)
VALUES ($1, $2, 'claimed', 1, $3, (SELECT now_ms FROM clock) + $4, 1, 0, $5, '[]',
    (SELECT now_ms FROM clock), (SELECT now_ms FROM clock), (SELECT now_ms FROM clock) + $6)
ON CONFLICT (scope, key) DO UPDATE SET
    state = 'claimed',
    fence = d.fence + 1,
    owner = excluded.owner,
    lease_until = excluded.lease_until,
    retry_at = NULL,
    attempts = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN 1 ELSE d.attempts + 1 END,
    crashes = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN 0
                   WHEN d.state IN ('claimed', 'effect') THEN d.crashes + 1 ELSE d.crashes END,
    history = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN '[]' ELSE d.history END,
    effect_id = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN NULL ELSE d.effect_id END,
    fingerprint = excluded.fingerprint,
    updated = excluded.updated,
    expires_at = excluded.expires_at
WHERE (d.state IN ('retry_at', 'unknown') AND d.retry_at <= excluded.updated AND d.fingerprint = excluded.fingerprint)
   OR (d.state IN ('claimed', 'effect') AND d.lease_until <= excluded.updated AND d.fingerprint = excluded.fingerprint)
   OR (d.state IN ('done', 'discarded', 'dead') AND d.expires_at <= excluded.updated)
RETURNING fence, attempts, crashes, effect_id, history";

const PEEK: &str = "\
SELECT state, fingerprint, result,
    CASE WHEN state IN ('retry_at', 'unknown') THEN retry_at ELSE lease_until END - (SELECT now_ms FROM clock) AS wait_ms
FROM deliveries WHERE scope = $1 AND key = $2";

const COUNT_DUPLICATE: &str =
    "UPDATE deliveries SET duplicates = duplicates + 1 WHERE scope = $1 AND key = $2";

/// Claims the work for this process, or says why not.
pub(crate) async fn claim(
    tx: &mut Tx,
    scope: &str,
    key: &Key,
    fingerprint: &str,
    lease: Duration,
    ttl: Duration,
) -> Result<Claim, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    let granted: Option<(i64, i64, i64, Option<String>, String)> = on_tx!(tx, connection => sqlx::query_as(CLAIM)
        .bind(scope)
        .bind(key.as_str())
        .bind(&owner)
        .bind(millis(lease))
        .bind(fingerprint)
        .bind(millis(ttl))
        .fetch_optional(connection)
        .await)?;
    match granted {
        Some((fence, attempts, crashes, unresolved_effect, history)) => Ok(Claim::Granted(Granted {
            lease: Lease {
                scope: scope.to_owned(),
                key: key.clone(),
                fence,
            },
            attempts,
            crashes,
            unresolved_effect,
            history: read_history(&history)?,
        })),
        None => refused(tx, scope, key, fingerprint).await,
    }
}

async fn refused(tx: &mut Tx, scope: &str, key: &Key, fingerprint: &str) -> Result<Claim, StoreError> {
    let row: Option<(String, String, Option<String>, i64)> = on_tx!(tx, connection => sqlx::query_as(PEEK)
        .bind(scope)
        .bind(key.as_str())
        .fetch_optional(connection)
        .await)?;
    Ok(match row {
        // Purged between the two statements: the next delivery claims it.
        None => Claim::Later(Duration::ZERO),
        Some((_, theirs, _, _)) if theirs != fingerprint => Claim::KeyReused,
        Some((state, _, result, wait_ms)) => match state.as_str() {
            "done" | "discarded" => {
                execute!(tx, COUNT_DUPLICATE, scope, key.as_str())?;
                Claim::Done { result }
            }
            "dead" => Claim::Dead,
            _ => Claim::Later(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))),
        },
    })
}

const RENEW: &str = "\
UPDATE deliveries SET lease_until = (SELECT now_ms FROM clock) + $4
WHERE scope = $1 AND key = $2 AND fence = $3 AND state IN ('claimed', 'effect')";

/// Prolongs the lease; false when it was lost.
pub(crate) async fn renew(tx: &mut Tx, lease: &Lease, by: Duration) -> Result<bool, StoreError> {
    let done = execute!(
        tx,
        RENEW,
        &lease.scope,
        lease.key.as_str(),
        lease.fence,
        millis(by)
    )?;
    Ok(done == 1)
}

/// What becomes of a claimed row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Settlement<'a> {
    /// It is done, with this result.
    Done { result: Option<&'a str> },
    /// It is dead; the letter goes into `dead_letters` in the same transaction.
    Dead,
    /// It is nobody's business any more; nothing came of it, on purpose.
    Discarded,
    /// It is to be tried again after this, with this history. An unresolved effect stays on record.
    Retry {
        after: Duration,
        history: &'a [FailedAttempt],
        effect: Effect,
    },
    /// It was put back without having failed: the attempt is not counted.
    Released { after: Duration, effect: Effect },
}

/// Whether an effect outside SQL may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It did not happen, or none began.
    None,
    /// It began, and nobody knows how it ended.
    Unknown,
}

const SETTLE: &str = "\
UPDATE deliveries SET
    state = $4,
    retry_at = (SELECT now_ms FROM clock) + $5,
    attempts = attempts - $6,
    history = COALESCE($7, history),
    result = $8,
    effect_id = CASE WHEN $9 THEN effect_id ELSE NULL END,
    updated = (SELECT now_ms FROM clock)
WHERE scope = $1 AND key = $2 AND fence = $3 AND state IN ('claimed', 'effect')";

/// Writes the settlement; false when the lease was lost and nothing was written.
pub(crate) async fn settle(
    tx: &mut Tx,
    lease: &Lease,
    settlement: Settlement<'_>,
) -> Result<bool, StoreError> {
    let columns = Columns::of(settlement)?;
    let done = execute!(
        tx,
        SETTLE,
        &lease.scope,
        lease.key.as_str(),
        lease.fence,
        columns.state,
        columns.retry_after_ms,
        columns.refund,
        columns.history,
        columns.result,
        columns.keep_effect
    )?;
    Ok(done == 1)
}

struct Columns<'a> {
    state: &'static str,
    retry_after_ms: Option<i64>,
    refund: i64,
    history: Option<String>,
    result: Option<&'a str>,
    keep_effect: bool,
}

impl<'a> Columns<'a> {
    fn of(settlement: Settlement<'a>) -> Result<Self, StoreError> {
        let plain = |state| Self {
            state,
            retry_after_ms: None,
            refund: 0,
            history: None,
            result: None,
            keep_effect: false,
        };
        Ok(match settlement {
            Settlement::Done { result } => Self {
                result,
                ..plain("done")
            },
            Settlement::Dead => Self {
                keep_effect: true,
                ..plain("dead")
            },
            Settlement::Discarded => plain("discarded"),
            Settlement::Retry {
                after,
                history,
                effect,
            } => Self {
                retry_after_ms: Some(millis(after)),
                history: Some(write_history(history)?),
                keep_effect: effect == Effect::Unknown,
                ..plain(if effect == Effect::Unknown {
                    "unknown"
                } else {
                    "retry_at"
                })
            },
            Settlement::Released { after, effect } => Self {
                retry_after_ms: Some(millis(after)),
                refund: 1,
                keep_effect: effect == Effect::Unknown,
                ..plain(if effect == Effect::Unknown {
                    "unknown"
                } else {
                    "retry_at"
                })
            },
        })
    }
}

const BEGIN_EFFECT: &str = "\
UPDATE deliveries SET state = 'effect', effect_id = $4, updated = (SELECT now_ms FROM clock)
WHERE scope = $1 AND key = $2 AND fence = $3 AND state IN ('claimed', 'effect')";

/// Records that an effect outside SQL begins; false when the lease was lost.
pub(crate) async fn begin_effect(tx: &mut Tx, lease: &Lease, effect_id: &str) -> Result<bool, StoreError> {
    let done = execute!(
        tx,
        BEGIN_EFFECT,
        &lease.scope,
        lease.key.as_str(),
        lease.fence,
        effect_id
    )?;
    Ok(done == 1)
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
