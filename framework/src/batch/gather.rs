//! Where deliveries meet: a batch gathers, has its turn, and tells each of its items what became of it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::{BatchCx, HandleBatch, Item};
use crate::cx::Cx;
use crate::explain::panic_text;
use crate::headers;
use crate::message::Message;
use crate::outcome::{Failure, Verdict};
use crate::spec::Policy;
use crate::store::deliveries::{Lease, Settlement};
use crate::store::{Ending, Store, Tx};

pub(super) struct Gatherer<H, M> {
    pub(super) handler: H,
    size: usize,
    within: Duration,
    timeout: Duration,
    /// The batch that still takes items.
    open: Mutex<Option<Arc<Gathered<M>>>>,
    /// So many batches at a time.
    turns: Semaphore,
}

struct Gathered<M> {
    seats: Mutex<Vec<Seat<M>>>,
    full: Notify,
}

/// A delivery that waits for its verdict.
struct Seat<M> {
    item: Item<M>,
    lease: Lease,
    verdict: oneshot::Sender<Told<M>>,
}

/// What became of an item.
pub(super) enum Told<M> {
    /// It is done, and is to be settled.
    Done(Item<M>),
    /// It is done and settled, with this result.
    Committed(Option<String>),
    Failed(Failure),
    /// It is to run again at once, alone.
    Alone,
}

/// How the handler left a batch.
enum Left {
    /// Each item has its own verdict.
    Handled,
    /// With an error of the whole.
    Failed(Failure),
    /// In the middle.
    Broken(Failure),
}

impl<H: HandleBatch<M>, M: Message> Gatherer<H, M> {
    pub(super) fn new(handler: H, policy: &Policy) -> Self {
        let batch = policy.batch;
        Self {
            handler,
            size: batch.map_or(1, |batch| usize::from(batch.size)),
            within: batch.map(|batch| batch.within).unwrap_or_default(),
            timeout: policy.timeout,
            open: Mutex::default(),
            turns: Semaphore::new(usize::from(policy.concurrency)),
        }
    }

    /// In a batch of one.
    pub(super) async fn alone(&self, message: M, cx: &mut Cx<'_>) -> Result<(), Failure> {
        let mut items = [Item::of(message, cx)];
        let mut batch = BatchCx::new(cx.store().clone());
        let handled = self.handler.handle_batch(&mut items, &mut batch);
        let handled = tokio::time::timeout(self.timeout, handled).await;
        // What fails is rolled back with its delivery.
        cx.tx = batch.tx.take();
        let [item] = items;
        match (item.failure, handled) {
            (_, Err(_)) => Err(self.too_long()),
            (Some(failure), _) => Err(failure),
            (None, Ok(Err(error))) => Err(Failure::of(&error)),
            (None, Ok(Ok(()))) => {
                (cx.outbox, cx.result) = (item.outbox, item.result);
                Ok(())
            }
        }
    }

    /// Joins the batch that gathers, or begins one.
    pub(super) fn join(self: &Arc<Self>, item: Item<M>, cx: &Cx<'_>) -> oneshot::Receiver<Told<M>> {
        let (verdict, told) = oneshot::channel();
        let lease = cx.lease().clone();
        let seat = Seat { item, lease, verdict };
        let mut open = locked(&self.open);
        let gathered = open.get_or_insert_with(|| {
            let gathered = Arc::new(Gathered {
                seats: Mutex::default(),
                full: Notify::new(),
            });
            tokio::spawn(Arc::clone(self).lead(Arc::clone(&gathered), cx.store().clone()));
            gathered
        });
        let count = {
            let mut seats = locked(&gathered.seats);
            seats.push(seat);
            seats.len()
        };
        if count >= self.size {
            gathered.full.notify_one();
            *open = None;
        }
        told
    }

