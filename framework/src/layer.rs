//! Layers of one's own around handlers, as in tower: measure, limit, trace, inject faults.
//!
//! A layer wraps [`Next`], a [`tower_service::Service`] that takes a [`Delivery`]. It runs after the claim and before the
//! settlement, inside the handler's timeout and panic isolation: its error is a failed attempt with a [`Verdict`], as the
//! handler's own would be.
//!
//! A future of tower's is `'static`, and a handler borrows its context. So the handler's future stays with the executor, and
//! the innermost service only gives it its turn: layers and handler run side by side in one task.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

use crate::app::App;
use crate::delivery::Delivery;
use crate::explain::with_causes;
use crate::outcome::{Failure, HandlerError, Verdict};

type BoxError = Box<dyn Error + Send + Sync>;
type Answer = Result<(), DeliveryError>;

/// What a layer wraps: the layers inside it and, innermost, the handler.
pub struct Next(Box<dyn CloneService>);

/// Why a delivery failed: the handler's error, or that of a layer. Any [`HandlerError`] becomes one with its own verdict; a
/// boxed error, such as those of tower's layers, is to be retried.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", failure.error)]
pub struct DeliveryError {
    pub(crate) failure: Failure,
}

impl DeliveryError {
    /// What becomes of the message.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.failure.verdict
    }

    /// The error's class, as in metrics and dead letters.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.failure.class
    }

    fn layer(error: impl Into<String>) -> Self {
        Self {
            failure: Failure::retryable("layer", error),
        }
    }
}

impl<E: HandlerError> From<E> for DeliveryError {
    fn from(error: E) -> Self {
        Self {
            failure: Failure::of(&error),
        }
    }
}

impl From<BoxError> for DeliveryError {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => Self::layer(with_causes(other.as_ref())),
        }
    }
}

impl Clone for Next {
    fn clone(&self) -> Self {
        Self(self.0.clone_box())
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

impl Service<Delivery> for Next {
    type Response = ();
    type Error = DeliveryError;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.0.poll_boxed(context)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        self.0.call_boxed(delivery)
    }
}

trait CloneService: Send {
    fn clone_box(&self) -> Box<dyn CloneService>;
    fn poll_boxed(&mut self, context: &mut Context<'_>) -> Poll<Answer>;
    fn call_boxed(&mut self, delivery: Delivery) -> BoxFuture<'static, Answer>;
}

impl<S> CloneService for S
where
    S: Service<Delivery, Response = (), Error: Into<DeliveryError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    fn clone_box(&self) -> Box<dyn CloneService> {
        Box::new(self.clone())
    }

    fn poll_boxed(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        Service::poll_ready(self, context).map_err(Into::into)
    }

    fn call_boxed(&mut self, delivery: Delivery) -> BoxFuture<'static, Answer> {
        let called = Service::call(self, delivery);
        Box::pin(async { called.await.map_err(Into::into) })
    }
}

/// The innermost service: gives the handler its turn, and waits for what it comes to.
#[derive(Clone)]
struct Innermost;

/// How the innermost service lets the handler begin: once, whatever layers do.
#[derive(Clone)]
pub(crate) struct Turn(Arc<Mutex<Option<oneshot::Sender<oneshot::Sender<Answer>>>>>);

impl Service<Delivery> for Innermost {
    type Response = ();
    type Error = DeliveryError;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Answer> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        Box::pin(async move {
            let turn = delivery.turn.as_ref().and_then(Turn::take);
            let (answer, answered) = oneshot::channel();
            if turn.is_none_or(|turn| turn.send(answer).is_err()) {
                return Err(DeliveryError::layer(
                    "a layer called the handler twice: its context is one attempt's; let the handler's spec retry",
                ));
            }
            let gone = |_| Err(DeliveryError::layer("the handler is gone"));
            answered.await.unwrap_or_else(gone)
        })
    }
}

