//! Many rows as one parameter: a JSON array, which `json_each` makes rows of again, on either database.

use serde::Serialize;

use super::StoreError;

/// `rows` as the parameter of a statement over table `table`.
pub(super) fn as_rows<R: Serialize>(table: &'static str, rows: &[R]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|source| StoreError::Json {
        table,
        column: "of many",
        source,
    })
}
