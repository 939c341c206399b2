//! The app: handlers and services on one broker and one database, from start to drain.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::cron::{self, Cron, Fire};
use crate::durable;
use crate::error::{Error, Result};
use crate::execute::Executor;
use crate::foreign;
use crate::handler::{AnyHandler, Handle, Handler, Typed};
use crate::health;
use crate::heartbeat::Heartbeat;
use crate::layer::Placed;
use crate::message::Message;
use crate::pause::{self, Valve};
use crate::relay;
use crate::runner;
use crate::settings::Settings;
use crate::slot::{self, Slot};
use crate::spec::Spec;
use crate::state::{Needs, States};
use crate::store::{Store, deliveries, outbox, pauses};
use crate::streams::{self, StreamSpec};

/// Settled rows that have expired are looked for this often.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// How long a handler that was cut off gets to put its message back.
const ABORT_LIMIT: Duration = Duration::from_secs(5);

type ServiceFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
type Service = Box<dyn FnOnce(CancellationToken) -> ServiceFuture + Send>;

/// Handlers and services, connected and ready to run.
pub struct App {
    settings: Settings,
    store: Store,
    bus: Bus,
    handlers: Vec<Arc<dyn AnyHandler>>,
    pub(crate) layers: Placed,
    pub(crate) states: States,
    pub(crate) needs: Needs,
    services: Vec<Service>,
    crons: Vec<cron::Job>,
}

impl App {
    /// Connects to the broker and the database that the environment names: `NATS_URL`, `DATABASE_URL`; see [`Settings`].
    ///
    /// # Errors
    /// When a variable can't be used, or broker or database can't be reached.
    pub async fn from_env() -> Result<Self> {
        Self::connect(Settings::from_env()?).await
    }

    /// Connects to the broker and the database, and brings its schema up to date.
    ///
    /// # Errors
    /// When broker or database can't be reached.
    pub async fn connect(settings: Settings) -> Result<Self> {
        let store = Store::open(&settings.database_url).await?;
        let bus = Bus::connect(&settings.nats_url, "postroom").await?;
        Ok(Self {
            settings,
            store,
            bus,
            handlers: Vec::new(),
            layers: Placed::default(),
            states: States::default(),
            needs: Needs::default(),
            services: Vec::new(),
            crons: Vec::new(),
        })
    }

    /// Adds a handler with the spec that it declares.
    #[must_use]
    pub fn handler<H>(self, handler: H) -> Self
    where
        H: Handler + Handle<H::Message>,
    {
        self.handler_with(H::spec(), handler)
    }

    /// Adds a handler with a spec built by hand.
    #[must_use]
    pub fn handler_with<M: Message, H: Handle<M>>(mut self, spec: Spec<M>, handler: H) -> Self {
        self.handlers.push(Arc::new(Typed::new(handler, spec)));
        self
    }

