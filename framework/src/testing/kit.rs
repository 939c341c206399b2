//! The kit: one broker, one database, and the worker processes on them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use postroom_broker::{Broker, Config};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::delivery::{Bare, Delivery};
use super::process::Process;
use super::{Build, Edge};
use crate::bus::Bus;
use crate::store::dead_letters::{self, DeadLetter, Replay};
use crate::store::{Store, rehearsal};
use crate::{App, Message, Settings};

/// Where a file is memory, on Linux.
const MEMORY: &str = "/dev/shm";
/// More letters than a test looks at.
const LETTERS: u32 = 10_000;

/// A worker under test, with a broker and a database of its own.
///
/// It runs apart from the test's own runtime, whatever that is. Dropped, it leaves nothing behind.
pub struct Kit {
    pub(super) stage: Arc<Stage>,
    /// Where the broker and the kit's own hands run, in real time.
    runtime: Option<Runtime>,
}

/// What the kit's hands share.
pub(super) struct Stage {
    pub(super) store: Store,
    pub(super) bus: Bus,
    pub(super) broker: Broker,
    pub(super) processes: Mutex<Vec<Process>>,
    /// What is still to be delivered while a task is held at an edge.
    pub(super) interludes: Mutex<Vec<Bare>>,
    settings: Settings,
    build: Build,
    _folder: TempDir,
}

impl Kit {
    /// Starts broker, database and one worker process with what `build` adds to its app. `build` is called for each
    /// process anew, so also after each crash; what a handler keeps in memory is lost then, unless the test shares it.
    ///
    /// # Panics
    /// When something can't be started.
    pub async fn start(build: impl Fn(App) -> App + Send + Sync + 'static) -> Kit {
        Self::open(None, Arc::new(build)).await
    }

    /// The same on a database that the test brings, such as an empty one on a PostgreSQL server. Its clock stands still
    /// from then on, so it is of no use to anybody else.
    ///
    /// # Panics
    /// As [`start`](Self::start), and when the database was used for this before.
    pub async fn start_on(database_url: &str, build: impl Fn(App) -> App + Send + Sync + 'static) -> Kit {
        Self::open(Some(database_url.to_owned()), Arc::new(build)).await
    }

