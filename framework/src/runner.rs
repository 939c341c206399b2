//! The pull loop of one handler: as many messages as there are free slots, never more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::Post;
use crate::bus::{Bus, BusError, Incoming, Pull};
use crate::execute::Executor;
use crate::heartbeat::LEASE;

/// The first wait after the broker failed us; it doubles up to [`PAUSE_CAP`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(5);

/// Pulls and executes until `stop`, then waits for what is under way.
pub(crate) async fn run(executor: Executor, bus: Bus, post: Post, stop: CancellationToken) {
    let policy = executor.handler.policy().clone();
    let slots = Arc::new(Semaphore::new(usize::from(policy.concurrency)));
    let tasks = TaskTracker::new();
    let mut pause = PAUSE;
    while !stop.is_cancelled() {
        tokio::select! {
            () = post.valve.opened() => {}
            () = stop.cancelled() => break,
        }
        let consumer = bus
            .consumer(&post.stream, post.durable, executor.handler.subject(), LEASE)
            .await;
        let ended = match consumer {
            Ok(pull) => {
                pause = PAUSE;
                pull_while_well(&pull, &executor, &slots, &tasks, &stop).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(handler = policy.id, %error, "no messages for now; trying again in {pause:?}");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_CAP),
                () = stop.cancelled() => {}
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn pull_while_well(
    pull: &Pull,
    executor: &Executor,
    slots: &Arc<Semaphore>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    loop {
        // Wait for one free slot, then ask for as many messages as are free by now.
        let free = tokio::select! {
            permit = slots.acquire() => { drop(permit); slots.available_permits().max(1) }
            () = stop.cancelled() => return Ok(()),
        };
        let (sender, receiver) = mpsc::channel(free);
        let dispatching = dispatch(receiver, executor, slots, tasks);
        let pulling = async {
            let pulled = pull.pull(free, &sender).await;
            drop(sender);
            pulled
        };
        tokio::select! {
            (pulled, ()) = async { tokio::join!(pulling, dispatching) } => pulled?,
            () = executor.valve.closed() => return Ok(()),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Starts each message in a slot of its own.
async fn dispatch(
    mut from: mpsc::Receiver<Incoming>,
    executor: &Executor,
    slots: &Arc<Semaphore>,
    tasks: &TaskTracker,
) {
    while let Some(incoming) = from.recv().await {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
            return;
        };
        let executor = executor.clone();
        tasks.spawn(async move {
            executor.execute(incoming).await;
            drop(slot);
        });
    }
}
