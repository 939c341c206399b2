//! Table `schedules`: up to when each schedule has fired. Of many processes, the one that raises it fires.

use jiff::Timestamp;

use super::{StoreError, Tx};
use crate::{execute, on_tx};

/// What is new counts from now on, and so does what has changed: fires of the old expression are not made up for by the
/// new one. Never back in time, so that no fire can come twice.
const REGISTER: &str = "\
INSERT INTO schedules AS s (id, expression, zone, last_fire, fires)
VALUES ($1, $2, $3, (SELECT now_ms FROM clock), 0)
ON CONFLICT (id) DO UPDATE SET expression = excluded.expression, zone = excluded.zone,
    last_fire = CASE WHEN s.last_fire > excluded.last_fire THEN s.last_fire ELSE excluded.last_fire END
WHERE s.expression <> excluded.expression OR s.zone <> excluded.zone
RETURNING id";

/// Makes the schedule known as this process has it; true when it is new or has changed.
pub(crate) async fn register(
    tx: &mut Tx,
    id: &str,
    expression: &str,
    zone: &str,
) -> Result<bool, StoreError> {
    let written: Option<String> = on_tx!(tx, connection => sqlx::query_scalar(REGISTER)
        .bind(id)
        .bind(expression)
        .bind(zone)
        .fetch_optional(connection)
        .await)?;
    Ok(written.is_some())
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whatever was planned up to then has fired, or was given up.
    pub(crate) last_fire: Timestamp,
    /// Now, by the database's clock.
    pub(crate) now: Timestamp,
}

const STANDING: &str = "\
SELECT last_fire, (SELECT now_ms FROM clock) FROM schedules WHERE id = $1 AND expression = $2 AND zone = $3";

/// Where the schedule stands; `None` when another process has changed it since this one made it known.
pub(crate) async fn standing(
    tx: &mut Tx,
    id: &str,
    expression: &str,
    zone: &str,
) -> Result<Option<Standing>, StoreError> {
    let row: Option<(i64, i64)> = on_tx!(tx, connection => sqlx::query_as(STANDING)
        .bind(id)
        .bind(expression)
        .bind(zone)
        .fetch_optional(connection)
        .await)?;
    // Milliseconds of our own writing; the clamp is for hands in the table.
    let time = |ms| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    Ok(row.map(|(last_fire, now)| Standing {
        last_fire: time(last_fire),
        now: time(now),
    }))
}

const ADVANCE: &str = "\
UPDATE schedules SET last_fire = $5, fires = fires + $6
WHERE id = $1 AND expression = $2 AND zone = $3 AND last_fire = $4";

/// Settles everything that was planned after `from` and up to `to`, with so many messages; false when another process did so before, or has
/// changed the schedule.
pub(crate) async fn advance(
    tx: &mut Tx,
    id: &str,
    (expression, zone): (&str, &str),
    (from, to): (Timestamp, Timestamp),
    messages: usize,
) -> Result<bool, StoreError> {
    let done = execute!(
        tx,
        ADVANCE,
        id,
        expression,
        zone,
        from.as_millisecond(),
        to.as_millisecond(),
        i64::try_from(messages).unwrap_or(i64::MAX)
    )?;
    Ok(done == 1)
}
