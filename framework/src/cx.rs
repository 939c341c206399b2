//! What a handler has in hand while it runs.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::bus::Incoming;
use crate::headers::Headers;
use crate::message::Message;
use crate::outcome::{HandlerError, Verdict};
use crate::store::deliveries::{Granted, Lease};
use crate::store::outbox::OutboxRow;
use crate::store::{Store, StoreError, Tx};
use crate::terms::Terms;

/// The context of one delivery: what is done through it commits together with "this message is done", or not at all.
#[derive(Debug)]
pub struct Cx<'a> {
    store: &'a Store,
    incoming: &'a Incoming,
    claim: &'a Granted,
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) tx: Option<Tx>,
    pub(crate) effect_begun: bool,
    /// JSON, for duplicates and requesters.
    pub(crate) result: Option<String>,
    /// It has been settled already, with the batch that it was in.
    pub(crate) settled: bool,
}

/// What a handler meets when postroom itself can't go on. Retried, if the handler's error enum says so.
#[derive(Debug, thiserror::Error)]
pub enum CxError {
    /// The database is away, or refuses, or the message can't be published.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process has taken the message over; whatever this one does from here on is not wanted.
    #[error("the lease was lost: another worker has taken this message over")]
    LeaseLost,
    /// An effect was begun inside a transaction, which could then never commit before the effect.
    #[error("begin_effect was called after tx(): begin the effect first, and open the transaction after it")]
    EffectInsideTx,
    /// A result that can't be kept in the ledger.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// A function handler asked twice for its transaction, or keeps it in a task that outlives it.
    #[error(
        "the delivery's transaction is in use elsewhere: open it in one place, and not in a task that outlives the handler"
    )]
    TxInUse,
    /// A task that outlives a function handler goes on with its arguments.
    #[error("the delivery is over: nothing more can be published or written with it")]
    Over,
}

/// A result that can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It is no JSON, such as a map whose keys are no strings.
    #[error("the handler's result can't be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
    /// It is larger than a ledger row should be.
    #[error(
        "the handler's result is {0} bytes of JSON; at most {MAX_RESULT} are kept: give a reference to it instead"
    )]
    TooLarge(usize),
}

/// A result is read with each duplicate and stays for the whole dedupe ttl: what is larger belongs into a store of its own.
pub const MAX_RESULT: usize = 64 * 1024;

impl HandlerError for CxError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Store(
                StoreError::TooLarge { .. } | StoreError::Encode { .. } | StoreError::Terms { .. },
            )
            | Self::EffectInsideTx
            | Self::Result(_)
            | Self::TxInUse
            | Self::Over => Verdict::DeadLetter,
            Self::Store(_) => Verdict::Snooze(STORE_AWAY),
            Self::LeaseLost => Verdict::Retry { after: None },
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::LeaseLost => "lease_lost",
            Self::EffectInsideTx => "effect_inside_tx",
            Self::Result(_) => "result",
            Self::TxInUse => "tx_in_use",
            Self::Over => "over",
        }
    }
}

/// How long a message waits for the database to come back before it asks again.
const STORE_AWAY: Duration = Duration::from_secs(5);

impl<'a> Cx<'a> {
    pub(crate) fn new(store: &'a Store, incoming: &'a Incoming, claim: &'a Granted) -> Self {
        Self {
            store,
            incoming,
            claim,
            outbox: Vec::new(),
            tx: None,
            effect_begun: false,
            result: None,
            settled: false,
        }
    }

    /// Publishes `message` when, and only when, this delivery commits.
    ///
    /// # Errors
    /// When it can't be encoded or is larger than a broker takes.
    // Async and fallible as a database is, though today the rows are written at the end, in one go.
    pub async fn publish<M: Message>(&mut self, message: &M) -> Result<(), CxError> {
        self.outbox.push(OutboxRow::of(message)?);
        Ok(())
    }

