//! A worker process, as far as a test needs one: a thread with a runtime, connections and a clock of its own. To kill it is
//! to drop all of that in the middle of whatever it does; to stop it is to block its thread.

use std::sync::{Arc, mpsc as blocking};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Build;
use crate::edge::{self, Faults};
use crate::{App, Running, Settings};

/// What a process is asked from outside.
enum Ask {
    /// Time passes.
    Advance(Duration, oneshot::Sender<()>),
    /// Stop in good order.
    Drain(oneshot::Sender<()>),
}

/// A process that runs, stands still, or has died.
pub(super) struct Process {
    pub(super) faults: Arc<Faults>,
    /// The name in which it writes to the database.
    pub(super) owner: String,
    /// Stream and durable name of each of its handlers.
    pub(super) consumers: Vec<(String, &'static str)>,
    asks: mpsc::UnboundedSender<Ask>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What a process tells when it has started.
struct Started {
    owner: String,
    consumers: Vec<(String, &'static str)>,
}

impl Process {
    /// Starts the app that `build` makes; ready when this returns.
    pub(super) async fn start(settings: Settings, build: Build) -> Process {
        let faults = Arc::<Faults>::default();
        let (asks, asked) = mpsc::unbounded_channel();
        let (started, told) = oneshot::channel();
        let its_faults = Arc::clone(&faults);
        let thread = thread::Builder::new()
            .name("worker process".to_owned())
            .spawn(move || {
                edge::enter(Arc::clone(&its_faults));
                live(settings, &build, &its_faults, asked, started);
            })
            .unwrap_or_else(|error| panic!("no thread for a worker process: {error}"));
        let Started { owner, consumers } = match told.await {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => panic!("the app does not start: {error}"),
            Err(_) => panic!("the app does not start: it panicked"),
        };
        Process {
            faults,
            owner,
            consumers,
            asks,
            thread: Some(thread),
        }
    }

    /// Lets time pass. One that stands still catches up when it goes on.
    pub(super) async fn advance(&self, by: Duration) {
        let (done, seen) = oneshot::channel();
        if self.faults.is_stalled() {
            self.faults.miss(by);
        } else if self.asks.send(Ask::Advance(by, done)).is_ok() {
            // It may die, or come to a stand, at the very next edge.
            let stuck = async {
                while !(self.faults.is_stalled() || self.faults.is_dead()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = seen => {}
                () = stuck => {}
            }
        }
    }

    /// Stops it in good order.
    pub(super) async fn drain(mut self) {
        let (done, seen) = oneshot::channel();
        if self.asks.send(Ask::Drain(done)).is_ok() {
            let _ = seen.await;
        }
        self.reap().await;
    }

    /// The end, as by `kill -9`.
    pub(super) async fn kill(mut self) {
        self.faults.kill();
        self.reap().await;
    }

    /// Waits until nothing of it is left.
    async fn reap(&mut self) {
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            assert!(
                matches!(joined, Ok(Ok(()))),
                "a worker process panicked outside of its handlers"
            );
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.faults.kill();
        // Its thread waits for nobody but its handlers.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn live(
    settings: Settings,
    build: &Build,
    faults: &Faults,
    mut asked: mpsc::UnboundedReceiver<Ask>,
    started: oneshot::Sender<crate::Result<Started>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime for a worker process: {error}"));
    // While this waits, the stopped clock does not jump ahead by itself as soon as nothing is to be done.
    let (release, held) = blocking::channel::<()>();
    runtime.spawn_blocking(move || held.recv());
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = faults.killed.notified() => {}
            () = work(settings, build, &mut asked, started) => {}
        }
    });
    drop(release);
    runtime.shutdown_background();
}

async fn work(
    settings: Settings,
    build: &Build,
    asked: &mut mpsc::UnboundedReceiver<Ask>,
    started: oneshot::Sender<crate::Result<Started>>,
) {
    let running = match begin(settings, build).await {
        Ok((running, facts)) => {
            let _ = started.send(Ok(facts));
            running
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    while let Some(ask) = asked.recv().await {
        match ask {
            Ask::Advance(by, done) => {
                tokio::time::advance(by).await;
                let _ = done.send(());
            }
            Ask::Drain(done) => {
                running.drain().await;
                let _ = done.send(());
                return;
            }
        }
    }
}

async fn begin(settings: Settings, build: &Build) -> crate::Result<(Running, Started)> {
    let app = build(App::connect(settings).await?);
    let owner = app.store().owner().as_str().to_owned();
    let running = app.start().await?;
    let consumers = running.consumers();
    Ok((running, Started { owner, consumers }))
}