impl Turn {
    fn take(&self) -> Option<oneshot::Sender<oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl App {
    /// Wraps every handler of the app, whether it was added before or is added after. The layer that was added first stands
    /// outermost. What a layer is to be is in [`layer`](crate::layer).
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = (), Error: Into<DeliveryError>, Future: Send + 'static>
            + Clone
            + Send
            + 'static,
    {
        self.layers.add(Around::All, Wrapping::new(layer));
        self
    }

    /// Wraps the handler `id` alone.
    #[must_use]
    pub fn layer_for<L>(mut self, id: &'static str, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = (), Error: Into<DeliveryError>, Future: Send + 'static>
            + Clone
            + Send
            + 'static,
    {
        self.layers.add(Around::One(id), Wrapping::new(layer));
        self
    }
}

/// A layer that knows how to wrap, and not what it is.
#[derive(Clone)]
pub(crate) struct Wrapping(Arc<dyn Fn(Next) -> Next + Send + Sync>);

impl Wrapping {
    pub(crate) fn new<L>(layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = (), Error: Into<DeliveryError>, Future: Send + 'static>
            + Clone
            + Send
            + 'static,
    {
        Self(Arc::new(move |next| Next(Box::new(layer.layer(next)))))
    }
}

/// Which handlers a layer wraps.
#[derive(Clone, Copy)]
enum Around {
    All,
    One(&'static str),
}

/// The layers of an app, each with its place.
#[derive(Default)]
pub(crate) struct Placed(Vec<(Around, Wrapping)>);

impl Placed {
    fn add(&mut self, around: Around, layer: Wrapping) {
        self.0.push((around, layer));
    }

    /// Those around the handler `id`.
    pub(crate) fn around(&self, id: &str) -> Layers {
        let covers = |around: &Around| match around {
            Around::All => true,
            Around::One(one) => *one == id,
        };
        Layers::new(
            self.0
                .iter()
                .filter(|(around, _)| covers(around))
                .map(|(_, layer)| layer),
        )
    }

    /// That each layer is around something.
    pub(crate) fn check(&self, ids: &HashSet<&'static str>) -> Result<(), crate::Error> {
        for (around, _) in &self.0 {
            if let Around::One(handler) = *around
                && !ids.contains(handler)
            {
                let mut there_are: Vec<_> = ids.iter().copied().collect();
                there_are.sort_unstable();
                return Err(crate::Error::LayerForNobody { handler, there_are });
            }
        }
        Ok(())
    }
}

/// The layers around one handler. Locked only to be cloned, since services need not be `Sync`.
#[derive(Clone)]
pub(crate) struct Layers(Option<Arc<Mutex<Next>>>);

impl Layers {
    /// The first stands outermost.
    pub(crate) fn new<'l>(layers: impl DoubleEndedIterator<Item = &'l Wrapping>) -> Self {
        let mut layers = layers.rev().peekable();
        if layers.peek().is_none() {
            return Self(None);
        }
        let stack = layers.fold(Next(Box::new(Innermost)), |next, Wrapping(wrap)| wrap(next));
        Self(Some(Arc::new(Mutex::new(stack))))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Runs `handled` when the innermost layer says so. What ends the layers while it runs cuts it off.
    pub(crate) async fn around(
        &self,
        delivery: Option<Delivery>,
        handled: impl Future<Output = Result<(), Failure>>,
    ) -> Answer {
        let handled = async { handled.await.map_err(|failure| DeliveryError { failure }) };
        let (Some(stack), Some(mut delivery)) = (&self.0, delivery) else {
            return handled.await;
        };
        let mut stack = stack.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (turn, begun) = oneshot::channel();
        delivery.turn = Some(Turn(Arc::new(Mutex::new(Some(turn)))));
        let mut layered = pin!(async move {
            std::future::poll_fn(|context| stack.poll_ready(context)).await?;
            stack.call(delivery).await
        });
        let mut handled = pin!(handled);
        let answer = tokio::select! {
            biased;
            ended = &mut layered => return ended,
            begun = begun => match begun {
                Ok(answer) => answer,
                // They have let go of the delivery, and will say why.
                Err(_) => return layered.await,
            },
        };
        let outcome = tokio::select! {
            biased;
            ended = &mut layered => return ended.and_then(|()| Err(DeliveryError::layer("a layer ended before its handler did"))),
            outcome = &mut handled => outcome,
        };
        // A layer that no longer waits for it has an answer of its own.
        let _ = answer.send(outcome.clone());
        // What a failed handler has done is not to be committed, so no layer makes a success of it.
        layered.await.and(outcome)
    }
}
