//! A connected client and its subscriptions, as the rest of the broker sees them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use tokio::sync::Notify;

use super::outbox::{Outbox, Pending};
use super::replies::Replies;
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
    pub activity: Activity,
    /// Requests that it may answer although it may publish nothing else.
    pub replies: Replies,
    /// Does it understand INFO at any time?
    pub takes_infos: AtomicBool,
    /// Told when users or permissions may have changed.
    pub recheck: Notify,
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

/// When something last passed, and how long a PONG takes.
#[derive(Debug, Default)]
pub struct Activity {
    /// Milliseconds since the epoch; 0 for never.
    last: AtomicU64,
    /// Nanoseconds; 0 for unknown.
    round_trip: AtomicU64,
}

impl Activity {
    pub fn note(&self) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    pub fn last(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    pub fn note_round_trip(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.round_trip.store(nanos.max(1), Ordering::Relaxed);
    }

    pub fn round_trip(&self) -> Option<Duration> {
        Some(self.round_trip.load(Ordering::Relaxed))
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos)
    }
}

impl Traffic {
    /// Adds another's counts.
    pub fn add(&self, other: &Traffic) {
        let pairs = [
            (&self.in_msgs, &other.in_msgs),
            (&self.in_bytes, &other.in_bytes),
            (&self.out_msgs, &other.out_msgs),
            (&self.out_bytes, &other.out_bytes),
        ];
        for (sum, count) in pairs {
            sum.fetch_add(count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// What CONNECT told, for monitoring.
#[derive(Debug, Default, Clone)]
pub struct Identity {
    pub name: Option<String>,
    pub lang: Option<String>,
    pub version: Option<String>,
    /// Empty for whoever gave no credentials.
    pub user: String,
    pub account: String,
}

#[derive(Debug)]
pub struct Subscription {
    pub client: Arc<Client>,
    pub sid: Bytes,
    pub filter: Filter,
    pub queue: Option<Bytes>,
    /// Subjects that the client may not receive though the filter matches them.
    withheld: Mutex<Vec<Filter>>,
    withholds: AtomicBool,
    delivered: AtomicU64,
    /// Deliveries after which the subscription ends; 0 is without end.
    max: AtomicU64,
}

impl Client {
    pub fn new(id: ClientId, address: SocketAddr, max_pending: usize, all: Arc<Pending>) -> Client {
        Client {
            id,
            address,
            started: SystemTime::now(),
            outbox: Outbox::new(max_pending, all),
            headers: AtomicBool::new(false),
            echo: AtomicBool::new(true),
            traffic: Traffic::default(),
            activity: Activity::default(),
            replies: Replies::default(),
            takes_infos: AtomicBool::new(false),
            recheck: Notify::new(),
            identity: Mutex::default(),
            subscriptions: Mutex::default(),
        }
    }

    pub fn subscription_count(&self) -> usize {
        self.lock().len()
    }

    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.lock().values().cloned().collect()
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
            withheld: Mutex::default(),
            withholds: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    /// Withholds what these filters match from now on.
    pub fn withhold(&self, filters: Vec<Filter>) {
        self.withholds.store(!filters.is_empty(), Ordering::Release);
        *self.withheld.lock().unwrap_or_else(PoisonError::into_inner) = filters;
    }

    pub(super) fn withholds(&self, subject: &[u8]) -> bool {
        let matches = |filters: &Vec<Filter>| filters.iter().any(|filter| filter.matches(subject));
        self.withholds.load(Ordering::Acquire)
            && matches(&self.withheld.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the subscription after `max` deliveries in total. True when that many have already been made.
    pub fn limit(&self, max: u64) -> bool {
        self.max.store(max, Ordering::SeqCst);
        self.delivered.load(Ordering::SeqCst) >= max
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
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
