//! Handlers that take many messages at a time, with a verdict for each.
//!
//! Each message is a delivery of its own all the same: with its claim, its lease, its attempts and its end. Between claim
//! and end, deliveries meet in a batch (`gather`), and each leaves it with its own verdict.

mod gather;
mod typed;

use serde::Serialize;

use crate::cx::{self, Cx, CxError};
use crate::headers::Headers;
use crate::key::Key;
use crate::message::Message;
use crate::outcome::{Failure, HandlerError};
use crate::store::dead_letters::Letter;
use crate::store::outbox::OutboxRow;
use crate::store::{Store, Tx};

pub(crate) use typed::Batched;

/// Does something about many messages of type `M` at a time.
///
/// A batch is what has come until it is full, or within some time of its first message: `batch(50, within = "200ms")`.
/// Only messages that are tried for the first time share one. Whatever is tried again runs alone, in a batch of one, so
/// that a message that takes down whatever it is in takes down others once at most.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is to handle batches of `{M}` but does not implement `HandleBatch<{M}>`",
    label = "`{Self}` has no `handle_batch` for this message",
    note = "add: `impl HandleBatch<{M}> for {Self} {{ type Error = …; async fn handle_batch(&self, items: &mut [Item<{M}>], cx: &mut BatchCx) -> Result<(), Self::Error> {{ … }} }}`"
)]
pub trait HandleBatch<M: Message>: Send + Sync + 'static {
    /// How a whole batch can fail.
    type Error: HandlerError;

    /// Handles a batch, of one message at least. An item is done unless it is told to [`fail`](Item::fail), and what it
    /// publishes commits with it.
    ///
    /// An error is that of all items that have not failed by themselves. To be retried: a failed attempt of each. A snooze
    /// or a pause: all go back, no attempt spent. Anything else is one message's fate, and nobody knows whose: each of them
    /// runs again at once, alone, in the same attempt. A panic or a timeout is a failed attempt of all of them.
    fn handle_batch(
        &self,
        items: &mut [Item<M>],
        cx: &mut BatchCx,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Last words, as those of [`Handle::on_dead_letter`](crate::Handle::on_dead_letter): for one message.
    fn on_dead_letter(
        &self,
        message: &M,
        letter: &Letter,
        cx: &mut Cx<'_>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (message, letter, cx);
        async { Ok(()) }
    }
}

/// One message of a batch.
#[derive(Debug)]
pub struct Item<M> {
    /// The message.
    pub message: M,
    key: Key,
    attempt: i64,
    headers: Headers,
    outbox: Vec<OutboxRow>,
    result: Option<String>,
    failure: Option<Failure>,
}

impl<M> Item<M> {
    fn of(message: M, cx: &Cx<'_>) -> Self {
        Self {
            message,
            key: cx.lease().key.clone(),
            attempt: cx.attempt(),
            headers: cx.headers().clone(),
            outbox: Vec::new(),
            result: None,
            failure: None,
        }
    }

    /// This one has failed, and what becomes of it is the error's verdict; the others of its batch are as they were. What
    /// it has published is forgotten. The last error counts.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an error that is dealt with is given away"
    )]
    pub fn fail<E: HandlerError>(&mut self, error: E) {
        self.failure = Some(Failure::of(&error));
    }

    /// Publishes `message` when, and only when, this item's delivery commits.
    ///
    /// # Errors
    /// When it can't be encoded or is larger than a broker takes.
    pub async fn publish<P: Message>(&mut self, message: &P) -> Result<(), CxError> {
        self.outbox.push(OutboxRow::of(message)?);
        Ok(())
    }

    /// Gives this item's work a result; see [`Cx::set_result`].
    ///
    /// # Errors
    /// When it is no JSON, or larger than [`MAX_RESULT`](crate::MAX_RESULT).
    pub fn set_result<R: Serialize + ?Sized>(&mut self, result: &R) -> Result<(), CxError> {
        self.result = Some(cx::as_result(result)?);
        Ok(())
    }

    /// Which attempt this is, from 1. In a batch of more than one, it is the first.
    #[must_use]
    pub fn attempt(&self) -> i64 {
        self.attempt
    }

    /// The message's headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The idempotency key of this item's delivery, as kept in the ledger.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_str()
    }
}

/// What a batch has in common.
#[derive(Debug)]
pub struct BatchCx {
    store: Store,
    tx: Option<Tx>,
}

impl BatchCx {
    fn new(store: Store) -> Self {
        Self { store, tx: None }
    }

    /// The one transaction of the batch, for SQL of your own: its commit settles all items at once. If one of them fails,
    /// it is rolled back, and each of the others runs again at once, alone, in the same attempt: so what is written for an
    /// item that fails never commits, and what is written for the others does, once. On SQLite it holds the one writer: open
    /// it late, and await nothing slow while it is open.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn tx(&mut self) -> Result<&mut Tx, CxError> {
        if self.tx.is_none() {
            self.tx = Some(self.store.begin().await?);
        }
        self.tx.as_mut().ok_or(CxError::LeaseLost)
    }

    /// The store, for reads outside of the transaction.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Rolls back now what the handler had begun.
    async fn abandon(self) {
        if let Some(tx) = self.tx {
            tx.abandon().await;
        }
    }
}