    /// Waits until it is full or old enough, and for its turn. Up to then it takes whoever comes.
    async fn lead(self: Arc<Self>, gathered: Arc<Gathered<M>>, store: Store) {
        let _ = tokio::time::timeout(self.within, gathered.full.notified()).await;
        let Ok(_turn) = self.turns.acquire().await else {
            return;
        };
        let seats = {
            let mut open = locked(&self.open);
            if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, &gathered)) {
                *open = None;
            }
            std::mem::take(&mut *locked(&gathered.seats))
        };
        // One whose lease was lost meanwhile waits no more.
        let seats = seats.into_iter().filter(|seat| !seat.verdict.is_closed());
        self.serve(seats.collect(), store).await;
    }

    async fn serve(&self, seats: Vec<Seat<M>>, store: Store) {
        let mut items = Vec::with_capacity(seats.len());
        let mut places = Vec::with_capacity(seats.len());
        for Seat { item, lease, verdict } in seats {
            items.push(item);
            places.push((lease, verdict));
        }
        if items.is_empty() {
            return;
        }
        let mut cx = BatchCx::new(store);
        let left = {
            let nobody_waits = join_all(places.iter_mut().map(|(_, verdict)| verdict.closed()));
            tokio::select! {
                left = self.left(&mut items, &mut cx) => left,
                // The process stops, and all of them are put back.
                _ = nobody_waits => return cx.abandon().await,
            }
        };
        let told = verdicts(left, items, &places, cx).await;
        for ((_, verdict), told) in places.into_iter().zip(told) {
            // Whoever waits no more is told by the fence.
            let _ = verdict.send(told);
        }
    }

    /// Runs the handler inside its timeout, a panic contained.
    async fn left(&self, items: &mut [Item<M>], cx: &mut BatchCx) -> Left {
        let handled = AssertUnwindSafe(self.handler.handle_batch(items, cx)).catch_unwind();
        match tokio::time::timeout(self.timeout, handled).await {
            Ok(Ok(Ok(()))) => Left::Handled,
            Ok(Ok(Err(error))) => Left::Failed(Failure::of(&error)),
            Ok(Err(panic)) => {
                let error = format!("the handler panicked in a batch: {}", panic_text(&*panic));
                Left::Broken(Failure::retryable("panic", error))
            }
            Err(_) => Left::Broken(self.too_long()),
        }
    }

    fn too_long(&self) -> Failure {
        Failure::retryable(
            "timeout",
            format!("the handler took longer than {:?}", self.timeout),
        )
    }
}

type Place<M> = (Lease, oneshot::Sender<Told<M>>);

/// What each item is told, in their order.
async fn verdicts<M>(left: Left, items: Vec<Item<M>>, places: &[Place<M>], mut cx: BatchCx) -> Vec<Told<M>> {
    let lonely = items.len() == 1;
    let failure_of = |item: Item<M>, otherwise: &dyn Fn(Item<M>) -> Told<M>| match item.failure {
        Some(failure) => Told::Failed(failure),
        None => otherwise(item),
    };
    let each = |otherwise: &dyn Fn(Item<M>) -> Told<M>, items: Vec<Item<M>>| -> Vec<Told<M>> {
        items
            .into_iter()
            .map(|item| failure_of(item, otherwise))
            .collect()
    };
    let alone = |_| Told::Alone;
    match left {
        Left::Handled => match cx.tx.take() {
            None => each(&Told::Done, items),
            Some(tx) if items.iter().all(|item| item.failure.is_none()) => {
                committed(&cx.store, tx, items, places).await
            }
            Some(tx) => {
                cx.tx = Some(tx);
                cx.abandon().await;
                each(&alone, items)
            }
        },
        Left::Failed(failure) => {
            cx.abandon().await;
            let of_all = matches!(
                failure.verdict,
                Verdict::Retry { .. } | Verdict::Snooze(_) | Verdict::Pause(_)
            );
            if of_all || lonely {
                each(&|_| Told::Failed(failure.clone()), items)
            } else {
                each(&alone, items)
            }
        }
        Left::Broken(failure) => {
            cx.abandon().await;
            items.iter().map(|_| Told::Failed(failure.clone())).collect()
        }
    }
}

/// Settles all of them in the batch's own transaction.
async fn committed<M>(store: &Store, tx: Tx, items: Vec<Item<M>>, places: &[Place<M>]) -> Vec<Told<M>> {
    let endings: Vec<_> = items
        .iter()
        .zip(places)
        .map(|(item, (lease, _))| item.ending(lease))
        .collect();
    match store
        .settle_all_within(tx, &endings.iter().collect::<Vec<_>>())
        .await
    {
        Ok(held) if held.iter().all(|held| *held) => items
            .into_iter()
            .map(|item| Told::Committed(item.result))
            .collect(),
        Ok(held) => {
            let told = |held: bool| match held {
                true => Told::Alone,
                // It is another's by now, and the fence will say so.
                false => Told::Failed(Failure::retryable("lease", "the lease was lost in a batch")),
            };
            held.into_iter().map(told).collect()
        }
        Err(error) => {
            let error = format!("what the batch did could not be committed: {error}");
            let failure = Failure::retryable("store", error);
            items.iter().map(|_| Told::Failed(failure.clone())).collect()
        }
    }
}

impl<M> Item<M> {
    fn ending(&self, lease: &Lease) -> Ending {
        let result = self.result.clone();
        Ending {
            outbox: self.outbox.clone(),
            replayed: self.headers.get(headers::REPLAY).map(str::to_owned),
            ..Ending::new(lease, Settlement::Done { result })
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while holding the lock leaves a list that is still a list.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