    /// As [`publish`](Self::publish), but not before `time`, by the database's clock. Gives the id by which it can be
    /// [cancelled](Store::cancel) until then.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when that is more than [`MAX_AHEAD`](crate::terms::MAX_AHEAD) from now.
    pub async fn publish_at<M: Message>(&mut self, time: SystemTime, message: &M) -> Result<String, CxError> {
        self.publish_on(&Terms::default().at(time), message).await
    }

    /// As [`publish_at`](Self::publish_at), so long after this delivery commits.
    ///
    /// # Errors
    /// As [`publish_at`](Self::publish_at).
    pub async fn publish_after<M: Message>(
        &mut self,
        delay: Duration,
        message: &M,
    ) -> Result<String, CxError> {
        self.publish_on(&Terms::default().after(delay), message).await
    }

    /// As [`publish`](Self::publish), on terms of its own: later, or in order. Gives the message's id.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when the terms can't be kept.
    pub async fn publish_on<M: Message>(&mut self, terms: &Terms, message: &M) -> Result<String, CxError> {
        let row = OutboxRow::on(terms, message)?;
        let id = row.id.clone();
        self.outbox.push(row);
        Ok(id)
    }

    /// Gives this work a result, which is kept in the ledger, as JSON, when this delivery commits. A duplicate is given
    /// the same one, and so is whoever [asked](crate::Bus::request) for it. The last one given counts.
    ///
    /// # Errors
    /// When it is no JSON, or larger than [`MAX_RESULT`].
    pub fn set_result<R: Serialize + ?Sized>(&mut self, result: &R) -> Result<(), CxError> {
        self.result = Some(as_result(result)?);
        Ok(())
    }

    /// The transaction that commits with this delivery, for SQL of your own. On SQLite it holds the one writer: open it
    /// late, and await nothing slow while it is open.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn tx(&mut self) -> Result<&mut Tx, CxError> {
        if self.tx.is_none() {
            self.tx = Some(self.store.begin().await?);
        }
        self.tx.as_mut().ok_or(CxError::LeaseLost)
    }

    /// Says that an effect outside SQL is about to happen, durably, before it does. From here on, a crash or an error, of
    /// whatever verdict, leaves it `unknown`, and the handler's policy decides (without one it is held), unless the handler
    /// knows better: [`effect_did_not_happen`](Self::effect_did_not_happen).
    ///
    /// # Errors
    /// When the lease was lost, so that the effect must not happen; when the database is away; inside [`tx`](Self::tx).
    pub async fn begin_effect(&mut self, effect_id: &str) -> Result<(), CxError> {
        if self.tx.is_some() {
            return Err(CxError::EffectInsideTx);
        }
        let lease = self.claim.lease.clone();
        if !self.store.begin_effect(lease, effect_id.to_owned()).await? {
            return Err(CxError::LeaseLost);
        }
        edge!(AfterEffectBegun);
        self.effect_begun = true;
        Ok(())
    }

    /// Says that the effect that was begun has certainly not happened, such as when the other side refused it: an error that
    /// comes after this means what it says. Of effects of earlier attempts it says nothing.
    pub fn effect_did_not_happen(&mut self) {
        self.effect_begun = false;
    }

    /// The effect that an earlier attempt began and whose outcome was lost.
    #[must_use]
    pub fn unresolved_effect(&self) -> Option<&str> {
        self.claim.unresolved_effect.as_deref()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> i64 {
        self.claim.attempts
    }

    /// The message's headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.incoming.headers
    }

    /// The idempotency key of this delivery, as kept in the ledger.
    #[must_use]
    pub fn key(&self) -> &str {
        self.claim.lease.key.as_str()
    }

    /// The store, for reads outside of the transaction.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
    }

    pub(crate) fn incoming(&self) -> &Incoming {
        self.incoming
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.claim.lease
    }
}

/// As the ledger keeps it.
pub(crate) fn as_result<R: Serialize + ?Sized>(result: &R) -> Result<String, ResultError> {
    let json = serde_json::to_string(result)?;
    if json.len() > MAX_RESULT {
        return Err(ResultError::TooLarge(json.len()));
    }
    Ok(json)
}
