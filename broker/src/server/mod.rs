//! A running broker: how it starts, is told of a new configuration, and comes to an orderly end.

mod accounts;
mod lame_duck;
mod listening;
mod reload;
mod shared;
mod tls;
mod websocket;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::jetstream::names;
use crate::monitor;
use crate::router::{Pending, Traffic};
use crate::session::{Gate, Notice, Realm};
use crate::store::StoreError;
use listening::{Listener, listen, local_address, reachable};
pub use reload::ReloadError;
pub use shared::Shared;
use tls::Acceptor;
pub use tls::TlsError;

/// Requests to the server itself that may wait; whoever asks faster gets no answers.
const NOTICES_MAX: usize = 4096;

/// Why a broker did not start; each says what to do about it.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{address} is in use: another server listens there; stop it or choose another port")]
    PortInUse { address: SocketAddr },
    #[error("can not listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("store directory {path} can not be written: {source}; choose another one or grant access")]
    StoreNotWritable { path: PathBuf, source: StoreError },
    #[error("store directory {path} is in use by another server; stop it or choose another directory")]
    StoreLocked { path: PathBuf },
    #[error("{path} was written by a newer version (format {found}, this one knows {supported}); upgrade")]
    StoreNewer {
        path: PathBuf,
        found: u32,
        supported: u32,
    },
    #[error("the store can not be opened: {0}")]
    Store(#[source] StoreError),
    #[error(
        "{address} can be reached by others, and nobody has to say who they are: give --user and --pass, --auth or an \
         `authorization` block, listen on 127.0.0.1, or let anyone in with --allow-anyone (`allow_anyone: true`)"
    )]
    OpenToAnyone { address: SocketAddr },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("starting was interrupted")]
    Interrupted,
}

/// A broker that accepts clients. Dropping it stops it abruptly; [`Broker::shutdown`] lets it finish.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    /// Ends the accepting of connections.
    closing: CancellationToken,
    /// Ends those that are there.
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// Sockets that are bound, before anybody is accepted on them.
struct Sockets {
    clients: TcpListener,
    websocket: Option<TcpListener>,
    monitoring: Option<TcpListener>,
}

impl Broker {
    /// Opens the store, listens, and accepts clients from then on.
    pub async fn start(config: Config) -> Result<Broker, StartError> {
        refuse_strangers(&config)?;
        let (sockets, config) = Sockets::bind(config).await?;
        let (notices, noticed) = mpsc::channel(NOTICES_MAX);
        let shared = Arc::new(shared(config, notices).await?);
        let broker = Broker {
            closing: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            shared,
        };
        broker.run(sockets, noticed);
        Ok(broker)
    }

    fn run(&self, sockets: Sockets, noticed: mpsc::Receiver<Notice>) {
        let Sockets {
            clients,
            websocket,
            monitoring,
        } = sockets;
        let accept = |listener: TcpListener, kind| {
            let (closing, shutdown) = (self.closing.clone(), self.shutdown.clone());
            let (shared, tasks) = (Arc::clone(&self.shared), self.tasks.clone());
            self.tasks.spawn(listening::accept_loop(
                listener, kind, shared, closing, shutdown, tasks,
            ));
        };
        accept(clients, Listener::Plain);
        if let Some(listener) = websocket {
            accept(listener, Listener::WebSocket);
        }
        if let Some(listener) = monitoring {
            self.tasks.spawn(monitor::serve(
                listener,
                Arc::clone(&self.shared),
                self.shutdown.clone(),
            ));
        }
        let answering = monitor::answer_notices(noticed, Arc::clone(&self.shared), self.shutdown.clone());
        self.tasks.spawn(answering);
    }

