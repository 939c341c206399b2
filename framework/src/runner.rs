//! The pull loop of one handler: keeps its slots busy and its waiting room short.
//!
//! One task owns the slots and the room. It asks the broker for as many messages as can begin at once, and for a few more
//! where the handler is quick, so that no slot waits for the broker; a slow handler has nothing pulled ahead.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Incoming, Pull};
use crate::execute::Executor;
use crate::floor::{Floor, HAND_BACK, MOST_AHEAD};
use crate::heartbeat::LEASE;
use crate::running::Post;
use crate::streams;

/// The first wait after the broker failed us; it doubles up to [`PAUSE_CAP`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(5);
/// What waits is reported to the broker, and what is stuck looked for, this often.
const TICK: Duration = Duration::from_secs(1);

/// Pulls and executes until `stop`, then waits for what is under way.
pub(crate) async fn run(executor: Executor, bus: Bus, post: Post, stop: CancellationToken) {
    let handler = executor.handler.policy().id;
    let subject = executor.handler.subject();
    let mut floor = Floor::new(executor);
    let (sender, mut arrivals) = mpsc::channel(MOST_AHEAD);
    let mut pause = PAUSE;
    while !stop.is_cancelled() {
        tokio::select! {
            () = post.valve.opened() => {}
            () = stop.cancelled() => break,
        }
        let ended = match open(&bus, &post, subject).await {
            Ok(pull) => {
                if pause > PAUSE {
                    tracing::info!(
                        handler,
                        stream = post.stream,
                        "stream and consumer are there again"
                    );
                }
                pause = PAUSE;
                let ended = tokio::select! {
                    // In this order: a handler that has paused itself begins nothing in the slot that it frees.
                    biased;
                    () = stop.cancelled() => Ok(()),
                    () = post.valve.closed() => Ok(()),
                    ended = work(&mut floor, &pull, &sender, &mut arrivals) => ended,
                };
                hand_back(&mut floor, &mut arrivals, &pull).await;
                ended
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(handler, %error, "no messages for now; trying again in {pause:?}");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_CAP),
                () = stop.cancelled() => {}
            }
        }
    }
    floor.finish().await;
}

/// The consumer, made if it is missing, and its stream before it: somebody may have deleted both under a running worker.
async fn open(bus: &Bus, post: &Post, subject: &str) -> Result<Pull, BusError> {
    bus.ensure_stream(&streams::for_subject(subject)).await?;
    bus.consumer(&post.stream, post.durable, subject, LEASE).await
}

/// Until the broker fails.
async fn work(
    floor: &mut Floor,
    pull: &Pull,
    sender: &mpsc::Sender<Incoming>,
    arrivals: &mut mpsc::Receiver<Incoming>,
) -> Result<(), BusError> {
    let mut pulling: Option<BoxFuture<'_, Result<(), BusError>>> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrived = Vec::new();
    loop {
        floor.begin_what_can();
        if pulling.is_none()
            // What has arrived and is not admitted yet is on its way to a slot, too.
            && let wanted @ 1.. = floor.wanted().saturating_sub(arrivals.len())
        {
            pulling = Some(Box::pin(pull.pull(wanted, sender)));
        }
        let pulled = async {
            match &mut pulling {
                Some(pulling) => pulling.await,
                None => std::future::pending().await,
            }
        };
        let wake = floor.wake().unwrap_or_else(|| Instant::now() + TICK);
        tokio::select! {
            _ = arrivals.recv_many(&mut arrived, MOST_AHEAD) => floor.admit(std::mem::take(&mut arrived)).await,
            () = floor.ended() => {}
            pulled = pulled => {
                pulled?;
                pulling = None;
            }
            () = tokio::time::sleep_until(wake) => {}
            _ = ticks.tick() => floor.look_around(pull).await,
        }
    }
}

/// What has arrived when nothing more may begin goes back at once, and not when the broker loses patience.
async fn hand_back(floor: &mut Floor, arrivals: &mut mpsc::Receiver<Incoming>, pull: &Pull) {
    floor.hand_back().await;
    while let Ok(incoming) = arrivals.try_recv() {
        incoming.receipt.nak(HAND_BACK).await;
    }
    pull.hand_back(HAND_BACK).await;
}
