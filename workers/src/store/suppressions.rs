//! Table `suppressions`: the addresses that are not written to any more.

use postroom::{StoreError, Tx, execute, on_tx};

/// An address that is not written to, and why.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Suppression {
    /// In lower case.
    pub address: String,
    /// As in the table.
    pub cause: String,
    /// The mail system's words, or a person's.
    pub detail: String,
    /// The report, the send, or the person that it comes from.
    pub source: String,
    /// Epoch milliseconds.
    pub created: i64,
}

/// The first reason stays.
const ADD: &str = "\
INSERT INTO suppressions (address, cause, detail, source, created)
VALUES ($1, $2, $3, $4, (SELECT now_ms FROM clock)) ON CONFLICT (address) DO NOTHING";

/// Adds an address; false when it was on the list already.
///
/// # Errors
/// When the database refuses.
pub async fn add(
    tx: &mut Tx,
    address: &str,
    cause: &str,
    detail: &str,
    source: &str,
) -> Result<bool, StoreError> {
    Ok(execute!(tx, ADD, address.to_lowercase(), cause, detail, source)? == 1)
}

const FIND: &str = "SELECT address, cause, detail, source, created FROM suppressions WHERE address = $1";

/// Why the address is not written to, if it is not.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, address: &str) -> Result<Option<Suppression>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(FIND)
        .bind(address.to_lowercase())
        .fetch_optional(connection)
        .await)?)
}

const REMOVE: &str = "DELETE FROM suppressions WHERE address = $1";

/// Takes an address off the list; false when it was not on it.
///
/// # Errors
/// When the database refuses.
pub async fn remove(tx: &mut Tx, address: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, REMOVE, address.to_lowercase())? == 1)
}

const LIST: &str = "\
SELECT address, cause, detail, source, created FROM suppressions
WHERE address > $1 ORDER BY address LIMIT $2";

/// Addresses in order, after `after`.
///
/// # Errors
/// When the database refuses.
pub async fn list(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<Suppression>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(LIST)
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await)?)
}
