//! Writing down what becomes of claimed work, many pieces at a time. Whatever matches no row has lost its lease.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use super::{Effect, FailedAttempt, Lease, millis, write_history};
use crate::store::rows::as_rows;
use crate::store::{StoreError, Tx};
use crate::{execute, on_tx};

/// What becomes of a claimed row.
#[derive(Debug, Clone)]
pub(crate) enum Settlement {
    /// It is done, with this result.
    Done { result: Option<String> },
    /// It is dead; the letter goes into `dead_letters` in the same transaction.
    Dead,
    /// It is nobody's business any more; nothing came of it, on purpose.
    Discarded,
    /// It is to be tried again after this, with this history. An unresolved effect stays on record.
    Retry {
        after: Duration,
        history: Vec<FailedAttempt>,
        effect: Effect,
    },
    /// It was put back without having failed: the attempt is not counted.
    Released { after: Duration, effect: Effect },
}

#[derive(Serialize)]
struct LeaseRow<'a> {
    scope: &'a str,
    key: &'a str,
    fence: i64,
}

impl<'a> LeaseRow<'a> {
    fn of(lease: &'a Lease) -> Self {
        Self {
            scope: &lease.scope,
            key: lease.key.as_str(),
            fence: lease.fence,
        }
    }
}

const RENEW: &str = "\
UPDATE deliveries SET lease_until = (SELECT now_ms FROM clock) + $2
FROM (SELECT value ->> 'scope' AS its_scope, value ->> 'key' AS its_key,
          CAST(value ->> 'fence' AS BIGINT) AS its_fence FROM json_each($1)) AS its
WHERE scope = its_scope AND key = its_key AND fence = its_fence AND state IN ('claimed', 'effect')
RETURNING scope, key, fence";

/// Prolongs the leases, by one statement; false for each that was lost.
pub(crate) async fn renew(tx: &mut Tx, leases: &[&Lease], by: Duration) -> Result<Vec<bool>, StoreError> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let many = as_rows(
        "deliveries",
        &leases.iter().map(|lease| LeaseRow::of(lease)).collect::<Vec<_>>(),
    )?;
    let rows: Vec<(String, String, i64)> = on_tx!(tx, connection => sqlx::query_as(RENEW)
        .bind(many)
        .bind(millis(by))
        .fetch_all(connection)
        .await)?;
    Ok(held(leases, rows))
}

/// Where nobody else has claimed the row yet, it is due at once; where somebody has, the crash that was counted was none.
const SURVIVED: &str = "\
UPDATE deliveries SET
    state = CASE WHEN fence <> its_fence THEN state WHEN state = 'effect' THEN 'unknown' ELSE 'retry_at' END,
    retry_at = CASE WHEN fence = its_fence THEN (SELECT now_ms FROM clock) ELSE retry_at END,
    crashes = CASE WHEN fence = its_fence THEN crashes ELSE crashes - 1 END
FROM (SELECT value ->> 'scope' AS its_scope, value ->> 'key' AS its_key,
          CAST(value ->> 'fence' AS BIGINT) AS its_fence FROM json_each($1)) AS its
WHERE scope = its_scope AND key = its_key
  AND ((fence = its_fence AND state IN ('claimed', 'effect'))
    OR (fence = its_fence + 1 AND owner <> CAST($2 AS TEXT) AND crashes > 0))";

/// The deliveries of these leases have ended in this process, which lives, without a word in the ledger: the database was
/// away, or somebody else had the row by then. Their attempts are spent, and nobody has crashed.
pub(crate) async fn survived(tx: &mut Tx, leases: &[&Lease]) -> Result<(), StoreError> {
    if leases.is_empty() {
        return Ok(());
    }
    let owner = tx.owner().as_str().to_owned();
    let many = as_rows(
        "deliveries",
        &leases.iter().map(|lease| LeaseRow::of(lease)).collect::<Vec<_>>(),
    )?;
    execute!(tx, SURVIVED, many, owner)?;
    Ok(())
}

#[derive(Serialize)]
struct EffectRow<'a> {
    #[serde(flatten)]
    lease: LeaseRow<'a>,
    effect: &'a str,
}

const BEGIN_EFFECT: &str = "\
UPDATE deliveries SET state = 'effect', effect_id = its_effect, updated = (SELECT now_ms FROM clock)
FROM (SELECT value ->> 'scope' AS its_scope, value ->> 'key' AS its_key,
          CAST(value ->> 'fence' AS BIGINT) AS its_fence, value ->> 'effect' AS its_effect FROM json_each($1)) AS its
WHERE scope = its_scope AND key = its_key AND fence = its_fence AND state IN ('claimed', 'effect')
RETURNING scope, key, fence";

