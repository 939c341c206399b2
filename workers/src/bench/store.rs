//! The benchmark's own statements: how durable the database says it is, and the removal of what a run left there.

use postroom::store::Connection;
use postroom::{Store, StoreError, execute};

use super::parcel::HANDLER;

const FORGET: &str = "DELETE FROM deliveries WHERE scope = $1";

/// Forgets the deliveries of this and of earlier runs.
pub(super) async fn forget(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    execute!(tx, FORGET, HANDLER)?;
    tx.commit().await
}

/// The database's own word on what a commit waits for, in its terms.
pub(super) async fn durability(store: &Store) -> Result<String, StoreError> {
    let mut tx = store.read().await?;
    let told = match tx.connection() {
        Connection::Sqlite(transaction) => {
            let ask = |pragma| sqlx::query_scalar::<_, String>(pragma);
            let version = ask("SELECT sqlite_version()")
                .fetch_one(&mut **transaction)
                .await?;
            let journal = ask("PRAGMA journal_mode").fetch_one(&mut **transaction).await?;
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
                .fetch_one(&mut **transaction)
                .await?;
            let synchronous = match synchronous {
                0 => "OFF",
                1 => "NORMAL",
                2 => "FULL",
                _ => "EXTRA",
            };
            format!("SQLite {version}, journal_mode={journal}, synchronous={synchronous}")
        }
        Connection::Postgres(transaction) => {
            let mut settings = Vec::new();
            for (name, show) in [
                ("PostgreSQL ", "SHOW server_version"),
                ("fsync=", "SHOW fsync"),
                ("synchronous_commit=", "SHOW synchronous_commit"),
                ("full_page_writes=", "SHOW full_page_writes"),
            ] {
                let value: String = sqlx::query_scalar(show).fetch_one(&mut **transaction).await?;
                settings.push(format!("{name}{value}"));
            }
            settings.join(", ")
        }
    };
    tx.rollback().await?;
    Ok(told)
}
