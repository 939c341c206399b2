//! An app that runs: asked whether it is idle, paused and resumed by handler, drained.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::error::{Error, Result};
use crate::pause::Valve;
use crate::store::{Store, outbox, pauses};

/// How long a handler that was cut off gets to put its message back.
const ABORT_LIMIT: Duration = Duration::from_secs(5);

/// A running app. Dropped without [`drain`](Self::drain), its tasks go on until the runtime ends.
#[derive(Debug)]
pub struct Running {
    /// What takes work: handlers and services.
    pub(crate) takers: TaskTracker,
    /// What keeps work safe until the last taker has ended: heartbeat, relay, purge, health.
    pub(crate) keepers: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) abort: CancellationToken,
    pub(crate) closing: CancellationToken,
    pub(crate) drain: Duration,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) posts: Vec<Post>,
}

/// Where a handler gets its messages, and whether it may.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) stream: String,
    pub(crate) durable: &'static str,
    pub(crate) valve: Valve,
}

impl Running {
    pub(crate) fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.keepers.spawn(task);
    }

    /// Whether everything that this process has taken up is settled and published: nothing in its outbox, nothing left
    /// for its handlers. A service may find more work at any time.
    ///
    /// # Errors
    /// When broker or database can't be asked.
    pub async fn is_idle(&self) -> Result<bool> {
        // Work leaves the outbox only into a stream, and a stream only into the outbox. So if the outbox is empty, then
        // no handler has anything left, and nothing was added to the outbox meanwhile, there was nothing anywhere.
        let commits = self.store.outbox_commits();
        let mut tx = self.store.read().await?;
        let waiting = outbox::backlog(&mut tx).await?.rows;
        tx.rollback().await?;
        let mut unsettled = 0;
        for Post { stream, durable, .. } in &self.posts {
            unsettled += self.bus.backlog(stream, durable).await?;
        }
        Ok(waiting == 0 && unsettled == 0 && self.store.outbox_commits() == commits)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn consumers(&self) -> Vec<(String, &'static str)> {
        let place = |post: &Post| (post.stream.clone(), post.durable);
        self.posts.iter().map(place).collect()
    }

    /// Lets `handler` rest for this long, or, if `None`, until it is [resumed](Self::resume); in every process. What it
    /// is at is finished; what it has not begun goes back to the broker, no attempt spent.
    ///
    /// # Errors
    /// When this app has no such handler, or the database is away.
    pub async fn pause(&self, handler: &str, rest: Option<Duration>, because: &str) -> Result<()> {
        let valve = self.valve(handler)?;
        let mut tx = self.store.begin().await?;
        pauses::pause(&mut tx, handler, rest, "the app", because).await?;
        tx.commit().await?;
        valve.close(rest);
        Ok(())
    }

    /// Lets `handler` go on, in every process; false if it was not paused.
    ///
    /// # Errors
    /// When this app has no such handler, or the database is away.
    pub async fn resume(&self, handler: &str) -> Result<bool> {
        let valve = self.valve(handler)?;
        let mut tx = self.store.begin().await?;
        let was_paused = pauses::resume(&mut tx, handler).await?;
        tx.commit().await?;
        valve.reopen();
        Ok(was_paused)
    }

    fn valve(&self, handler: &str) -> Result<&Valve> {
        let post = self.posts.iter().find(|post| post.valve.handler == handler);
        post.map(|post| &post.valve)
            .ok_or_else(|| Error::NoSuchHandler(handler.to_owned()))
    }

    /// The broker that it runs on.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Stops gracefully: takes no more messages, lets handlers finish within the drain limit, puts back what is cut off,
    /// flushes the outbox, and closes the connections.
    pub async fn drain(self) {
        self.stop.cancel();
        self.takers.close();
        if tokio::time::timeout(self.drain, self.takers.wait())
            .await
            .is_err()
        {
            tracing::warn!("handlers ran past the drain limit; their messages are put back");
            self.abort.cancel();
            if tokio::time::timeout(ABORT_LIMIT, self.takers.wait())
                .await
                .is_err()
            {
                tracing::warn!("a handler does not stop; its lease will run out");
            }
        }
        self.closing.cancel();
        self.keepers.close();
        if tokio::time::timeout(ABORT_LIMIT, self.keepers.wait())
            .await
            .is_err()
        {
            tracing::warn!("the outbox was not emptied in time; the next process publishes the rest");
        }
        self.bus.flush().await;
        // A handler that does not stop may hold a connection for as long.
        if tokio::time::timeout(ABORT_LIMIT, self.store.close())
            .await
            .is_err()
        {
            tracing::warn!("the database connections are still in use; they end with the process");
        }
    }
}
