//! One timer for all deliveries in flight: prolongs their leases in SQL and their ack wait at the broker, and cuts off
//! those whose lease was lost or can't be renewed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::bus::Receipt;
use crate::store::deliveries::Lease;
use crate::store::openings::Opening;
use crate::store::{Beat, LIMIT, Store, StoreError};

/// How long a claim holds without renewal, at the broker and in SQL alike. Short, so that the work of a process that was
/// killed runs again within seconds; several beats long, so that one slow disk sync loses nothing.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
const BEAT: Duration = Duration::from_secs(1);
/// Whoever waits for the database is told that it does not answer while the lease still holds.
const _: () = assert!(LIMIT.as_millis() < LEASE.as_millis());
/// A handler is cut off this long before its lease could be somebody else's.
const SAFETY: Duration = Duration::from_millis(500);

/// The deliveries in flight in this process. A handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeat {
    in_flight: Arc<Mutex<InFlight>>,
}

#[derive(Debug, Default)]
struct InFlight {
    next_id: u64,
    deliveries: HashMap<u64, Delivery>,
    /// Ended without a word in the ledger; to be told with the next beat. No more than were in flight: while the database
    /// is away, nothing is claimed.
    survived: Vec<Lease>,
    /// Being opened, or open and not claimed.
    openings: HashMap<u64, Opening>,
    /// Opened and not claimed; to be told with the next beat.
    opened: Vec<Opening>,
}

#[derive(Debug, Clone)]
struct Delivery {
    lease: Lease,
    receipt: Receipt,
    held_until: Instant,
    lost: CancellationToken,
}

/// Keeps one delivery's lease alive until it is dropped.
#[derive(Debug)]
pub(crate) struct Pulse {
    id: u64,
    heartbeat: Heartbeat,
    lost: CancellationToken,
}

impl Heartbeat {
    /// Keeps `lease`, which was granted at `granted`, alive from now on.
    pub(crate) fn keep(&self, lease: Lease, receipt: Receipt, granted: Instant) -> Pulse {
        let lost = CancellationToken::new();
        let delivery = Delivery {
            lease,
            receipt,
            held_until: granted + LEASE,
            lost: lost.clone(),
        };
        let id = self.locked(|in_flight| {
            in_flight.next_id += 1;
            in_flight.deliveries.insert(in_flight.next_id, delivery);
            in_flight.next_id
        });
        Pulse {
            id,
            heartbeat: self.clone(),
            lost,
        }
    }

    /// The delivery has ended, what became of it could not be written down, and this process lives: it has not crashed.
    pub(crate) fn survived(&self, lease: &Lease) {
        self.locked(|in_flight| in_flight.survived.push(lease.clone()));
    }

    /// This process is about to open a message; it tells that it lives until the message is claimed.
    pub(crate) fn open(&self, opening: Opening) -> Reading {
        let id = self.locked(|in_flight| {
            in_flight.next_id += 1;
            in_flight.openings.insert(in_flight.next_id, opening.clone());
            in_flight.next_id
        });
        Reading {
            id,
            opening,
            heartbeat: self.clone(),
            claimed: false,
        }
    }

