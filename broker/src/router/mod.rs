//! Who gets a message: subscriptions by subject, queue groups, and the frames that reach them.

mod client;
mod outbox;
mod replies;
mod trie;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

pub use client::{Client, ClientId, Identity, Subscription, Traffic};
pub use outbox::{Pending, Queued};
pub use trie::Trie;
pub use watch::Watch;

use crate::protocol::write;
use watch::Watches;

/// A message on its way, borrowed from whoever sends it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What the MSG line shows, which for JetStream is not the subject it is routed by.
    pub subject: &'a [u8],
    pub reply: &'a [u8],
    pub header_len: usize,
    /// Header block and payload.
    pub body: &'a [u8],
    /// The buffer that `body` is a part of, so that large bodies can be shared.
    pub backing: &'a Bytes,
}

/// The receivers of one subject, good until the router's generation changes.
#[derive(Debug, Default, Clone)]
pub struct Matches {
    plain: Vec<Arc<Subscription>>,
    queues: Vec<(Bytes, Vec<Arc<Subscription>>)>,
}

/// Clients that have bytes queued and whose writer still sleeps. Waking is put off to the end of a batch.
#[derive(Debug, Default)]
pub struct Wakes {
    asleep: Vec<Arc<Client>>,
    congested: Option<Arc<Client>>,
}

#[derive(Debug, Clone, Default)]
pub struct Router(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    subscriptions: RwLock<Trie<Arc<Subscription>>>,
    generation: AtomicU64,
    watches: Arc<Watches>,
}

impl Wakes {
    pub fn note(&mut self, client: &Arc<Client>, queued: Queued) {
        match queued {
            Queued::WakeOwed => self.asleep.push(Arc::clone(client)),
            Queued::Congested => self.congested = Some(Arc::clone(client)),
            Queued::AlreadyAwake | Queued::Closed => {}
        }
    }

    pub fn flush(&mut self) {
        for client in self.asleep.drain(..) {
            client.outbox.wake();
        }
    }

