//! Table `deliveries`, asked whether a piece of work is over.

use super::{StoreError, Tx};
use crate::key::Key;
use crate::on_tx;

const SETTLED: &str =
    "SELECT 1 FROM deliveries WHERE scope = $1 AND key = $2 AND state IN ('done', 'discarded', 'dead')";

/// Whether the work is done, discarded or dead.
pub(crate) async fn is_settled(tx: &mut Tx, scope: &str, key: &Key) -> Result<bool, StoreError> {
    let found: Option<i32> = on_tx!(tx, connection => sqlx::query_scalar(SETTLED)
        .bind(scope)
        .bind(key.as_str())
        .fetch_optional(connection)
        .await)?;
    Ok(found.is_some())
}
