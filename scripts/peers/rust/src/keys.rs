//! What a user of an at-least-once queue writes to have each job's work done once: a table of keys, asked by every job before
//! it does anything. Its row commits by itself, as these queues give no job a share in the commit that completes it.

use std::str::FromStr;
use std::sync::OnceLock;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use crate::Failed;

static KEYS: OnceLock<Keys> = OnceLock::new();

/// PostgreSQL lets commits of different connections share a sync; more than these are no faster.
const CONNECTIONS: u32 = 48;
const TABLE: &str = "CREATE TABLE handled_keys (handler TEXT, key TEXT, PRIMARY KEY (handler, key))";
const TAKE: &str = "INSERT INTO handled_keys (handler, key) VALUES ('bench', $1) ON CONFLICT DO NOTHING";

#[derive(Debug)]
enum Keys {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// From now on, every job asks.
pub async fn ask_for_each_job(url: &str) -> Result<(), Failed> {
    let keys = if url.starts_with("sqlite:") {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Keys::Sqlite(pool)
    } else {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(url)
            .await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Keys::Postgres(pool)
    };
    KEYS.set(keys).map_err(|_| "asked twice".into())
}

/// Whether the job is to be done: nobody has had its key.
pub async fn is_new(number: u64) -> bool {
    let key = number.to_string();
    let taken = match KEYS.get() {
        None => return true,
        Some(Keys::Postgres(pool)) => sqlx::query(TAKE)
            .bind(key)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()),
        Some(Keys::Sqlite(pool)) => sqlx::query(TAKE)
            .bind(key)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()),
    };
    // A failure is a job that is not counted, and so a measurement that does not end well.
    taken.is_ok_and(|rows| rows == 1)
}
