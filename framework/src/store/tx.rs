//! A transaction on either database.

use std::fmt;
use std::sync::Arc;

use sqlx::{Postgres, Sqlite, Transaction};

use super::dead_letters::{self, Burial, Letter};
use super::group::in_time;
use super::handoff::{Fresh, Handoff};
use super::outbox::{self, OutboxRow};
use super::postponed;
use super::{Owner, StoreError};
use crate::message::Message;
use crate::terms::Terms;

/// A transaction of the [`Store`](super::Store): what is published and dead-lettered in it happens with the rest of it,
/// or not at all. Dropped without [`commit`](Tx::commit), it rolls back.
pub struct Tx {
    pub(crate) connection: Connection,
    owner: Owner,
    handoff: Arc<Handoff>,
    /// Outbox rows for this process's relay.
    fresh: Vec<Fresh>,
    /// Outbox rows were written for any relay.
    left: bool,
    /// Rows were written that are due later.
    later: bool,
}

/// The sqlx transaction inside a [`Tx`], for statements of your own; see [`on_tx!`](crate::on_tx).
#[derive(Debug)]
pub enum Connection {
    /// On SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// On Postgres.
    Postgres(Transaction<'static, Postgres>),
}

/// Runs one body on the connection of a [`Tx`], typed for whichever database it is on.
///
/// ```no_run
/// # async fn example(tx: &mut postroom::Tx) -> Result<(), sqlx::Error> {
/// const COUNT: &str = "UPDATE counters SET mails = mails + $1 WHERE account = $2";
/// postroom::execute!(tx, COUNT, 1_i64, "desk")?;
/// let total: i64 = postroom::on_tx!(tx, connection =>
///     sqlx::query_scalar("SELECT SUM(mails) FROM counters").fetch_one(connection).await)?;
/// # Ok(()) }
/// ```
#[macro_export]
macro_rules! on_tx {
    ($tx:expr, $connection:ident => $body:expr) => {
        match $tx.connection() {
            $crate::store::Connection::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
            $crate::store::Connection::Postgres(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
        }
    };
}

/// Runs one statement with its parameters on a [`Tx`]; gives the number of rows it changed.
#[macro_export]
macro_rules! execute {
    ($tx:expr, $statement:expr $(, $parameter:expr)* $(,)?) => {
        $crate::on_tx!($tx, connection => sqlx::query($statement)
            $(.bind($parameter))*
            .execute(connection)
            .await
            .map(|done| done.rows_affected()))
    };
}

impl Tx {
    pub(super) fn new(connection: Connection, owner: Owner, handoff: Arc<Handoff>) -> Self {
        Self {
            connection,
            owner,
            handoff,
            fresh: Vec::new(),
            left: false,
            later: false,
        }
    }

    /// The sqlx transaction, for statements of your own.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The process that this transaction writes as.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Puts `message` into the outbox: it is published after this transaction commits, and only then.
    ///
    /// # Errors
    /// When the message can't be encoded, is too large, or the database refuses.
    pub async fn publish<M: Message>(&mut self, message: &M) -> Result<(), StoreError> {
        self.push(&OutboxRow::of(message)?).await
    }

    /// As [`publish`](Self::publish), on terms of its own: later, or in order. Gives the message's id, by which one that
    /// is due later can be [cancelled](postponed::cancel) until then. On Postgres, whoever else publishes in the order of
    /// the same key waits for the end of this transaction: keep it short.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when the terms can't be kept.
    pub async fn publish_on<M: Message>(&mut self, terms: &Terms, message: &M) -> Result<String, StoreError> {
        let row = OutboxRow::on(terms, message)?;
        self.push(&row).await?;
        Ok(row.id)
    }

    /// Records a message as dead: the row in `dead_letters` and the letter on `emails.dlq`, in this transaction.
    /// Gives the letter's id.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn dead_letter(&mut self, letter: &Letter) -> Result<String, StoreError> {
        let burial = Burial::of(letter.clone());
        self.bury(&burial).await?;
        Ok(burial.id)
    }

    pub(super) async fn bury(&mut self, burial: &Burial) -> Result<(), StoreError> {
        dead_letters::insert(self, burial).await?;
        self.push(&burial.row).await
    }

    pub(crate) async fn push(&mut self, row: &OutboxRow) -> Result<(), StoreError> {
        self.push_all(&[row]).await
    }

    /// Puts rows into the outbox, in their order; those that are due later, aside.
    pub(crate) async fn push_all(&mut self, rows: &[&OutboxRow]) -> Result<(), StoreError> {
        let (later, now): (Vec<_>, Vec<_>) = rows
            .iter()
            .copied()
            .partition(|row: &&OutboxRow| row.due.is_some());
        self.later |= !later.is_empty();
        postponed::push(self, &later).await?;
        outbox::hold_keys(self, &now).await?;
        self.push_due(&now).await
    }

    /// Puts rows into the outbox, in their order.
    pub(super) async fn push_due(&mut self, rows: &[&OutboxRow]) -> Result<(), StoreError> {
        let admitted: Vec<_> = rows.iter().map(|row| self.handoff.admit(row)).collect();
        let written: Vec<_> = rows
            .iter()
            .zip(&admitted)
            .map(|(row, fresh)| (*row, fresh.is_some()))
            .collect();
        outbox::push(self, &written).await?;
        self.left |= admitted.iter().any(Option::is_none);
        self.fresh.extend(admitted.into_iter().flatten());
        Ok(())
    }

    /// Commits, and passes what is to be published to the relay.
    ///
    /// # Errors
    /// When the database refuses; nothing of the transaction happened then, or, where the connection broke during the
    /// commit, all of it: the fence tells on the next delivery.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.connection {
            Connection::Sqlite(transaction) => transaction.commit().await?,
            Connection::Postgres(transaction) => transaction.commit().await?,
        }
        if self.left || !self.fresh.is_empty() {
            self.handoff.pass(self.fresh, self.left);
        }
        if self.later {
            self.handoff.tell_of_later();
        }
        Ok(())
    }

    /// Rolls back now; or, where the database does not answer, leaves that to the database.
    pub(crate) async fn abandon(self) {
        match in_time(self.rollback()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "a transaction is rolled back by the database itself");
            }
            None => {
                tracing::debug!(
                    "the database does not answer; it rolls a transaction back when it misses us"
                );
            }
        }
    }

    /// Rolls back now instead of at some time after the drop.
    ///
    /// # Errors
    /// When the database can't be reached; it rolls back by itself then.
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self.connection {
            Connection::Sqlite(transaction) => transaction.rollback().await?,
            Connection::Postgres(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("owner", &self.owner)
            .field("fresh", &self.fresh.len())
            .finish_non_exhaustive()
    }
}
