//! A batch handler as the executor sees it: one delivery at a time, each of which waits for its verdict.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::gather::{Gatherer, Told};
use super::{HandleBatch, Item};
use crate::bus::Incoming;
use crate::cx::Cx;
use crate::handler::{AnyHandler, Decoded, Opened, decode, open};
use crate::message::Message;
use crate::outcome::{Failure, Reconciled};
use crate::retry::batch_limit;
use crate::spec::{Policy, Spec, SpecError};
use crate::store::dead_letters::Letter;

/// A batch handler with its spec.
pub(crate) struct Batched<H, M> {
    spec: Spec<M>,
    /// As the spec was given.
    checked: Result<(), SpecError>,
    gatherer: Arc<Gatherer<H, M>>,
}

impl<H: HandleBatch<M>, M: Message> Batched<H, M> {
    pub(crate) fn new(handler: H, mut spec: Spec<M>) -> Self {
        let policy = &mut spec.policy;
        let gatherer = Arc::new(Gatherer::new(handler, policy));
        let mut checked = Ok(());
        match policy.batch {
            // A delivery also waits for its batch to gather, for its turn, and, at worst, runs once more alone.
            Some(batch) if !policy.timeout.is_zero() => {
                policy.timeout = batch_limit(policy.timeout, batch.within);
            }
            Some(_) => {}
            None => checked = Err(SpecError::NoBatch(policy.id)),
        }
        Self {
            spec,
            checked,
            gatherer,
        }
    }

    /// What became of it, for the executor to settle.
    async fn settled(&self, told: Told<M>, cx: &mut Cx<'_>) -> Result<(), Failure> {
        match told {
            Told::Done(item) => {
                (cx.outbox, cx.result) = (item.outbox, item.result);
                Ok(())
            }
            Told::Committed(result) => {
                (cx.result, cx.settled) = (result, true);
                Ok(())
            }
            Told::Failed(failure) => Err(failure),
            Told::Alone => {
                let incoming = cx.incoming();
                let message = decode::<M>(&incoming.headers, &incoming.payload);
                let message = message.map_err(|error| Failure::dead("undecodable", error))?;
                self.gatherer.alone(message, cx).await
            }
        }
    }
}

impl<M: Message, H: HandleBatch<M>> AnyHandler for Batched<H, M> {
    fn policy(&self) -> &Policy {
        &self.spec.policy
    }

    fn subject(&self) -> &'static str {
        M::SUBJECT
    }

    fn check(&self) -> Result<(), SpecError> {
        self.checked.clone()?;
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
            if cx.attempt() > 1 {
                return self.gatherer.alone(*message, cx).await;
            }
            let told = self.gatherer.join(Item::of(*message, cx), cx).await;
            match told {
                Ok(told) => self.settled(told, cx).await,
                Err(_) => Err(Failure::retryable(
                    "batch",
                    "its batch has ended without a verdict for it",
                )),
            }
        })
    }

    fn reconcile<'a>(
        &'a self,
        _: &'a Decoded,
        _: &'a str,
        _: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, Result<Reconciled, Failure>> {
        // A batch begins no effects.
        Box::pin(async { Ok(Reconciled::Unknown) })
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
            let spoken = self.gatherer.handler.on_dead_letter(&message, letter, cx).await;
            spoken.map_err(|error| Failure::of(&error))
        })
    }
}
