//! Group commit: what concurrent deliveries write shares transactions.
//!
//! One task owns the writing. Whatever arrives while a transaction is under way goes into the next one; no timer waits for
//! more. Nobody is answered before the commit. Where a transaction fails before its commit, each of its requests is tried
//! in one of its own, so that a bad one fails alone. Where the commit itself fails, all are told: it may have happened, and
//! the fence says so on the next delivery. No two requests of a transaction are for one row, so their order there does
//! not matter; the later one waits for the next.

mod batch;
mod request;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use request::{Beat, Claiming, Ending, Outgoing, Replayed};
use request::{Pending, Reply, Request};

use super::deliveries::{Claim, Lease};
use super::openings::Opening;
use super::{Pool, Store, StoreError, Tx};
use crate::{edge, names};

/// Requests of one transaction: enough to make its fixed costs small, few enough to be done within milliseconds.
const BATCH: usize = 256;
/// Bytes of messages in one transaction, beyond the first that has them.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Requests that wait for their turn; whoever has more waits with them.
const QUEUE: usize = 1024;

/// Postgres may be at the other end of a connection that nothing comes through any more. Shorter than a lease, so that
/// whoever waits is told while the work is still its own.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

/// The way to the task that writes. A handle.
#[derive(Clone)]
pub(super) struct Group {
    requests: mpsc::Sender<Pending>,
    closing: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    commits: Arc<AtomicU64>,
}

impl Group {
    /// Starts the task; it ends when it is closed or the last handle is dropped, whatever it was asked before being done.
    pub(super) fn start(store: impl FnOnce(Group) -> Store) -> Store {
        let (requests, asked) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let group = Self {
            requests,
            closing: closing.clone(),
            task: Arc::default(),
            commits: Arc::default(),
        };
        let commits = Arc::clone(&group.commits);
        let task = Arc::clone(&group.task);
        let store = store(group);
        let writer = Writer {
            // Its own store has no way to the task, or the task would keep itself alive.
            store: store.ungrouped(),
            carried: VecDeque::new(),
            commits,
        };
        let running = tokio::spawn(writer.run(asked, closing));
        *task.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        store
    }