    /// Adds a schedule and the message that each of its fires becomes. However many processes have it, each fire is one
    /// message. The planned time is [`Fire::at`]; put what tells two fires apart into the message, and into its handler's key.
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, postroom::Message)]
    /// # #[message(subject = "digests.due", id = "digests.due.v1")]
    /// # struct DigestDue { day: String }
    /// # fn app(app: postroom::App) -> postroom::App {
    /// use postroom::{Cron, Missed};
    ///
    /// let weekdays = Cron::new("nightly-digest", "0 7 * * MON-FRI", "Europe/Berlin").missed(Missed::Coalesce);
    /// app.cron(weekdays, |fire| DigestDue { day: fire.at.date().to_string() })
    /// # }
    /// ```
    #[must_use]
    pub fn cron<M: Message>(
        mut self,
        cron: Cron,
        message: impl Fn(&Fire) -> M + Send + Sync + 'static,
    ) -> Self {
        self.crons.push(cron::Job::new(cron, message));
        self
    }

    /// Adds a task that runs beside the handlers, such as one that watches a mailbox. It is to return soon after its
    /// token is cancelled.
    #[must_use]
    pub fn service<F, Fut>(mut self, service: F) -> Self
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.services.push(Box::new(move |stop| Box::pin(service(stop))));
        self
    }

    /// The database, for services.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The broker, for services and for [requests](Bus::request).
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Runs until Ctrl-C or SIGTERM, then drains.
    ///
    /// # Errors
    /// When it can't start; see [`start`](Self::start).
    pub async fn run(self) -> Result<()> {
        let running = self.start().await?;
        stop_signal().await;
        tracing::info!("stopping: no more messages are taken, those under way are finished");
        running.drain().await;
        Ok(())
    }

    /// Starts everything; gives the handle to stop it.
    ///
    /// # Errors
    /// When a handler's spec or a schedule can't be held, two share an id, a stream or consumer can't be made or doesn't let
    /// a handler keep its promises, or the health port is in use.
    pub async fn start(self) -> Result<Running> {
        self.check_handlers()?;
        let _ = health::metrics();
        for spec in self.streams() {
            self.bus.ensure_stream(&spec).await?;
        }
        foreign::prepare(&self.bus).await;
        let crons = cron::prepare(&self.store, self.crons).await?;
        let mut posts = Vec::new();
        for handler in &self.handlers {
            let stream = streams::for_subject(handler.subject()).name;
            let durable = durable::choose(&self.bus, &stream, handler.policy()).await?;
            let valve = Valve::open(handler.policy().id);
            posts.push(Post {
                stream,
                durable,
                valve,
            });
        }
        let valves: Vec<_> = posts.iter().map(|post| post.valve.clone()).collect();
        pause::look(&self.store, &valves).await?;
        let running = Running {
            takers: TaskTracker::new(),
            keepers: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            closing: CancellationToken::new(),
            drain: self.settings.drain,
            store: self.store.clone(),
            bus: self.bus.clone(),
            posts: posts.clone(),
        };
        let heartbeat = Heartbeat::default();
        running.keep(heartbeat.clone().run(self.store.clone(), running.closing.clone()));
        running.keep(relay::run(
            self.store.clone(),
            self.bus.clone(),
            running.closing.clone(),
        ));
        running.keep(purge(self.store.clone(), running.closing.clone()));
        running.keep(slot::poked(running.closing.clone()));
        running.keep(pause::watch(self.store.clone(), valves, running.closing.clone()));
        if let Some(address) = self.settings.http {
            let (store, bus) = (self.store.clone(), self.bus.clone());
            running.keep(health::serve(address, store, bus, running.closing.clone()).await?);
        }
        for (handler, post) in self.handlers.into_iter().zip(posts) {
            let (store, heartbeat, abort) = (self.store.clone(), heartbeat.clone(), running.abort.clone());
            let executor = Executor {
                layers: self.layers.around(handler.policy().id),
                handler,
                store,
                heartbeat,
                abort,
                valve: post.valve.clone(),
                slot: Slot::default(),
            };
            running.takers.spawn(runner::run(
                executor,
                self.bus.clone(),
                post,
                running.stop.clone(),
            ));
        }
        let (store, stop) = (self.store, &running.stop);
        let cron = cron::run(store.clone(), crons, stop.clone());
        running.takers.spawn(cron);
        running.takers.spawn(foreign::run(store, self.bus, stop.clone()));
        for service in self.services {
            running.takers.spawn(service(running.stop.clone()));
        }
        Ok(running)
    }

    fn check_handlers(&self) -> Result<()> {
        let mut ids = HashSet::new();
        for handler in &self.handlers {
            handler.check()?;
            for name in handler.policy().names() {
                if !ids.insert(name) {
                    return Err(Error::DuplicateHandler(name));
                }
            }
        }
        self.needs.check(&self.states)?;
        self.layers.check(&ids)?;
        Ok(())
    }

    fn streams(&self) -> Vec<StreamSpec> {
        let mut specs = streams::pipeline();
        let consumed = self.handlers.iter().map(|handler| handler.subject());
        for subject in consumed.chain(self.crons.iter().map(|job| job.subject)) {
            let spec = streams::for_subject(subject);
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        specs
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.handlers.iter().map(|handler| handler.policy().id).collect();
        f.debug_struct("App")
            .field("settings", &self.settings)
            .field("handlers", &ids)
            .finish_non_exhaustive()
    }
}

/// A running app. Dropped without [`drain`](Self::drain), its tasks go on until the runtime ends.
#[derive(Debug)]
pub struct Running {
    /// What takes work: handlers and services.
    takers: TaskTracker,
    /// What keeps work safe until the last taker has ended: heartbeat, relay, purge, health.
    keepers: TaskTracker,
    stop: CancellationToken,
    abort: CancellationToken,
    closing: CancellationToken,
    drain: Duration,
    store: Store,
    bus: Bus,
    posts: Vec<Post>,
}

/// Where a handler gets its messages, and whether it may.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) stream: String,
    pub(crate) durable: &'static str,
    pub(crate) valve: Valve,
}

impl Running {
    fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
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

async fn purge(store: Store, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PURGE_EVERY);
    // A process that stood still has one purge to make up for, not all that it has missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Some(recorder) = health::metrics() {
            recorder.run_upkeep();
        }
        // Batch after batch until nothing is left, each a transaction of its own, so that others get their turn in between.
        while !stop.is_cancelled() {
            match purge_batch(&store).await {
                Ok(0) => break,
                Ok(rows) => tracing::debug!(rows, "expired ledger rows were purged"),
                Err(error) => {
                    tracing::warn!(%error, "the ledger could not be purged");
                    break;
                }
            }
        }
    }
}

async fn purge_batch(store: &Store) -> Result<u64> {
    let mut tx = store.begin().await?;
    let rows = deliveries::purge(&mut tx).await?;
    pauses::purge(&mut tx).await?;
    tx.commit().await?;
    Ok(rows)
}

/// Resolves at Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
