//! From a database URL to a migrated pool.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, SqlitePool};

use super::{Pool, StoreError};

static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// Another process may hold SQLite's write lock for one transaction at a time; this outlasts a long queue of them.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a caller waits for a connection before it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// Readers beside SQLite's one writer.
const SQLITE_READERS: u32 = 4;
/// Enough for the default concurrency of a few handlers, below Postgres's own default of 100 for several processes.
const POSTGRES_CONNECTIONS: u32 = 16;
/// One writes at a time; the others are for when nothing comes through to it any more.
const POSTGRES_GROUP_CONNECTIONS: u32 = 4;

/// Plans follow the tables as they grow: a plan kept from when the ledger was empty reads all of it. And a server that
/// probes an idle connection finds within half a minute that we are gone, and lets go of our locks.
const POSTGRES_SESSION: &str = "\
SET plan_cache_mode = force_custom_plan;
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";
/// The group's few statements find each row by index, so their plans can be kept. A row that somebody has locked fails its
/// transaction, and then only itself, rather than have all wait. A plan that must not scan counts as immensely dear, and
/// dear plans are compiled by LLVM, for longer than a lease lasts: no JIT.
const POSTGRES_GROUP_SESSION: &str = "\
SET plan_cache_mode = force_generic_plan; SET lock_timeout = 500; SET jit = off;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

pub(super) async fn pool(url: &str) -> Result<Pool, StoreError> {
    if url.starts_with("sqlite:") {
        sqlite(url).await
    } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        postgres(url).await
    } else {
        Err(StoreError::Url { url: redacted(url) })
    }
}

async fn sqlite(url: &str) -> Result<Pool, StoreError> {
    let open = |source| StoreError::Open {
        url: redacted(url),
        source,
    };
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    let options = SqliteConnectOptions::from_str(url)
        .map_err(open)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    if !in_memory {
        make_folder(options.get_filename())?;
    }
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options.clone())
        .await
        .map_err(open)?;
    migrate_sqlite(&write).await?;
    // An in-memory database lives in its one connection.
    let read = if in_memory {
        write.clone()
    } else {
        SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(open)?
    };
    Ok(Pool::Sqlite { write, read })
}

/// Differs because sqlx's own lock around migrations is none on SQLite: of two processes that start on one fresh file, both
/// would make the tables. One transaction around all of them makes the second wait, and find them made.
async fn migrate_sqlite(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    SQLITE.run_direct(None, &mut *tx, false).await?;
    Ok(tx.commit().await?)
}

async fn postgres(url: &str) -> Result<Pool, StoreError> {
    let open = |source| StoreError::Open {
        url: redacted(url),
        source,
    };
    let options = PgConnectOptions::from_str(url).map_err(open)?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(drop) })
        })
        .connect_with(options.clone())
        .await
        .map_err(open)?;
    POSTGRES.run(&pool).await?;
    let group = PgPoolOptions::new()
        .max_connections(POSTGRES_GROUP_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute(POSTGRES_SESSION).await?;
                connection.execute(POSTGRES_GROUP_SESSION).await.map(drop)
            })
        })
        .connect_with(options)
        .await
        .map_err(open)?;
    Ok(Pool::Postgres { pool, group })
}

fn make_folder(file: &Path) -> Result<(), StoreError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let failed = |source| StoreError::Folder {
        path: folder.clone(),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // Opened here rather than left to SQLite, whose "unable to open database file" names no cause.
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .map_err(failed)?;
    Ok(())
}

/// The URL with user and password cut out, fit for a log.
pub(crate) fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}***{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_cut_out_of_urls() {
        let check = |url, shown: &str| assert_eq!(redacted(url), shown);
        check(
            "postgres://ann:s3cret@db.example:5432/mail",
            "postgres://***@db.example:5432/mail",
        );
        check("postgres://ann:p@ss@db/mail", "postgres://***@db/mail");
        check(
            "sqlite:postroom-data/postroom.db",
            "sqlite:postroom-data/postroom.db",
        );
        check("postgres://db/mail", "postgres://db/mail");
    }

    #[tokio::test]
    async fn a_url_of_no_known_database_says_what_to_give() {
        let error = pool("mysql://root:pw@db/mail")
            .await
            .err()
            .expect("mysql is refused")
            .to_string();
        assert!(
            error.contains("SQLite or Postgres") && !error.contains("pw"),
            "{error}"
        );
    }
}
