//! The SQL side: one store, two databases, one text for every query.
//!
//! Every statement is Postgres-style text that SQLite takes too; [`on_tx!`](crate::on_tx) expands the same code for both,
//! natively typed. What truly differs stands in the two migration folders. SQLite has one writer: write transactions
//! queue for one connection, so nobody ever sees "database is locked".

#[cfg(test)]
mod conformance;
pub mod dead_letters;
pub mod deliveries;
mod error;
mod group;
pub mod handlers;
mod handoff;
pub mod leases;
#[cfg(test)]
mod model;
mod open;
pub(crate) mod openings;
pub mod outbox;
pub mod pauses;
pub mod postponed;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod rehearsal;
mod rows;
pub(crate) mod schedules;
pub(crate) mod settled;
mod tx;

use std::fmt;
use std::sync::Arc;

use sqlx::{PgPool, SqlitePool};
use uuid::Uuid;

pub use error::StoreError;
use group::Group;
pub(crate) use group::{Beat, Claiming, Ending, LIMIT, Outgoing, Replayed};
pub(crate) use handoff::{Fresh, Handoff};
pub(crate) use open::redacted;
pub use tx::{Connection, Tx};

/// The ledger, the outbox, the dead letters and the workers' own tables, in SQLite or Postgres.
///
/// A handle: clones share the pools, the [`Owner`] and what is passed to the relay.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    owner: Owner,
    handoff: Arc<Handoff>,
    group: Option<Group>,
}

#[derive(Clone)]
enum Pool {
    Sqlite {
        write: SqlitePool,
        read: SqlitePool,
    },
    /// The group has connections of its own: it waits for no handler that keeps one.
    Postgres {
        pool: PgPool,
        group: PgPool,
    },
}

/// One process in the eyes of the database: leases and outbox rows are taken in its name. New at every start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    fn new() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// The text kept in `owner` columns.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Opens the database that `url` names and brings its schema up to date.
    ///
    /// `sqlite:PATH` (a file, made if missing), `sqlite::memory:`, or `postgres://…`.
    ///
    /// # Errors
    /// When the URL is neither, or the database can't be reached, written or migrated.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let pool = open::pool(url).await?;
        let (owner, handoff) = (Owner::new(), Arc::default());
        Ok(Group::start(|group| Self {
            pool,
            owner,
            handoff,
            group: Some(group),
        }))
    }

    /// Begins a transaction that may write. On SQLite it waits for its turn: hold it briefly.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let connection = match &self.pool {
            Pool::Sqlite { write, .. } => Connection::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Pool::Postgres { pool, .. } => Connection::Postgres(pool.begin().await?),
        };
        Ok(Tx::new(connection, self.owner.clone(), Arc::clone(&self.handoff)))
    }

    /// Begins a transaction that only reads; it never waits for writers.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        let connection = match &self.pool {
            Pool::Sqlite { read, .. } => Connection::Sqlite(read.begin().await?),
            Pool::Postgres { pool, .. } => Connection::Postgres(pool.begin().await?),
        };
        Ok(Tx::new(connection, self.owner.clone(), Arc::clone(&self.handoff)))
    }

    /// Begins a transaction of the group.
    async fn begin_group(&self) -> Result<Tx, StoreError> {
        match &self.pool {
            Pool::Sqlite { .. } => self.begin().await,
            Pool::Postgres { group, .. } => {
                let connection = Connection::Postgres(group.begin().await?);
                Ok(Tx::new(connection, self.owner.clone(), Arc::clone(&self.handoff)))
            }
        }
    }

    /// The same database without the group: for the group itself.
    fn ungrouped(&self) -> Self {
        Self {
            group: None,
            ..self.clone()
        }
    }

    /// The process that this handle writes as.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What commits of this process pass to its relay.
    pub(crate) fn handoff(&self) -> &Handoff {
        &self.handoff
    }

    /// How many transactions of this process have left something in the outbox.
    pub(crate) fn outbox_commits(&self) -> u64 {
        self.handoff.commits()
    }

    /// Closes the connections, letting running transactions finish.
    pub async fn close(&self) {
        if let Some(group) = &self.group {
            group.close().await;
        }
        match &self.pool {
            Pool::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Pool::Postgres { pool, group } => {
                group.close().await;
                pool.close().await;
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.pool {
            Pool::Sqlite { .. } => "sqlite",
            Pool::Postgres { .. } => "postgres",
        };
        f.debug_struct("Store")
            .field("database", &kind)
            .field("owner", &self.owner)
            .finish()
    }
}
