//! What users write: a type that handles a message.

use std::any::Any;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::bus::Incoming;
use crate::cx::Cx;
use crate::explain::with_causes;
use crate::fingerprint;
use crate::headers::{self, Headers};
use crate::heartbeat::Reading;
use crate::key::Key;
use crate::message::{Message, Version};
use crate::outcome::{Failure, HandlerError, Reconciled};
use crate::spec::{Policy, Spec, SpecError};
use crate::store::dead_letters::{Letter, Reason};

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

/// A handler that can find out whether an effect whose outcome was lost has happened, such as by looking for its id on the
/// other side. Chosen by `#[handler(ambiguous = Reconcile)]` or [`Spec::reconcile`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` declares `ambiguous = Reconcile` but does not implement `Reconcile<{M}>`",
    label = "`{Self}` can't be asked whether a lost effect has happened",
    note = "add: `impl Reconcile<{M}> for {Self} {{ async fn reconcile(&self, message: &{M}, effect_id: &str, cx: &mut Cx<'_>) -> Result<Reconciled, Self::Error> {{ … }} }}`"
)]
pub trait Reconcile<M: Message>: Handle<M> {
    /// Called before the handler runs again, with the id that was given to [`Cx::begin_effect`]. Whatever the handler
    /// would have done after the effect, such as publishing that it happened, is to be done here through `cx`: it commits
    /// if the answer is [`Reconciled::Happened`]. An error is treated like one of [`Handle::handle`]; the effect stays
    /// unresolved, and the next attempt asks again.
    fn reconcile(
        &self,
        message: &M,
        effect_id: &str,
        cx: &mut Cx<'_>,
    ) -> impl Future<Output = Result<Reconciled, Self::Error>> + Send;
}

/// [`Reconcile::reconcile`] of some handler, asked without knowing its type.
pub(crate) type Ask<M> = for<'a> fn(
    &'a (dyn Any + Send + Sync),
    &'a M,
    &'a str,
    &'a mut Cx<'_>,
) -> BoxFuture<'a, Result<Reconciled, Failure>>;

pub(crate) fn ask<'a, M: Message, H: Reconcile<M>>(
    handler: &'a (dyn Any + Send + Sync),
    message: &'a M,
    effect_id: &'a str,
    cx: &'a mut Cx<'_>,
) -> BoxFuture<'a, Result<Reconciled, Failure>> {
    Box::pin(async move {
        match handler.downcast_ref::<H>() {
            Some(handler) => handler.reconcile(message, effect_id, cx).await,
            // The spec names another type than the one that it was registered with, so nobody can be asked.
            None => Ok(Reconciled::Unknown),
        }
        .map_err(|error| Failure::of(&error))
    })
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
    fn check(&self) -> Result<(), SpecError>;
    /// Decodes the message and tells its identity, once, from the bytes as received.
    fn open(&self, incoming: &Incoming) -> Opened;
    fn handle<'a>(&'a self, message: Decoded, cx: &'a mut Cx<'_>) -> BoxFuture<'a, Result<(), Failure>>;
    /// Whether the effect of an earlier attempt has happened.
    fn reconcile<'a>(
        &'a self,
        message: &'a Decoded,
        effect_id: &'a str,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<Reconciled, Failure>>;
    fn on_dead_letter<'a>(
        &'a self,
        payload: &'a Bytes,
        letter: &'a Letter,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// A decoded message whose type only its handler knows.
pub(crate) type Decoded = Box<dyn Any + Send + Sync>;

pub(crate) struct Opened {
    pub(crate) key: Key,
    pub(crate) fingerprint: String,
    /// What it shares a limit with.
    pub(crate) lane: Option<Key>,
    /// The message, or why it is to die unread.
    pub(crate) message: Result<Decoded, (Reason, Failure)>,
    /// It is written down that it is being opened, until it is claimed.
    pub(crate) reading: Option<Reading>,
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

    fn check(&self) -> Result<(), SpecError> {
        if self.spec.policy.batch.is_some() {
            return Err(SpecError::Batch(self.spec.policy.id));
        }
        self.spec.check()
    }

    fn open(&self, incoming: &Incoming) -> Opened {
        open(&self.spec, incoming)
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

    fn reconcile<'a>(
        &'a self,
        message: &'a Decoded,
        effect_id: &'a str,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<Reconciled, Failure>> {
        match (self.spec.reconcile, message.downcast_ref::<M>()) {
            (Some(ask), Some(message)) => ask(&self.handler, message, effect_id, cx),
            _ => Box::pin(async { Ok(Reconciled::Unknown) }),
        }
    }

    fn on_dead_letter<'a>(
        &'a self,
        payload: &'a Bytes,
        letter: &'a Letter,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Ok(message) = decode::<M>(&letter.headers, payload) else {
                return Ok(());
            };
            self.handler
                .on_dead_letter(&message, letter, cx)
                .await
                .map_err(|error| Failure::of(&error))
        })
    }
}

/// Decodes the message and tells its identity.
pub(crate) fn open<M: Message>(spec: &Spec<M>, incoming: &Incoming) -> Opened {
    let fingerprint = fingerprint::of_payload(&incoming.payload, incidental::<M>(&incoming.headers));
    let message = decode::<M>(&incoming.headers, &incoming.payload);
    let key = match (&message, spec.key) {
        (Ok(message), Some(key)) => key(message),
        _ => incoming.place(),
    };
    let lane = match (&message, spec.lane) {
        (Ok(message), Some(lane)) => Some(lane(message)),
        _ => None,
    };
    Opened {
        key,
        fingerprint,
        lane,
        message: message
            .map(|message| Box::new(message) as Decoded)
            .map_err(|error| (Reason::Undecodable, Failure::dead("undecodable", error))),
        reading: None,
    }
}

/// The fields that don't count, of the version that the message is.
fn incidental<M: Message>(headers: &Headers) -> &'static [&'static str] {
    match headers.get(headers::MESSAGE) {
        Some(id) if id != M::ID => M::versions()
            .into_iter()
            .find(|version| version.id == id)
            .map_or(M::INCIDENTAL, |version| version.incidental),
        _ => M::INCIDENTAL,
    }
}

/// Without a header that names it, the message is taken for the newest version.
pub(crate) fn decode<M: Message>(headers: &Headers, payload: &[u8]) -> Result<M, String> {
    let id = headers.get(headers::MESSAGE).unwrap_or(M::ID);
    let read = if id == M::ID {
        Some(serde_json::from_slice(payload))
    } else {
        M::upcast(id, payload)
    };
    match read {
        Some(read) => read.map_err(|error| format!("the payload is no `{id}`: {}", with_causes(&error))),
        None => Err(format!(
            "the message is a `{id}`, and this handler takes {}",
            known::<M>()
        )),
    }
}

fn known<M: Message>() -> String {
    let ids: Vec<_> = M::versions()
        .iter()
        .map(|Version { id, .. }| format!("`{id}`"))
        .collect();
    ids.join(", ")
}
