//! Claiming work, many pieces at a time.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::{Claim, Granted, Lease, millis, read_history};
use crate::key::Key;
use crate::store::rows::as_rows;
use crate::store::{StoreError, Tx};
use crate::{execute, on_tx};

/// What somebody wants to claim.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// The handler's id.
    pub(crate) scope: String,
    pub(crate) key: Key,
    pub(crate) fingerprint: String,
    /// How long the claim holds without being renewed.
    pub(crate) lease: Duration,
    /// How long the row is remembered.
    pub(crate) ttl: Duration,
}

#[derive(Serialize)]
struct AskRow<'a> {
    scope: &'a str,
    key: &'a str,
    fingerprint: &'a str,
    lease: i64,
    ttl: i64,
}

/// Why a row may be claimed: new; due for a retry; its lease ran out; or settled so long ago that it is forgotten. A
/// process that let its own lease run out has not crashed: it claims again.
/// `excluded.updated` is the database's time of this statement. In the order of the keys, so that two processes lock the
/// rows that both want in the same order.
const CLAIM: &str = "\
INSERT INTO deliveries AS d
    (scope, key, state, fence, owner, lease_until, attempts, crashes, fingerprint, history, first_seen, updated, expires_at)
SELECT value ->> 'scope', value ->> 'key', 'claimed', 1, $2,
    (SELECT now_ms FROM clock) + CAST(value ->> 'lease' AS BIGINT), 1, 0, value ->> 'fingerprint', '[]',
    (SELECT now_ms FROM clock), (SELECT now_ms FROM clock),
    (SELECT now_ms FROM clock) + CAST(value ->> 'ttl' AS BIGINT)
FROM json_each($1) WHERE true ORDER BY 1, 2
ON CONFLICT (scope, key) DO UPDATE SET
    state = 'claimed',
    fence = d.fence + 1,
    owner = excluded.owner,
    lease_until = excluded.lease_until,
    retry_at = NULL,
    attempts = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN 1 ELSE d.attempts + 1 END,
    crashes = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN 0
                   WHEN d.state IN ('claimed', 'effect') AND d.owner <> excluded.owner THEN d.crashes + 1
                   ELSE d.crashes END,
    history = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN '[]' ELSE d.history END,
    effect_id = CASE WHEN d.state IN ('done', 'discarded', 'dead') THEN NULL ELSE d.effect_id END,
    fingerprint = excluded.fingerprint,
    updated = excluded.updated,
    expires_at = excluded.expires_at
WHERE (d.state IN ('retry_at', 'unknown') AND d.retry_at <= excluded.updated AND d.fingerprint = excluded.fingerprint)
   OR (d.state IN ('claimed', 'effect') AND d.lease_until <= excluded.updated AND d.fingerprint = excluded.fingerprint)
   OR (d.state IN ('done', 'discarded', 'dead') AND d.expires_at <= excluded.updated)
RETURNING scope, key, fence, attempts, crashes, effect_id, history";

#[derive(sqlx::FromRow)]
struct GrantedRow {
    scope: String,
    key: String,
    fence: i64,
    attempts: i64,
    crashes: i64,
    effect_id: Option<String>,
    history: String,
}

const PEEK: &str = "\
SELECT d.scope, d.key, d.state, d.fingerprint, d.result,
    CASE WHEN d.state IN ('retry_at', 'unknown') THEN d.retry_at ELSE d.lease_until END
        - (SELECT now_ms FROM clock) AS wait_ms
FROM json_each($1) AS asked
JOIN deliveries AS d ON d.scope = asked.value ->> 'scope' AND d.key = asked.value ->> 'key'";

const COUNT_DUPLICATES: &str = "\
UPDATE deliveries SET duplicates = duplicates + 1
WHERE (scope, key) IN (SELECT value ->> 'scope', value ->> 'key' FROM json_each($1))";

/// Claims each piece of work for this process, or says why not, in the order asked. No two may be for one row.
pub(crate) async fn claim(tx: &mut Tx, asks: &[&Ask]) -> Result<Vec<Claim>, StoreError> {
    if asks.is_empty() {
        return Ok(Vec::new());
    }
    let owner = tx.owner().as_str().to_owned();
    let many = as_rows(
        "deliveries",
        &asks.iter().map(|ask| AskRow::of(ask)).collect::<Vec<_>>(),
    )?;
    let granted: Vec<GrantedRow> =
        on_tx!(tx, connection => sqlx::query_as(CLAIM).bind(many).bind(owner).fetch_all(connection).await)?;
    let mut found = HashMap::with_capacity(asks.len());
    for row in granted {
        let claim = Claim::Granted(Granted {
            lease: Lease {
                scope: row.scope.clone(),
                key: Key::stored(row.key.clone()),
                fence: row.fence,
            },
            attempts: row.attempts,
            crashes: row.crashes,
            unresolved_effect: row.effect_id,
            history: read_history(&row.history)?,
        });
        found.insert((row.scope, row.key), claim);
    }
    let refused: Vec<_> = asks
        .iter()
        .copied()
        .filter(|ask| !found.contains_key(&ask.row()))
        .collect();
    peek(tx, &refused, &mut found).await?;
    // Purged between the two statements: the next delivery claims it.
    let claim = |ask: &&Ask| found.remove(&ask.row()).unwrap_or(Claim::Later(Duration::ZERO));
    Ok(asks.iter().map(claim).collect())
}

/// Why those were refused.
async fn peek(
    tx: &mut Tx,
    refused: &[&Ask],
    found: &mut HashMap<(String, String), Claim>,
) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    let many = as_rows(
        "deliveries",
        &refused.iter().map(|ask| AskRow::of(ask)).collect::<Vec<_>>(),
    )?;
    let rows: Vec<(String, String, String, String, Option<String>, i64)> =
        on_tx!(tx, connection => sqlx::query_as(PEEK).bind(many).fetch_all(connection).await)?;
    let asked: HashMap<_, _> = refused.iter().map(|ask| (ask.row(), *ask)).collect();
    let mut duplicates = Vec::new();
    for (scope, key, state, theirs, result, wait_ms) in rows {
        let row = (scope, key);
        let Some(ask) = asked.get(&row) else { continue };
        let claim = match state.as_str() {
            _ if theirs != ask.fingerprint => Claim::KeyReused,
            "done" | "discarded" => {
                duplicates.push(AskRow::of(ask));
                Claim::Done { result }
            }
            "dead" => Claim::Dead,
            _ => Claim::Later(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))),
        };
        found.insert(row, claim);
    }
    if !duplicates.is_empty() {
        execute!(tx, COUNT_DUPLICATES, as_rows("deliveries", &duplicates)?)?;
    }
    Ok(())
}

impl Ask {
    fn row(&self) -> (String, String) {
        (self.scope.clone(), self.key.as_str().to_owned())
    }
}

impl<'a> AskRow<'a> {
    fn of(ask: &'a Ask) -> Self {
        Self {
            scope: &ask.scope,
            key: ask.key.as_str(),
            fingerprint: &ask.fingerprint,
            lease: millis(ask.lease),
            ttl: millis(ask.ttl),
        }
    }
}

/// Those that touch the table, with the number of their parameters.
#[cfg(test)]
pub(super) const STATEMENTS: [(&str, usize); 3] = [(CLAIM, 2), (PEEK, 1), (COUNT_DUPLICATES, 1)];