    /// Beats until `stop`.
    pub(crate) async fn run(self, store: Store, stop: CancellationToken) {
        // Side by side: a lease runs out in time, however long the database takes to answer.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.beat(&store) => {}
            () = self.watch() => {}
        }
    }

    async fn beat(&self, store: &Store) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let beaten = Instant::now();
            let (due, beat) = self.locked(InFlight::beat);
            if beat.is_empty() {
                continue;
            }
            let (survived, opened) = (beat.survived.len(), beat.opened.len());
            match tokio::time::timeout(LEASE - SAFETY, renew(store, beat)).await {
                Ok(Ok(held)) => {
                    let ids = due.iter().map(|(id, _)| *id);
                    self.mark(&ids.zip(held).collect::<Vec<_>>(), beaten);
                    self.locked(|in_flight| {
                        in_flight.survived.drain(..survived);
                        in_flight.opened.drain(..opened);
                    });
                }
                Ok(Err(error)) => tracing::warn!(%error, "leases were not renewed"),
                Err(_) => tracing::warn!("leases were not renewed in time: the database is slow or away"),
            }
            // The broker's patience is no lease: without this, it redelivers, and the ledger says that it is too early.
            // So it must not hold up the next beat when it is away. What has lost its lease is for somebody else.
            let held = self.still_held(&due);
            let tell = futures_util::future::join_all(held.iter().map(|receipt| receipt.progress()));
            let _ = tokio::time::timeout(SAFETY, tell).await;
        }
    }

    /// The receipts of those whose lease is known to hold.
    fn still_held(&self, due: &[(u64, Delivery)]) -> Vec<Receipt> {
        let now = Instant::now();
        self.locked(|in_flight| {
            let held = due.iter().filter_map(|(id, _)| in_flight.deliveries.get(id));
            held.filter(|delivery| delivery.held_until > now && !delivery.lost.is_cancelled())
                .map(|delivery| delivery.receipt.clone())
                .collect()
        })
    }

    async fn watch(&self) {
        let mut ticks = tokio::time::interval(SAFETY / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.cut_off_expired();
        }
    }

    fn mark(&self, renewed: &[(u64, bool)], beaten: Instant) {
        self.locked(|in_flight| {
            for (id, held) in renewed {
                let Some(delivery) = in_flight.deliveries.get_mut(id) else {
                    continue;
                };
                if *held {
                    delivery.held_until = beaten + LEASE;
                } else {
                    delivery.lost.cancel();
                }
            }
        });
    }

    fn cut_off_expired(&self) {
        let now = Instant::now();
        self.locked(|in_flight| {
            for delivery in in_flight.deliveries.values() {
                if delivery.held_until <= now + SAFETY && !delivery.lost.is_cancelled() {
                    tracing::warn!(
                        handler = delivery.lease.scope,
                        "a handler is cut off: its lease could not be renewed"
                    );
                    delivery.lost.cancel();
                }
            }
        });
    }

    fn locked<T>(&self, change: impl FnOnce(&mut InFlight) -> T) -> T {
        // A panic while holding the lock leaves a map that is still a map.
        change(&mut self.in_flight.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InFlight {
    /// Everything that is to be told, and the deliveries whose leases are in it, in their order.
    fn beat(&mut self) -> (Vec<(u64, Delivery)>, Beat) {
        let deliveries = self.deliveries.iter();
        let due: Vec<_> = deliveries.map(|(id, delivery)| (*id, delivery.clone())).collect();
        let beat = Beat {
            held: due.iter().map(|(_, delivery)| delivery.lease.clone()).collect(),
            by: LEASE,
            survived: self.survived.clone(),
            opening: self.openings.values().cloned().collect(),
            opened: self.opened.clone(),
        };
        (due, beat)
    }
}

async fn renew(store: &Store, beat: Beat) -> Result<Vec<bool>, StoreError> {
    edge!(BeforeRenewal?);
    store.renew(beat).await
}

/// A message that is being opened, or is open and not claimed.
#[derive(Debug)]
pub(crate) struct Reading {
    id: u64,
    opening: Opening,
    heartbeat: Heartbeat,
    claimed: bool,
}

impl Reading {
    pub(crate) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The claim has ended it.
    pub(crate) fn claimed(mut self) {
        self.claimed = true;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.heartbeat.locked(|in_flight| {
            let opening = in_flight.openings.remove(&self.id);
            // Whoever opens it next is not to take this process for dead.
            in_flight.opened.extend(opening.filter(|_| !self.claimed));
        });
    }
}

impl Pulse {
    /// Resolves when the lease is lost: whatever the handler still does is not wanted.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// The right to give a delivery up, without its being told.
#[derive(Debug)]
pub(crate) struct Abandon {
    id: u64,
    heartbeat: Heartbeat,
    lost: CancellationToken,
}

impl Pulse {
    pub(crate) fn abandon(&self) -> Abandon {
        Abandon {
            id: self.id,
            heartbeat: self.heartbeat.clone(),
            lost: self.lost.clone(),
        }
    }
}

impl Abandon {
    /// The lease is prolonged no more, and whatever the handler still does is not wanted.
    pub(crate) fn now(&self) {
        self.heartbeat
            .locked(|in_flight| in_flight.deliveries.remove(&self.id));
        self.lost.cancel();
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.heartbeat
            .locked(|in_flight| in_flight.deliveries.remove(&self.id));
    }
}
