//! What users write: a type that handles a message.

use std::any::Any;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::bus::Incoming;
use crate::cx::Cx;
use crate::explain::with_causes;
use crate::fingerprint;
use crate::headers;
use crate::key::Key;
use crate::message::Message;
use crate::outcome::{Failure, HandlerError};
use crate::spec::{Policy, Spec};
use crate::store::dead_letters::Letter;

/// Does something about messages of type `M`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is to handle `{M}` but does not implement `Handle<{M}>`",
    label = "`{Self}` has no `handle` for this message",
    note = "add: `impl Handle<{M}> for {Self} {{ type Error = …; async fn handle(&self, message: {M}, cx: &mut Cx<'_>) -> Result<(), Self::Error> {{ … }} }}`"
)]
pub trait Handle<M: Message>: Send + Sync + 'static {
    /// How it can fail, and what that means for the message.
    type Error: HandlerError;

    /// Handles one message. What it does through `cx` is committed with the ledger row if it returns `Ok`, and rolled
    /// back if not; the broker's ack follows that commit.
    fn handle(&self, message: M, cx: &mut Cx<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Last words: called when the message is about to be dead-lettered in this handler. What it publishes through `cx`
    /// commits with the letter; if it fails, the letter is written without it.
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

/// A [`Handle`] that knows its own [`Spec`]: what `#[derive(Handler)]` implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handler spec",
    note = "add `#[derive(Handler)]` and `#[handler(on = YourMessage, id = \"your-handler\")]`, or use `App::handler_with`"
)]
pub trait Handler: Send + Sync + 'static {
    /// The message it takes.
    type Message: Message;

    /// Its id, key and policies.
    fn spec() -> Spec<Self::Message>;
}

/// A handler without its types: what the executor runs.
pub(crate) trait AnyHandler: Send + Sync {
    fn policy(&self) -> &Policy;
    fn subject(&self) -> &'static str;
    /// Decodes the message and tells its identity, once, from the bytes as received.
    fn open(&self, incoming: &Incoming) -> Opened;
    fn handle<'a>(&'a self, message: Decoded, cx: &'a mut Cx<'_>) -> BoxFuture<'a, Result<(), Failure>>;
    fn on_dead_letter<'a>(
        &'a self,
        payload: &'a Bytes,
        letter: &'a Letter,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// A decoded message whose type only its handler knows.
pub(crate) type Decoded = Box<dyn Any + Send>;

pub(crate) struct Opened {
    pub(crate) key: Key,
    pub(crate) fingerprint: String,
    /// The message, or why it can't be read.
    pub(crate) message: Result<Decoded, String>,
}

/// A handler with its spec.
pub(crate) struct Typed<H, M> {
    handler: H,
    spec: Spec<M>,
}

impl<H, M> Typed<H, M> {
    pub(crate) fn new(handler: H, spec: Spec<M>) -> Self {
        Self { handler, spec }
    }
}

impl<M: Message, H: Handle<M>> AnyHandler for Typed<H, M> {
    fn policy(&self) -> &Policy {
        &self.spec.policy
    }

    fn subject(&self) -> &'static str {
        M::SUBJECT
    }

    fn open(&self, incoming: &Incoming) -> Opened {
        let fingerprint = fingerprint::of_payload(&incoming.payload, M::INCIDENTAL);
        let message = decode::<M>(incoming);
        let key = match (&message, self.spec.key) {
            (Ok(message), Some(key)) => key(message),
            _ => incoming.place(),
        };
        Opened {
            key,
            fingerprint,
            message: message.map(|message| Box::new(message) as Decoded),
        }
    }

    fn handle<'a>(&'a self, message: Decoded, cx: &'a mut Cx<'_>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Ok(message) = message.downcast::<M>() else {
                return Err(Failure::retryable(
                    "internal",
                    "the message was opened by another handler",
                ));
            };
            self.handler
                .handle(*message, cx)
                .await
                .map_err(|error| Failure::of(&error))
        })
    }

    fn on_dead_letter<'a>(
        &'a self,
        payload: &'a Bytes,
        letter: &'a Letter,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Ok(message) = serde_json::from_slice::<M>(payload) else {
                return Ok(());
            };
            self.handler
                .on_dead_letter(&message, letter, cx)
                .await
                .map_err(|error| Failure::of(&error))
        })
    }
}

fn decode<M: Message>(incoming: &Incoming) -> Result<M, String> {
    if let Some(id) = incoming.headers.get(headers::MESSAGE)
        && id != M::ID
    {
        return Err(format!(
            "the message is a `{id}`, and this handler takes `{}`",
            M::ID
        ));
    }
    serde_json::from_slice(&incoming.payload)
        .map_err(|error| format!("the payload is no `{}`: {}", M::ID, with_causes(&error)))
}
