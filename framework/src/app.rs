//! The app: handlers and services on one broker and one database, from start to drain.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::{Batched, HandleBatch};
use crate::bus::Bus;
use crate::cron::{self, Cron, Fire};
use crate::durable;
use crate::error::{Error, Result};
use crate::execute::Executor;
use crate::foreign;
use crate::handler::{AnyHandler, Handle, Handler, Typed};
use crate::health;
use crate::heartbeat::Heartbeat;
use crate::lag;
use crate::layer::Placed;
use crate::message::Message;
use crate::pause::{self, Valve};
use crate::postponed;
use crate::relay;
use crate::retention;
use crate::runner;
use crate::running::{Post, Running};
use crate::settings::Settings;
use crate::slot::{self, Slot};
use crate::spec::Spec;
use crate::state::{Needs, States};
use crate::store::{Store, handlers};
use crate::streams::{self, StreamSpec};

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

    /// Adds a handler that takes many messages at a time, with the spec that it declares.
    #[must_use]
    pub fn batch_handler<H>(self, handler: H) -> Self
    where
        H: Handler + HandleBatch<H::Message>,
    {
        self.batch_handler_with(H::spec(), handler)
    }

    /// Adds a handler that takes many messages at a time, with a spec built by hand.
    #[must_use]
    pub fn batch_handler_with<M: Message, H: HandleBatch<M>>(mut self, spec: Spec<M>, handler: H) -> Self {
        self.handlers.push(Arc::new(Batched::new(handler, spec)));
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
        let posts = posts(&self.bus, &self.handlers).await?;
        register(&self.store, &self.handlers).await?;
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
        keep_house(&running, self.settings.dlq_retention);
        running.keep(pause::watch(self.store.clone(), valves, running.closing.clone()));
        running.keep(lag::watch(
            self.bus.clone(),
            posts.clone(),
            running.closing.clone(),
        ));
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

/// What any process does for all of them. Settled letters stay for `letters`.
fn keep_house(running: &Running, letters: Option<Duration>) {
    let (store, closing) = (&running.store, &running.closing);
    running.keep(relay::run(store.clone(), running.bus.clone(), closing.clone()));
    running.keep(postponed::run(store.clone(), closing.clone()));
    running.keep(retention::run(store.clone(), letters, closing.clone()));
    running.keep(slot::poked(closing.clone()));
}

/// Where each handler gets its messages, in the same order.
async fn posts(bus: &Bus, handlers: &[Arc<dyn AnyHandler>]) -> Result<Vec<Post>> {
    let mut posts = Vec::with_capacity(handlers.len());
    for handler in handlers {
        let stream = streams::for_subject(handler.subject()).name;
        let durable = durable::choose(bus, &stream, handler.policy()).await?;
        let valve = Valve::open(handler.policy().id);
        posts.push(Post {
            stream,
            durable,
            valve,
        });
    }
    Ok(posts)
}

/// Makes the handlers known by name, to those who pause them.
async fn register(store: &Store, all: &[Arc<dyn AnyHandler>]) -> Result<()> {
    let mut tx = store.begin().await?;
    for handler in all {
        let policy = handler.policy();
        for alias in policy.aliases {
            handlers::forget(&mut tx, alias).await?;
        }
        handlers::register(&mut tx, policy.id, handler.subject()).await?;
    }
    Ok(tx.commit().await?)
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
