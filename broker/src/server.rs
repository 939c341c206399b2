//! A running broker: the accept loop, who is connected, and an orderly end.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Auth, Config, Limits};
use crate::connection;
use crate::jetstream::{JetStream, OpenError, names};
use crate::monitor;
use crate::protocol::info::{API_LEVEL, PROTOCOL, VERSION};
use crate::protocol::{ClientError, Info, write};
use crate::router::{Client, ClientId, Router};
use crate::session::{Session, auth_is_required};
use crate::store::StoreError;

/// After a failed accept (no file descriptors, say) trying again at once would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

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
    #[error("starting was interrupted")]
    Interrupted,
}

/// A broker that accepts clients. Dropping it stops it abruptly; [`Broker::shutdown`] lets it finish.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    monitoring: Option<SocketAddr>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// What the accept loop and monitoring share.
#[derive(Debug)]
pub struct Shared {
    pub server_id: String,
    pub server_name: String,
    pub address: SocketAddr,
    pub limits: Limits,
    pub started: SystemTime,
    pub router: Router,
    pub jetstream: Option<JetStream>,
    pub total_connections: AtomicU64,
    pub slow_consumers: AtomicU64,
    auth: Arc<Auth>,
    clients: Mutex<HashMap<ClientId, Arc<Client>>>,
}

impl Broker {
    /// Opens the store, listens, and accepts clients from then on.
    pub async fn start(config: Config) -> Result<Broker, StartError> {
        let listener = listen(config.listen).await?;
        let monitoring = match config.monitoring {
            Some(address) => {
                let listener = listen(address).await?;
                Some((local_address(&listener, address)?, listener))
            }
            None => None,
        };
        let address = local_address(&listener, config.listen)?;
        let server_id = names::server_id();
        let server_name = config.server_name.clone().unwrap_or_else(|| server_id.clone());
        let router = Router::default();
        let jetstream = open_jetstream(&config, &router, &server_name).await?;
        let shared = Arc::new(Shared {
            server_id,
            server_name,
            address,
            limits: config.limits,
            started: SystemTime::now(),
            router,
            jetstream,
            total_connections: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
            auth: Arc::new(config.auth),
            clients: Mutex::default(),
        });
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let monitoring = monitoring.map(|(address, listener)| {
            tasks.spawn(monitor::serve(listener, Arc::clone(&shared), shutdown.clone()));
            address
        });
        let accepting = accept_loop(listener, Arc::clone(&shared), shutdown.clone(), tasks.clone());
        tasks.spawn(accepting);
        Ok(Broker {
            shared,
            monitoring,
            shutdown,
            tasks,
        })
    }

    /// `nats://host:port`, with an address that can be connected to from this machine.
    pub fn client_url(&self) -> String {
        format!("nats://{}", reachable(self.shared.address))
    }

    pub fn monitoring_url(&self) -> Option<String> {
        self.monitoring
            .map(|address| format!("http://{}", reachable(address)))
    }

    pub fn client_address(&self) -> SocketAddr {
        self.shared.address
    }

    pub fn monitoring_address(&self) -> Option<SocketAddr> {
        self.monitoring
    }

    pub fn server_id(&self) -> &str {
        &self.shared.server_id
    }

    pub fn server_name(&self) -> &str {
        &self.shared.server_name
    }

    /// Moves JetStream's clocks ahead, for tests: what is due within `by`, such as a redelivery, is due now.
    #[cfg(feature = "testing")]
    pub fn advance(&self, by: Duration) {
        if let Some(jetstream) = &self.shared.jetstream {
            jetstream.advance(by);
        }
    }

    /// Accepts no more, ends every connection, syncs every stream, and returns when nothing is left running.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(jetstream) = self.shared.jetstream.clone() {
            // A panic in there is logged by the thread's own join.
            let _ = tokio::task::spawn_blocking(move || jetstream.close()).await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(jetstream) = &self.shared.jetstream {
            jetstream.close_inboxes();
        }
    }
}

impl Shared {
    pub fn clients(&self) -> Vec<Arc<Client>> {
        let mut clients: Vec<_> = self.lock().values().cloned().collect();
        clients.sort_by_key(|client| client.id);
        clients
    }

    pub fn connection_count(&self) -> usize {
        self.lock().len()
    }

    pub fn auth_required(&self) -> bool {
        auth_is_required(&self.auth)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClientId, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info_for(&self, client: &Client) -> Info {
        Info {
            server_id: self.server_id.clone(),
            server_name: self.server_name.clone(),
            version: VERSION,
            proto: PROTOCOL,
            host: self.address.ip().to_string(),
            port: self.address.port(),
            headers: true,
            auth_required: self.auth_required(),
            max_payload: self.limits.max_payload,
            jetstream: self.jetstream.is_some(),
            client_id: client.id.0,
            client_ip: client.address.ip().to_string(),
            connect_info: false,
            remote_account: None,
            api_lvl: API_LEVEL,
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { address },
            _ => StartError::Listen { address, source },
        })
}

fn local_address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: asked,
        source,
    })
}

/// Opening reads whole logs, so it happens off the runtime's threads.
async fn open_jetstream(
    config: &Config,
    router: &Router,
    server_name: &str,
) -> Result<Option<JetStream>, StartError> {
    let Some(root) = config.store_dir.clone() else {
        return Ok(None);
    };
    let (sync, router, server_name) = (config.sync, router.clone(), server_name.to_owned());
    let opening = tokio::task::spawn_blocking(move || JetStream::open(&root, sync, router, &server_name));
    match opening.await {
        Ok(Ok(jetstream)) => Ok(Some(jetstream)),
        Ok(Err(OpenError::Locked { path })) => Err(StartError::StoreLocked { path }),
        Ok(Err(OpenError::NotWritable { path, source })) => {
            Err(StartError::StoreNotWritable { path, source })
        }
        Ok(Err(OpenError::Store(StoreError::NewerFormat {
            path,
            found,
            supported,
        }))) => Err(StartError::StoreNewer {
            path,
            found,
            supported,
        }),
        Ok(Err(OpenError::Store(error))) => Err(StartError::Store(error)),
        Err(_cancelled) => Err(StartError::Interrupted),
    }
}

/// A wildcard address listens everywhere but can not be connected to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn accept_loop(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let served = serve(stream, address, Arc::clone(&shared), shutdown.clone());
                tasks.spawn(served);
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>, shutdown: CancellationToken) {
    // Only slower without it; nothing to do about a socket that refuses.
    let _ = stream.set_nodelay(true);
    if shared.connection_count() >= shared.limits.max_connections {
        return refuse(stream).await;
    }
    let id = ClientId(shared.total_connections.fetch_add(1, Ordering::Relaxed) + 1);
    let client = Arc::new(Client::new(id, address, shared.limits.max_pending));
    shared.lock().insert(id, Arc::clone(&client));
    let session = Session::new(
        Arc::clone(&client),
        shared.router.clone(),
        shared.jetstream.clone(),
        shared.info_for(&client),
        Arc::clone(&shared.auth),
        &shared.limits,
    );
    let limits = shared.limits.clone();
    let reason = connection::serve(stream, client, session, shared.router.clone(), limits, shutdown).await;
    if matches!(reason, ClientError::SlowConsumer | ClientError::WriteDeadline) {
        shared.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }
    shared.lock().remove(&id);
}

async fn refuse(mut stream: TcpStream) {
    let mut line = bytes::BytesMut::new();
    write::error(&mut line, ClientError::MaxConnections);
    // The peer is not wanted; whether it hears why is its own affair.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &line).await;
}