    async fn open(database_url: Option<String>, build: Build) -> Kit {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("test kit")
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("no runtime for the test kit: {error}"));
        let stage = runtime.spawn(async move {
            let stage = Arc::new(Stage::set(database_url, build).await);
            stage.add_process().await;
            stage
        });
        let stage = finished(stage.await);
        Kit {
            stage,
            runtime: Some(runtime),
        }
    }

    /// Delivers `message`, and waits until it, and all that comes of it, is settled: done, discarded, or dead, and
    /// published. What is to go wrong meanwhile is said on the [`Delivery`].
    #[must_use = "nothing is delivered before it is awaited"]
    pub fn deliver<M: Message>(&self, message: &M) -> Delivery<'_> {
        Delivery::of(self, message)
    }

    /// Waits until everything is settled, letting as much time pass as that takes.
    ///
    /// # Panics
    /// When it does not come to an end.
    pub async fn settle(&self) {
        let stage = Arc::clone(&self.stage);
        self.run(async move { stage.until_settled(Vec::new()).await })
            .await;
    }

    /// Lets time pass for worker, database and broker alike.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn advance(&self, by: Duration) {
        let stage = Arc::clone(&self.stage);
        self.run(async move { stage.advance(by).await }).await;
    }

    /// Kills the worker process as `kill -9` would, and starts another one.
    ///
    /// # Panics
    /// When that does not start.
    pub async fn crash(&self) {
        let stage = Arc::clone(&self.stage);
        self.run(async move { stage.crash().await }).await;
    }

    /// Stops the worker process in good order, and starts another one.
    ///
    /// # Panics
    /// When that does not start.
    pub async fn restart(&self) {
        let stage = Arc::clone(&self.stage);
        self.run(async move {
            for process in stage.take_processes().await {
                process.drain().await;
            }
            stage.add_process().await;
        })
        .await;
    }

    /// Sends a dead letter once more to its handler, as `postroom dlq replay` does, and waits until all is settled.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn replay(&self, letter: &DeadLetter) -> Replay {
        let (stage, id) = (Arc::clone(&self.stage), letter.id.clone());
        self.run(async move {
            let replay = dead_letters::replay(&stage.store, &id, "test").await;
            let replay = replay.unwrap_or_else(|error| panic!("{error}"));
            stage.until_settled(Vec::new()).await;
            replay
        })
        .await
    }

    /// The dead letters, newest first.
    ///
    /// # Panics
    /// When the database refuses.
    #[must_use]
    pub fn letters(&self) -> Vec<DeadLetter> {
        let stage = Arc::clone(&self.stage);
        self.block(async move {
            let letters = async {
                let mut tx = stage.store.read().await?;
                dead_letters::list(&mut tx, None, LETTERS).await
            };
            letters.await.unwrap_or_else(|error| panic!("{error}"))
        })
    }

    /// Checks that the work of handlers was committed `expected` times in all. Counted by the database at each commit,
    /// not read from the ledger.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn assert_effects(&self, expected: i64) {
        let stage = Arc::clone(&self.stage);
        let effects = self.block(async move {
            let effects = rehearsal::effects(&stage.store).await;
            effects.unwrap_or_else(|error| panic!("{error}"))
        });
        assert!(
            effects == expected,
            "handlers committed their work {effects} times, not {expected}; dead letters: {:?}",
            self.letters()
                .iter()
                .map(|letter| (&letter.reason, &letter.error))
                .collect::<Vec<_>>()
        );
    }

    /// The database, to prepare and to look at the tables of handlers. On the test's own runtime use
    /// [`database_url`](Self::database_url) for a store of its own.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.stage.settings.database_url
    }

    /// Which edges the worker processes that are alive have passed.
    #[must_use]
    pub fn passed(&self) -> Vec<Edge> {
        let stage = Arc::clone(&self.stage);
        self.block(async move {
            let processes = stage.processes.lock().await;
            let passed = processes.iter().flat_map(|process| process.faults.passed());
            let mut passed: Vec<_> = passed.collect();
            passed.sort_unstable();
            passed.dedup();
            passed
        })
    }

    /// Runs `work` on the kit's runtime.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        finished(self.handle().spawn(work).await)
    }

    /// The same for callers that can't wait. The kit's runtime is not the caller's, so this blocks nobody else.
    pub(super) fn block<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, seen) = blocking::channel();
        let task = self.handle().spawn(async move {
            let _ = done.send(work.await);
        });
        match seen.recv() {
            Ok(value) => value,
            Err(_) => panic!(
                "the test kit failed; its panic is told above (task {})",
                task.id()
            ),
        }
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        match &self.runtime {
            Some(runtime) => runtime.handle(),
            None => panic!("the kit is being dropped"),
        }
    }
}

impl Stage {
    async fn set(database_url: Option<String>, build: Build) -> Stage {
        let memory = Path::new(MEMORY);
        let mut folder = tempfile::Builder::new();
        let folder = match folder.prefix("postroom-kit-").tempdir_in(memory) {
            Ok(folder) => folder,
            // Not Linux, or a container without it.
            Err(_) => folder
                .tempdir()
                .unwrap_or_else(|error| panic!("no temporary folder: {error}")),
        };
        let config = Config::new()
            .listen(([127, 0, 0, 1], 0).into())
            .store_dir(folder.path().join("broker"));
        let broker = Broker::start(config)
            .await
            .unwrap_or_else(|error| panic!("the broker: {error}"));
        let settings = Settings {
            nats_url: broker.client_url(),
            database_url: database_url
                .unwrap_or_else(|| format!("sqlite:{}", folder.path().join("postroom.db").display())),
            ..Settings::default()
        };
        let opened = async {
            let store = Store::open(&settings.database_url).await?;
            rehearsal::prepare(&store).await?;
            Ok::<_, crate::Error>((store, Bus::connect(&settings.nats_url, "test kit").await?))
        };
        let (store, bus) = opened.await.unwrap_or_else(|error| panic!("{error}"));
        Stage {
            store,
            bus,
            broker,
            processes: Mutex::default(),
            interludes: Mutex::default(),
            settings,
            build,
            _folder: folder,
        }
    }

    pub(super) async fn add_process(&self) {
        let process = Process::start(self.settings.clone(), Arc::clone(&self.build)).await;
        self.processes.lock().await.push(process);
    }

    async fn take_processes(&self) -> Vec<Process> {
        std::mem::take(&mut *self.processes.lock().await)
    }

    pub(super) async fn crash(&self) {
        for process in self.take_processes().await {
            process.kill().await;
        }
        self.add_process().await;
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit")
            .field("settings", &self.stage.settings)
            .finish_non_exhaustive()
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        // Not waited for: the test may be on a runtime that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a task of the kit gave; its panic is the test's.
fn finished<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => panic!("the test kit was stopped: {error}"),
    }
}
