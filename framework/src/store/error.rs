//! What can go wrong with the database, said so that a person knows what to do.

use std::path::PathBuf;

use crate::terms::TermsError;

/// A failure of the SQL side.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database that postroom can use.
    #[error(
        "DATABASE_URL is `{url}`: postroom keeps its ledger in SQLite or Postgres; \
         give `sqlite:postroom-data/postroom.db` or `postgres://user@host/database`"
    )]
    Url {
        /// The URL without its credentials.
        url: String,
    },
    /// The folder of the SQLite file can't be made or written.
    #[error(
        "the database folder {path} can't be written: {source}; \
         give another path in DATABASE_URL or make it writable",
        path = path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The server did not answer, or refused us, at start.
    #[error(
        "the database `{url}` can't be opened: {source}; check that it runs and that DATABASE_URL names it rightly"
    )]
    Open {
        /// The URL without its credentials.
        url: String,
        /// Why not.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("the database refused a statement: {0}")]
    Sql(#[from] sqlx::Error),
    /// A statement that was written together with others failed with them.
    #[error(transparent)]
    Group(#[from] std::sync::Arc<StoreError>),
    /// The database does not answer; what was asked of it may have happened.
    #[error("the database did not answer within {0:?}")]
    TooSlow(std::time::Duration),
    /// This process has closed its connections.
    #[error("the database connections of this process are closed")]
    Closed,
    /// A stored JSON column does not hold what was written to it.
    #[error("column {column} of {table} holds JSON that can't be read: {source}")]
    Json {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A message could not be written as JSON.
    #[error("the message {id} can't be written as JSON: {source}")]
    Encode {
        /// The message's wire id.
        id: &'static str,
        /// What the serializer said.
        source: serde_json::Error,
    },
    /// A message is larger than any broker at its defaults takes.
    #[error("the message {id} has {size} bytes of payload; at most {limit} can be published")]
    TooLarge {
        /// The message's wire id.
        id: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message is to be published on terms that can't be kept.
    #[error("the message {id} can't be published so: {source}")]
    Terms {
        /// The message's wire id.
        id: &'static str,
        /// Which of them, and what would be right.
        source: TermsError,
    },
}

#[cfg(feature = "testing")]
impl StoreError {
    /// What the test kit has a database say that goes away in the middle of a statement.
    pub(crate) fn refusal() -> Self {
        Self::Sql(sqlx::Error::WorkerCrashed)
    }
}