/// Records that effects outside SQL begin; false for each whose lease was lost. No two may be for one row.
pub(crate) async fn begin_effect(tx: &mut Tx, effects: &[(&Lease, &str)]) -> Result<Vec<bool>, StoreError> {
    if effects.is_empty() {
        return Ok(Vec::new());
    }
    let mut many = Vec::with_capacity(effects.len());
    for (lease, effect) in effects {
        let lease = LeaseRow::of(lease);
        many.push(EffectRow { lease, effect });
    }
    let many = as_rows("deliveries", &many)?;
    let rows: Vec<(String, String, i64)> =
        on_tx!(tx, connection => sqlx::query_as(BEGIN_EFFECT).bind(many).fetch_all(connection).await)?;
    let leases: Vec<_> = effects.iter().map(|(lease, _)| *lease).collect();
    Ok(held(&leases, rows))
}

const SETTLE: &str = "\
UPDATE deliveries SET
    state = its_state,
    retry_at = (SELECT now_ms FROM clock) + its_wait,
    attempts = attempts - its_refund,
    history = COALESCE(its_history, history),
    result = its_result,
    effect_id = CASE WHEN its_effect = 'kept' THEN effect_id ELSE NULL END,
    updated = (SELECT now_ms FROM clock)
FROM (SELECT value ->> 'scope' AS its_scope, value ->> 'key' AS its_key,
          CAST(value ->> 'fence' AS BIGINT) AS its_fence, value ->> 'state' AS its_state,
          CAST(value ->> 'wait' AS BIGINT) AS its_wait, CAST(value ->> 'refund' AS BIGINT) AS its_refund,
          value ->> 'history' AS its_history, value ->> 'result' AS its_result,
          value ->> 'effect' AS its_effect FROM json_each($1)) AS its
WHERE scope = its_scope AND key = its_key AND fence = its_fence AND state IN ('claimed', 'effect')
RETURNING scope, key, fence";

/// Writes the settlements; false for each whose lease was lost, of which nothing was written. No two may be for one row.
pub(crate) async fn settle(
    tx: &mut Tx,
    settlements: &[(&Lease, &Settlement)],
) -> Result<Vec<bool>, StoreError> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let mut many = Vec::with_capacity(settlements.len());
    for (lease, settlement) in settlements {
        many.push(SettlementRow::of(lease, settlement)?);
    }
    let many = as_rows("deliveries", &many)?;
    let rows: Vec<(String, String, i64)> =
        on_tx!(tx, connection => sqlx::query_as(SETTLE).bind(many).fetch_all(connection).await)?;
    let leases: Vec<_> = settlements.iter().map(|(lease, _)| *lease).collect();
    Ok(held(&leases, rows))
}

fn held(leases: &[&Lease], rows: Vec<(String, String, i64)>) -> Vec<bool> {
    let rows: HashSet<_> = rows.into_iter().collect();
    let held =
        |lease: &&Lease| rows.contains(&(lease.scope.clone(), lease.key.as_str().to_owned(), lease.fence));
    leases.iter().map(held).collect()
}

#[derive(Serialize)]
struct SettlementRow<'a> {
    #[serde(flatten)]
    lease: LeaseRow<'a>,
    state: &'static str,
    wait: Option<i64>,
    refund: i64,
    history: Option<String>,
    result: Option<&'a str>,
    effect: &'static str,
}

impl<'a> SettlementRow<'a> {
    fn of(lease: &'a Lease, settlement: &'a Settlement) -> Result<Self, StoreError> {
        let plain = |state| Self {
            lease: LeaseRow::of(lease),
            state,
            wait: None,
            refund: 0,
            history: None,
            result: None,
            effect: "over",
        };
        let due = |after: Duration, effect| match effect {
            Effect::Unknown => Self {
                wait: Some(millis(after)),
                effect: "kept",
                ..plain("unknown")
            },
            Effect::None => Self {
                wait: Some(millis(after)),
                ..plain("retry_at")
            },
        };
        Ok(match settlement {
            Settlement::Done { result } => Self {
                result: result.as_deref(),
                ..plain("done")
            },
            Settlement::Dead => Self {
                effect: "kept",
                ..plain("dead")
            },
            Settlement::Discarded => plain("discarded"),
            Settlement::Retry {
                after,
                history,
                effect,
            } => Self {
                history: Some(write_history(history)?),
                ..due(*after, *effect)
            },
            Settlement::Released { after, effect } => Self {
                refund: 1,
                ..due(*after, *effect)
            },
        })
    }
}

/// Those that touch the table, with the number of their parameters.
#[cfg(test)]
pub(super) const STATEMENTS: [(&str, usize); 4] = [(RENEW, 2), (SURVIVED, 2), (BEGIN_EFFECT, 1), (SETTLE, 1)];