    /// A client that was sent to since the last call and does not keep up.
    pub fn take_congested(&mut self) -> Option<Arc<Client>> {
        self.congested.take()
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Router {
    /// Changes whenever a cached [`Matches`] may be out of date.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// What may be received has changed: nothing that was cached is good any more.
    pub fn invalidate(&self) {
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    pub fn subscription_count(&self) -> usize {
        self.0
            .subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub fn subscribe(&self, subscription: Subscription) {
        let subscription = Arc::new(subscription);
        subscription.client.add(Arc::clone(&subscription));
        let filter = subscription.filter.clone();
        self.0
            .subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(&filter, subscription);
        self.0.generation.fetch_add(1, Ordering::Release);
        self.0.watches.on_change(&filter);
    }

    /// Calls `notice` whenever a subscription that matches the literal `subject` comes or goes.
    pub fn watch(&self, subject: Bytes, notice: Arc<dyn Fn() + Send + Sync>) -> Watch {
        self.0.watches.watch(subject, notice)
    }

    pub fn has_interest(&self, subject: &[u8]) -> bool {
        let subscriptions = self
            .0
            .subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut is_there = false;
        subscriptions.for_each_match(subject, |_| is_there = true);
        is_there
    }

    pub fn unsubscribe(&self, client: &Client, sid: &[u8]) {
        if let Some(subscription) = client.remove(sid) {
            self.remove(&subscription);
        }
    }

    pub fn disconnect(&self, client: &Client) {
        for subscription in client.take_all() {
            self.remove(&subscription);
        }
    }

    fn remove(&self, gone: &Arc<Subscription>) {
        let mut subscriptions = self
            .0
            .subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        subscriptions.remove(&gone.filter, |candidate| Arc::ptr_eq(candidate, gone));
        drop(subscriptions);
        self.0.generation.fetch_add(1, Ordering::Release);
        self.0.watches.on_change(&gone.filter);
    }

    /// Fills `matches` with the receivers of `subject`.
    pub fn collect(&self, subject: &[u8], matches: &mut Matches) {
        matches.clear();
        let subscriptions = self
            .0
            .subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        subscriptions.for_each_match(subject, |subscription| {
            if !subscription.withholds(subject) {
                matches.add(subscription);
            }
        });
    }

    /// Routes by `to`, which is usually but not always `message.subject`. The count of receivers reached.
    pub fn publish(&self, to: &[u8], message: &Message<'_>, wakes: &mut Wakes) -> usize {
        let mut matches = Matches::default();
        self.collect(to, &mut matches);
        self.deliver(&matches, message, None, wakes)
    }

    /// One copy to each plain subscription and one to a random member of each queue group.
    pub fn deliver(
        &self,
        matches: &Matches,
        message: &Message<'_>,
        from: Option<&Client>,
        wakes: &mut Wakes,
    ) -> usize {
        let muted = from
            .filter(|client| !client.echo.load(Ordering::Relaxed))
            .map(|client| client.id);
        let mut reached = 0;
        for subscription in &matches.plain {
            if muted != Some(subscription.client.id) {
                reached += usize::from(self.deliver_to(subscription, message, wakes));
            }
        }
        for (_, members) in &matches.queues {
            let start = if members.len() == 1 {
                0
            } else {
                rand::random_range(0..members.len())
            };
            let (before, after) = members.split_at(start);
            // A member that is gone or muted passes its turn on.
            let taken = after.iter().chain(before).any(|subscription| {
                muted != Some(subscription.client.id) && self.deliver_to(subscription, message, wakes)
            });
            reached += usize::from(taken);
        }
        reached
    }

    fn deliver_to(&self, subscription: &Arc<Subscription>, message: &Message<'_>, wakes: &mut Wakes) -> bool {
        let turn = subscription.take_turn();
        if turn == client::Turn::Over {
            return false;
        }
        let client = &subscription.client;
        let queued = send(client, &subscription.sid, message);
        wakes.note(client, queued);
        if turn == client::Turn::DeliverLast {
            self.unsubscribe(client, &subscription.sid);
        }
        queued != Queued::Closed
    }
}

/// Queues one message for one client, as HMSG or, for a client without headers, as MSG.
pub fn send(client: &Client, sid: &[u8], message: &Message<'_>) -> Queued {
    let Message {
        subject,
        reply,
        header_len,
        body,
        backing,
    } = *message;
    let queued = if header_len > 0 && client.headers.load(Ordering::Relaxed) {
        let head = |out: &mut _| write::hmsg_line(out, subject, sid, reply, header_len, body.len());
        client.outbox.queue(head, body, backing)
    } else {
        let payload = &body[header_len..];
        let head = |out: &mut _| write::msg_line(out, subject, sid, reply, payload.len());
        client.outbox.queue(head, payload, backing)
    };
    client.replies.note(reply);
    client.traffic.out_msgs.fetch_add(1, Ordering::Relaxed);
    client
        .traffic
        .out_bytes
        .fetch_add(body.len() as u64, Ordering::Relaxed);
    queued
}

impl Matches {
    pub fn clear(&mut self) {
        self.plain.clear();
        self.queues.clear();
    }

    /// A subscription of that client that is in no queue group.
    pub fn plain_of(&self, id: ClientId) -> Option<&Arc<Subscription>> {
        self.plain
            .iter()
            .find(|subscription| subscription.client.id == id)
    }

    fn add(&mut self, subscription: &Arc<Subscription>) {
        let Some(queue) = &subscription.queue else {
            self.plain.push(Arc::clone(subscription));
            return;
        };
        match self.queues.iter_mut().find(|(name, _)| name == queue) {
            Some((_, members)) => members.push(Arc::clone(subscription)),
            None => self.queues.push((queue.clone(), vec![Arc::clone(subscription)])),
        }
    }
}
