//! Table `handlers`: those that have started on this database, for people who look for one by name.

use super::{StoreError, Tx};
use crate::{execute, on_tx};

/// A handler that has started on this database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// The subject that it takes messages of.
    pub subject: String,
    /// When a process with it started last, in milliseconds since 1970, by the database's clock.
    pub started: i64,
}

const REGISTER: &str = "\
INSERT INTO handlers (id, subject, started) VALUES ($1, $2, (SELECT now_ms FROM clock))
ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, started = excluded.started";

/// A process with this handler starts.
pub(crate) async fn register(tx: &mut Tx, id: &str, subject: &str) -> Result<(), StoreError> {
    execute!(tx, REGISTER, id, subject)?;
    Ok(())
}

const FORGET: &str = "DELETE FROM handlers WHERE id = $1";

/// Nobody is called that any more.
pub(crate) async fn forget(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    execute!(tx, FORGET, id)?;
    Ok(())
}

const LIST: &str = "SELECT id, subject, started FROM handlers ORDER BY id";

/// Every handler that has started on this database.
///
/// # Errors
/// When the database refuses.
pub async fn list(tx: &mut Tx) -> Result<Vec<Known>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(LIST).fetch_all(connection).await)?)
}