    /// `nats://host:port`, with an address that can be connected to from this machine; `tls://` where that is needed.
    pub fn client_url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://{}", reachable(self.shared.address))
    }

    /// `ws://host:port`, or `wss://`.
    pub fn websocket_url(&self) -> Option<String> {
        let scheme = if self.shared.websocket_tls.is_some() {
            "wss"
        } else {
            "ws"
        };
        self.shared
            .websocket
            .map(|address| format!("{scheme}://{}", reachable(address)))
    }

    pub fn monitoring_url(&self) -> Option<String> {
        self.shared
            .monitoring
            .map(|address| format!("http://{}", reachable(address)))
    }

    pub fn client_address(&self) -> SocketAddr {
        self.shared.address
    }

    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.shared.websocket
    }

    pub fn monitoring_address(&self) -> Option<SocketAddr> {
        self.shared.monitoring
    }

    pub fn server_id(&self) -> &str {
        &self.shared.server_id
    }

    pub fn server_name(&self) -> &str {
        &self.shared.server_name
    }

    /// Moves JetStream's clocks ahead, for tests: what is due within `by`, such as a redelivery, is due now.
    #[cfg(feature = "testing")]
    pub fn advance(&self, by: std::time::Duration) {
        for jetstream in self.shared.jetstreams() {
            jetstream.advance(by);
        }
    }

    /// Takes over what may change while the server runs: users and permissions, limits, certificates.
    ///
    /// Clients that are not who they were any more are cut off; the others go on. If anything else has changed, or a
    /// file can not be read, nothing is taken over.
    pub fn reload(&self, config: Config) -> Result<(), ReloadError> {
        reload::reload(&self.shared, config)
    }

    /// Accepts no more, tells clients to go elsewhere, ends those that stay one after the other, then shuts down.
    pub async fn lame_duck(self) {
        self.closing.cancel();
        lame_duck::run(&self.shared).await;
        self.shutdown().await;
    }

    /// Accepts no more, ends every connection, syncs every stream, and returns when nothing is left running.
    pub async fn shutdown(self) {
        self.closing.cancel();
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        for jetstream in self.shared.jetstreams() {
            // A panic in there is logged by the thread's own join.
            let _ = tokio::task::spawn_blocking(move || jetstream.close()).await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.closing.cancel();
        self.shutdown.cancel();
        for jetstream in self.shared.jetstreams() {
            jetstream.close_inboxes();
        }
    }
}

impl Sockets {
    /// Binds what `config` asks for; the configuration with the ports that were found.
    async fn bind(mut config: Config) -> Result<(Sockets, Config), StartError> {
        let clients = listen(config.listen).await?;
        config.listen = local_address(&clients, config.listen)?;
        let mut websocket = None;
        if let Some(wanted) = &mut config.websocket {
            let listener = listen(wanted.listen).await?;
            wanted.listen = local_address(&listener, wanted.listen)?;
            websocket = Some(listener);
        }
        let mut monitoring = None;
        if let Some(wanted) = &mut config.monitoring {
            let listener = listen(*wanted).await?;
            *wanted = local_address(&listener, *wanted)?;
            monitoring = Some(listener);
        }
        Ok((
            Sockets {
                clients,
                websocket,
                monitoring,
            },
            config,
        ))
    }
}

/// Whoever can connect and need not say who they are can read and delete everything.
fn refuse_strangers(config: &Config) -> Result<(), StartError> {
    if config.allow_anyone || config.auth.is_required() {
        return Ok(());
    }
    let addresses = [
        Some(config.listen),
        config.websocket.as_ref().map(|websocket| websocket.listen),
    ];
    match addresses
        .into_iter()
        .flatten()
        .find(|address| !address.ip().is_loopback())
    {
        Some(address) => Err(StartError::OpenToAnyone { address }),
        None => Ok(()),
    }
}

async fn shared(config: Config, notices: mpsc::Sender<Notice>) -> Result<Shared, StartError> {
    let server_id = names::server_id();
    let server_name = config.server_name.clone().unwrap_or_else(|| server_id.clone());
    let tls = config.tls.as_ref().map(Acceptor::new).transpose()?;
    let websocket_tls = config
        .websocket
        .as_ref()
        .and_then(|websocket| websocket.tls.as_ref());
    let websocket_tls = websocket_tls.map(Acceptor::new).transpose()?;
    let accounts = accounts::open(&config, &server_name).await?;
    let realm = Realm::new(&config.auth, accounts, maps_certificates(&config));
    let realm = watch::Sender::new(Arc::new(realm));
    let gate = Gate {
        realm: realm.subscribe(),
        guesses: Arc::default(),
        notices,
    };
    Ok(Shared {
        server_id,
        server_name,
        address: config.listen,
        websocket: config.websocket.as_ref().map(|websocket| websocket.listen),
        monitoring: config.monitoring,
        started: SystemTime::now(),
        total_connections: AtomicU64::new(0),
        slow_consumers: AtomicU64::new(0),
        stale_connections: AtomicU64::new(0),
        past: Traffic::default(),
        pending: Arc::new(Pending::new(config.limits.max_pending_total)),
        realm,
        gate,
        limits: RwLock::new(Arc::new(config.limits.clone())),
        config: Mutex::new(config),
        tls,
        websocket_tls,
        is_lame_duck: AtomicBool::new(false),
        clients: Mutex::new(HashMap::new()),
    })
}

fn maps_certificates(config: &Config) -> bool {
    let maps = |tls: &crate::config::Tls| tls.verify_and_map;
    config.tls.as_ref().is_some_and(maps)
        || config
            .websocket
            .as_ref()
            .and_then(|websocket| websocket.tls.as_ref())
            .is_some_and(maps)
}