    /// Takes no more, does what was asked, and ends.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It can't panic but by a bug, which the runtime has told.
            let _ = task.await;
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, StoreError> {
        let (answer, answered) = oneshot::channel();
        let pending = Pending { request, answer };
        self.requests
            .send(pending)
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store {
    /// Writes down that a message is about to be opened; gives how many processes have died of that, or `None` while another
    /// one is at it.
    pub(crate) async fn begin_opening(&self, opening: Opening) -> Result<Option<i64>, StoreError> {
        match self.ask(Request::Open(opening)).await? {
            Reply::Opening(deaths) => Ok(deaths),
            _ => Err(StoreError::Closed),
        }
    }

    /// Claims a piece of work. `None`: it is a replay that is not meant for this handler, or is over. The lease counts at
    /// the latest from the time given: after the wait for the database, which may be longer than a lease.
    pub(crate) async fn claim(&self, claiming: Claiming) -> Result<(Option<Claim>, Instant), StoreError> {
        match self.ask(Request::Claim(claiming)).await? {
            Reply::Claimed(claim, since) => Ok((claim, since)),
            _ => Err(StoreError::Closed),
        }
    }

    /// Records that an effect outside SQL begins; false when the lease was lost.
    pub(crate) async fn begin_effect(&self, lease: Lease, effect: String) -> Result<bool, StoreError> {
        self.ask_held(Request::BeginEffect(lease, effect)).await
    }

    /// Writes how a delivery ended; false when the lease was lost and nothing was written.
    pub(crate) async fn settle(&self, ending: Ending) -> Result<bool, StoreError> {
        self.ask_held(Request::Settle(Box::new(ending))).await
    }

    /// The same in a transaction of the delivery's own, together with what else it has written in it.
    pub(crate) async fn settle_within(&self, tx: Tx, ending: &Ending) -> Result<bool, StoreError> {
        let held = self.settle_all_within(tx, &[ending]).await?;
        Ok(held.first().copied().unwrap_or(false))
    }

    /// The same for all deliveries that a transaction was for; if the lease of one was lost, it is rolled back, and nothing
    /// was written of any.
    pub(crate) async fn settle_all_within(
        &self,
        mut tx: Tx,
        endings: &[&Ending],
    ) -> Result<Vec<bool>, StoreError> {
        let settled = async {
            let held = batch::settle(&mut tx, endings).await?;
            match held.iter().all(|held| *held) {
                true => tx.commit().await?,
                false => tx.rollback().await?,
            }
            Ok(held)
        };
        in_time(settled).await.unwrap_or(Err(StoreError::TooSlow(LIMIT)))
    }

    /// Prolongs the leases that are held; false for each that was lost.
    pub(crate) async fn renew(&self, beat: Beat) -> Result<Vec<bool>, StoreError> {
        match self.ask(Request::Renew(beat)).await? {
            Reply::Renewed(held) => Ok(held),
            _ => Err(StoreError::Closed),
        }
    }

    /// Writes down what became of outbox rows.
    pub(crate) async fn relayed(&self, outgoing: Outgoing) -> Result<(), StoreError> {
        self.ask(Request::Relayed(outgoing)).await.map(drop)
    }

    /// How many transactions the group has committed.
    #[cfg(test)]
    pub(super) fn group_commits(&self) -> u64 {
        self.group
            .as_ref()
            .map_or(0, |group| group.commits.load(Ordering::Relaxed))
    }

    async fn ask_held(&self, request: Request) -> Result<bool, StoreError> {
        match self.ask(request).await? {
            Reply::Held(held) => Ok(held),
            _ => Err(StoreError::Closed),
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, StoreError> {
        match &self.group {
            Some(group) => group.ask(request).await,
            None => Err(StoreError::Closed),
        }
    }
}

/// What the work comes to, unless it takes longer than [`LIMIT`]. The test kit's clock, which runs ahead of a database that
/// takes real time, would call each answer too late, and counts for nothing here.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> Option<T> {
    if edge::is_simulated() {
        return Some(work.await);
    }
    tokio::time::timeout(LIMIT, work).await.ok()
}

/// How a transaction of the group failed.
struct Failed {
    error: StoreError,
    /// Before its commit, and not for want of a connection: it may be the fault of one request.
    by_a_request: bool,
}

struct Writer {
    store: Store,
    /// Requests that wait for another one, for the same row, to be committed. In the order of their arrival.
    carried: VecDeque<Pending>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, mut asked: mpsc::Receiver<Pending>, closing: CancellationToken) {
        loop {
            if self.carried.is_empty() {
                let first = tokio::select! {
                    biased;
                    first = asked.recv() => first,
                    () = closing.cancelled(), if !asked.is_closed() => {
                        asked.close();
                        continue;
                    }
                };
                let Some(first) = first else { return };
                self.carried.push_back(first);
                // Those that the last commit has let go on have something to ask by now.
                tokio::task::yield_now().await;
            }
            while self.carried.len() < BATCH {
                let Ok(next) = asked.try_recv() else { break };
                self.carried.push_back(next);
            }
            let batch = self.next_batch();
            self.write(batch).await;
        }
    }

    /// No two of it are for one row.
    fn next_batch(&mut self) -> Vec<Pending> {
        let (mut batch, mut rest) = (Vec::new(), VecDeque::new());
        let mut rows = HashSet::new();
        let mut bytes = 0;
        for pending in std::mem::take(&mut self.carried) {
            if pending.is_abandoned() {
                continue;
            }
            // One that must wait keeps those after it for the same row waiting.
            let fits = batch.is_empty() || bytes + pending.request.bytes() <= BATCH_BYTES;
            let alone = pending.request.row().is_none_or(|row| rows.insert(row));
            if fits && alone {
                bytes += pending.request.bytes();
                batch.push(pending);
            } else {
                rest.push_back(pending);
            }
        }
        self.carried = rest;
        batch
    }

    async fn write(&self, batch: Vec<Pending>) {
        let (requests, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| (pending.request, pending.answer))
            .unzip();
        match self.transact(&requests).await {
            Ok(replies) => {
                for (answer, reply) in answers.into_iter().zip(replies) {
                    // Whoever asked may be gone.
                    let _ = answer.send(Ok(reply));
                }
            }
            Err(failed) if failed.by_a_request && requests.len() > 1 => {
                tracing::debug!(error = %failed.error, "a group of writes failed; each is tried alone");
                for (request, answer) in requests.iter().zip(answers) {
                    let written = self.transact(std::slice::from_ref(request)).await;
                    let reply = written.map_err(|failed| failed.error);
                    let _ = answer
                        .send(reply.and_then(|replies| replies.into_iter().next().ok_or(StoreError::Closed)));
                }
            }
            Err(failed) => {
                let error = Arc::new(failed.error);
                for answer in answers {
                    let _ = answer.send(Err(StoreError::Group(Arc::clone(&error))));
                }
            }
        }
    }

    async fn transact(&self, requests: &[Request]) -> Result<Vec<Reply>, Failed> {
        let written = match &self.store.pool {
            Pool::Sqlite { .. } => self.unhurried(requests).await,
            // Differs because SQLite is no connection: it waits for its disk, or for another process, and then it is there.
            Pool::Postgres { .. } => in_time(self.unhurried(requests)).await.unwrap_or(Err(Failed {
                error: StoreError::TooSlow(LIMIT),
                by_a_request: false,
            })),
        };
        if written.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
            counter!(names::GROUP_COMMITS).increment(1);
            histogram!(names::GROUP_SIZE)
                .record(f64::from(u32::try_from(requests.len()).unwrap_or(u32::MAX)));
        }
        written
    }

    async fn unhurried(&self, requests: &[Request]) -> Result<Vec<Reply>, Failed> {
        let failed = |by_a_request| move |error| Failed { error, by_a_request };
        let mut tx = self.store.begin_group().await.map_err(failed(false))?;
        let written = batch::write(&mut tx, requests).await;
        let replies = match written {
            Ok(replies) => replies,
            Err(error) => {
                // Without an answer, there is nobody to try again with.
                let by_a_request = tx.rollback().await.is_ok();
                return Err(Failed { error, by_a_request });
            }
        };
        tx.commit().await.map_err(failed(false))?;
        Ok(replies)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}
