//! One delivery as layers see it, and as the arguments of a function handler are taken from it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::cx::{Cx, CxError};
use crate::desk::Desk;
use crate::headers::Headers;
use crate::key::Key;
use crate::layer::Turn;
use crate::state::States;
use crate::store::Store;
use crate::trace::TraceContext;

/// A delivery under way. A handle: clones are of the same delivery.
#[derive(Clone)]
pub struct Delivery {
    facts: Arc<Facts>,
    pub(crate) states: States,
    pub(crate) desk: Desk,
    /// Set where layers stand around the handler: how the innermost lets it begin.
    pub(crate) turn: Option<Turn>,
}

struct Facts {
    handler: &'static str,
    subject: String,
    stream: String,
    stream_seq: i64,
    attempt: i64,
    key: Key,
    headers: Headers,
    payload: Bytes,
    trace: Option<TraceContext>,
    store: Store,
}

impl Delivery {
    pub(crate) fn of(handler: &'static str, cx: &Cx<'_>, states: States) -> Self {
        let incoming = cx.incoming();
        Self {
            facts: Arc::new(Facts {
                handler,
                subject: incoming.subject.clone(),
                stream: incoming.stream.clone(),
                stream_seq: incoming.stream_seq,
                attempt: cx.attempt(),
                key: cx.lease().key.clone(),
                headers: incoming.headers.clone(),
                payload: incoming.payload.clone(),
                trace: TraceContext::current(),
                store: cx.store().clone(),
            }),
            states,
            desk: Desk::new(cx.store().clone()),
            turn: None,
        }
    }

    /// The id of the handler that it is for.
    #[must_use]
    pub fn handler(&self) -> &'static str {
        self.facts.handler
    }

    /// The subject that the message came on.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.facts.subject
    }

    /// The stream that the message is kept in.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.facts.stream
    }

    /// Its sequence there.
    #[must_use]
    pub fn stream_seq(&self) -> i64 {
        self.facts.stream_seq
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> i64 {
        self.facts.attempt
    }

    /// The idempotency key, as kept in the ledger.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.facts.key
    }

    /// The message's headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.facts.headers
    }

    /// The message's bytes as received.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.facts.payload
    }

    /// What everything that comes of it descends from.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.facts.trace.as_ref()
    }

    /// The store, for reads outside of the delivery's transaction.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.facts.store
    }

    /// The state of this type; see [`App::state`](crate::App::state).
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.states.get()
    }

    /// Gives what was published and written through the arguments to the context that settles it.
    pub(crate) fn hand_over(&self, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let (rows, tx) = self.desk.close()?;
        cx.outbox.extend(rows);
        if tx.is_some() {
            cx.tx = tx;
        }
        Ok(())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("handler", &self.facts.handler)
            .field("stream", &self.facts.stream)
            .field("stream_seq", &self.facts.stream_seq)
            .field("attempt", &self.facts.attempt)
            .finish_non_exhaustive()
    }
}
