//! A connected client and its subscriptions, as the rest of the broker sees them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::outbox::Outbox;
use crate::subject::Filter;

/// Counts connections from 1 over the life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    pub address: SocketAddr,
    pub started: SystemTime,
    pub outbox: Outbox,
    /// May it be sent HMSG? Otherwise headers are stripped.
    pub headers: AtomicBool,
    pub echo: AtomicBool,
    pub traffic: Traffic,
    identity: Mutex<Identity>,
    subscriptions: Mutex<HashMap<Bytes, Arc<Subscription>>>,
}

/// Message and byte counts seen from the server: `in` is what the client published.
#[derive(Debug, Default)]
pub struct Traffic {
    pub in_msgs: AtomicU64,
    pub in_bytes: AtomicU64,
    pub out_msgs: AtomicU64,
    pub out_bytes: AtomicU64,
}

/// What CONNECT told, for monitoring.
#[derive(Debug, Default, Clone)]
pub struct Identity {
    pub name: Option<String>,
    pub lang: Option<String>,
    pub version: Option<String>,
}

#[derive(Debug)]
pub struct Subscription {
    pub client: Arc<Client>,
    pub sid: Bytes,
    pub filter: Filter,
    pub queue: Option<Bytes>,
    delivered: AtomicU64,
    /// Deliveries after which the subscription ends; 0 is without end.
    max: AtomicU64,
}

impl Client {
    pub fn new(id: ClientId, address: SocketAddr, max_pending: usize) -> Client {
        Client {
            id,
            address,
            started: SystemTime::now(),
            outbox: Outbox::new(max_pending),
            headers: AtomicBool::new(false),
            echo: AtomicBool::new(true),
            traffic: Traffic::default(),
            identity: Mutex::default(),
            subscriptions: Mutex::default(),
        }
    }

    pub fn subscription_count(&self) -> usize {
        self.lock().len()
    }

    pub fn subscription(&self, sid: &[u8]) -> Option<Arc<Subscription>> {
        self.lock().get(sid).cloned()
    }

    pub fn identify(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    pub fn identity(&self) -> Identity {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn add(&self, subscription: Arc<Subscription>) {
        self.lock().insert(subscription.sid.clone(), subscription);
    }

    pub(super) fn remove(&self, sid: &[u8]) -> Option<Arc<Subscription>> {
        self.lock().remove(sid)
    }

    pub(super) fn take_all(&self) -> Vec<Arc<Subscription>> {
        self.lock().drain().map(|(_, sub)| sub).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Arc<Subscription>>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a subscription may have one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Deliver,
    DeliverLast,
    Over,
}

impl Subscription {
    pub fn new(client: Arc<Client>, sid: Bytes, filter: Filter, queue: Option<Bytes>) -> Subscription {
        Subscription {
            client,
            sid,
            filter,
            queue,
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    /// Ends the subscription after `max` deliveries in total. True when that many have already been made.
    pub fn limit(&self, max: u64) -> bool {
        self.max.store(max, Ordering::SeqCst);
        self.delivered.load(Ordering::SeqCst) >= max
    }

    pub(super) fn take_turn(&self) -> Turn {
        let count = self.delivered.fetch_add(1, Ordering::SeqCst) + 1;
        match self.max.load(Ordering::SeqCst) {
            0 => Turn::Deliver,
            max if count < max => Turn::Deliver,
            max if count == max => Turn::DeliverLast,
            _ => Turn::Over,
        }
    }
}
