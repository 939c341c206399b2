//! Table `leases`: for what one process at a time may do, such as watching a mailbox. Fenced like deliveries.

use std::time::Duration;

use super::deliveries::millis;
use super::{StoreError, Tx};
use crate::{execute, on_tx};

const TAKE: &str = "\
INSERT INTO leases AS l (name, owner, fence, lease_until) VALUES ($1, $2, 1, (SELECT now_ms FROM clock) + $3)
ON CONFLICT (name) DO UPDATE SET
    owner = excluded.owner,
    lease_until = excluded.lease_until,
    fence = CASE WHEN l.owner = excluded.owner THEN l.fence ELSE l.fence + 1 END
WHERE l.owner = excluded.owner OR l.lease_until <= (SELECT now_ms FROM clock)
RETURNING fence";

/// Takes or prolongs the lease `name` for this process; gives its fence, or `None` while another process has it.
///
/// # Errors
/// When the database refuses.
pub async fn take(tx: &mut Tx, name: &str, lease: Duration) -> Result<Option<i64>, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    Ok(on_tx!(tx, connection => sqlx::query_scalar(TAKE)
        .bind(name)
        .bind(owner)
        .bind(millis(lease))
        .fetch_optional(connection)
        .await)?)
}

const HOLDS: &str = "\
UPDATE leases SET owner = owner
WHERE name = $1 AND owner = $2 AND fence = $3 AND lease_until > (SELECT now_ms FROM clock)";

/// Whether this process still has the lease with that fence. Asked inside the transaction whose writes depend on it, it
/// locks the row, so nobody can take the lease before that transaction ends.
///
/// # Errors
/// When the database refuses.
pub async fn holds(tx: &mut Tx, name: &str, fence: i64) -> Result<bool, StoreError> {
    let owner = tx.owner().as_str().to_owned();
    let rows = execute!(tx, HOLDS, name, owner, fence)?;
    Ok(rows == 1)
}

const RELEASE: &str = "UPDATE leases SET lease_until = 0 WHERE name = $1 AND owner = $2 AND fence = $3";

/// Gives the lease up, so that the next process need not wait for its end.
///
/// # Errors
/// When the database refuses.
pub async fn release(tx: &mut Tx, name: &str, fence: i64) -> Result<(), StoreError> {
    let owner = tx.owner().as_str().to_owned();
    execute!(tx, RELEASE, name, owner, fence)?;
    Ok(())
}
