//! One delivery under test: what is published, how often, and what goes wrong meanwhile.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::Edge;
use super::kit::{Kit, Stage};
use crate::Message;
use crate::edge::Fault;

/// A message on its way to the worker; await it. See [`Kit::deliver`].
#[must_use = "nothing is delivered before it is awaited"]
pub struct Delivery<'a> {
    kit: &'a Kit,
    message: Bare,
    copies: usize,
    faults: Vec<(Edge, Fault)>,
    interludes: Vec<Bare>,
}

/// A message as it goes to the broker.
pub(super) struct Bare {
    pub(super) subject: &'static str,
    pub(super) id: &'static str,
    pub(super) payload: Bytes,
}

impl Bare {
    fn of<M: Message>(message: &M) -> Self {
        let payload = serde_json::to_vec(message)
            .unwrap_or_else(|error| panic!("the message {} can't be written as JSON: {error}", M::ID));
        Self {
            subject: M::SUBJECT,
            id: M::ID,
            payload: payload.into(),
        }
    }
}

/// What a delivery has been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How much of what was to go wrong did. A handler that passes an edge only in other cases meets no fault there.
    pub struck: usize,
}

impl<'a> Delivery<'a> {
    pub(super) fn of<M: Message>(kit: &'a Kit, message: &M) -> Self {
        Self {
            kit,
            message: Bare::of(message),
            copies: 1,
            faults: Vec::new(),
            interludes: Vec::new(),
        }
    }

    /// Publishes it twice, as a publisher does that never heard of the first time.
    pub fn twice(self) -> Self {
        self.times(2)
    }

    /// Publishes it so often.
    pub fn times(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    /// The worker process dies when it comes to `edge`, and another one is started.
    pub fn crash_at(self, edge: Edge) -> Self {
        self.fault(edge, Fault::Crash)
    }

    /// The database refuses the statement at `edge`, or, where that comes after a commit, its answer is lost.
    pub fn refuse_at(self, edge: Edge) -> Self {
        self.fault(edge, Fault::Refuse)
    }

    /// What the worker says to the broker at `edge`, or the broker's answer, is lost.
    pub fn lose_at(self, edge: Edge) -> Self {
        self.fault(edge, Fault::Lose)
    }

    /// The worker process stands still at `edge` for longer than its leases last, while another one takes over; then it
    /// wakes and goes on as if nothing had happened. Not for edges inside a transaction, which the other would wait for.
    pub fn stall_at(self, edge: Edge) -> Self {
        self.fault(edge, Fault::Stall)
    }

    /// While the worker is at `edge`, `other` is delivered: a copy of the message itself, or one that overtakes it.
    pub fn meanwhile_at<M: Message>(mut self, edge: Edge, other: &M) -> Self {
        self.interludes.push(Bare::of(other));
        self.fault(edge, Fault::Hold)
    }

    fn fault(mut self, edge: Edge, fault: Fault) -> Self {
        self.faults.push((edge, fault));
        self
    }
}

impl<'a> IntoFuture for Delivery<'a> {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let stage = Arc::clone(&self.kit.stage);
            let Self {
                kit,
                message,
                copies,
                faults,
                interludes,
            } = self;
            kit.run(async move {
                let planned = faults.len();
                let mut struck = planned;
                stage.plan(&faults).await;
                for _ in 0..copies {
                    stage.publish(&message).await;
                }
                struck -= stage.until_settled(interludes).await;
                Outcome { struck }
            })
            .await
        })
    }
}

impl std::fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("subject", &self.message.subject)
            .field("copies", &self.copies)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Stage {
    pub(super) async fn publish(&self, message: &Bare) {
        let published = self
            .bus
            .publish_bare(message.subject, message.id, message.payload.clone());
        published.await.unwrap_or_else(|error| panic!("{error}"));
    }

    async fn plan(&self, faults: &[(Edge, Fault)]) {
        let processes = self.processes.lock().await;
        let Some(process) = processes.last() else {
            return;
        };
        for (edge, fault) in faults {
            process.faults.plan(*edge, *fault);
        }
    }
}
