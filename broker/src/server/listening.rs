//! From a listening socket to a session: what is accepted, encrypted, and served.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shared::Shared;
use super::{StartError, tls, websocket};
use crate::config::{HandshakeFirst, Tls};
use crate::connection;
use crate::protocol::{ClientError, Info, write};
use crate::router::{Client, ClientId};
use crate::session::Session;

/// After a failed accept (no file descriptors, say) trying again at once would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// The first byte of every TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Letters of a nonce; as many as nats-server's eleven bytes make.
const NONCE_LETTERS: usize = 15;

/// Which of a server's listeners a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Plain,
    WebSocket,
}

pub async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { address },
            _ => StartError::Listen { address, source },
        })
}

pub fn local_address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: asked,
        source,
    })
}

/// A wildcard address listens everywhere but can not be connected to.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Accepts until `closing`; those that are connected go on until `shutdown`.
pub async fn accept_loop(
    listener: TcpListener,
    kind: Listener,
    shared: Arc<Shared>,
    closing: CancellationToken,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let connecting = Connecting {
                    kind,
                    address,
                    shared: Arc::clone(&shared),
                    shutdown: shutdown.clone(),
                };
                tasks.spawn(connecting.serve(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A connection that was just accepted.
struct Connecting {
    kind: Listener,
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

impl Connecting {
    async fn serve(self, stream: TcpStream) {
        // Only slower without it; nothing to do about a socket that refuses.
        let _ = stream.set_nodelay(true);
        let Some(client) = self.admit() else {
            return refuse(stream).await;
        };
        let shutdown = self.shutdown.clone();
        // A handshake that never ends must not hold up the end.
        let reason = tokio::select! {
            reason = Box::pin(self.serve_client(stream, &client)) => reason,
            () = async { shutdown.cancelled().await; tokio::time::sleep(connection::END_PATIENCE).await } => ClientError::ServerShutdown,
        };
        self.depart(&client, reason);
    }

    /// Counted under the lock, so that the limit holds however many come at once.
    fn admit(&self) -> Option<Arc<Client>> {
        let limits = self.shared.limits();
        let mut clients = self.shared.lock();
        if clients.len() >= limits.max_connections {
            return None;
        }
        let id = ClientId(self.shared.total_connections.fetch_add(1, Ordering::Relaxed) + 1);
        let client = Client::new(
            id,
            self.address,
            limits.max_pending,
            Arc::clone(&self.shared.pending),
        );
        let client = Arc::new(client);
        clients.insert(id, Arc::clone(&client));
        Some(client)
    }

    fn depart(&self, client: &Client, reason: ClientError) {
        let counted = match reason {
            ClientError::SlowConsumer | ClientError::WriteDeadline => Some(&self.shared.slow_consumers),
            ClientError::StaleConnection => Some(&self.shared.stale_connections),
            _ => None,
        };
        if let Some(count) = counted {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.past.add(&client.traffic);
        self.shared.lock().remove(&client.id);
    }

    async fn serve_client(&self, stream: TcpStream, client: &Arc<Client>) -> ClientError {
        let config = self.shared.config();
        match (self.kind, config.websocket) {
            (Listener::WebSocket, Some(websocket)) => self.serve_websocket(stream, client, &websocket).await,
            _ => self.serve_plain(stream, client, config.tls.as_ref()).await,
        }
    }

    async fn serve_plain(&self, stream: TcpStream, client: &Arc<Client>, tls: Option<&Tls>) -> ClientError {
        let info = self.info(client, tls);
        let (Some(acceptor), Some(tls)) = (&self.shared.tls, tls) else {
            let halves = stream.into_split();
            return self.run(halves, client, info, Vec::new(), false).await;
        };
        match self.handshake(stream, acceptor, tls, &info).await {
            Ok((stream, greeted)) => {
                let names = tls::names(&stream);
                self.run(tokio::io::split(stream), client, info, names, greeted)
                    .await
            }
            Err(error) => {
                tracing::warn!(address = %self.address, "TLS handshake error: {error}");
                ClientError::TlsRequired
            }
        }
    }

    /// INFO in clear text, unless the client knows to begin at once or has to.
    async fn handshake(
        &self,
        mut stream: TcpStream,
        acceptor: &tls::Acceptor,
        tls: &Tls,
        info: &Info,
    ) -> io::Result<(tokio_rustls::server::TlsStream<TcpStream>, bool)> {
        let begins_first = match tls.handshake_first {
            HandshakeFirst::No => false,
            HandshakeFirst::Yes => true,
            HandshakeFirst::Within(patience) => {
                let mut first = [0];
                matches!(timeout(patience, stream.peek(&mut first)).await, Ok(Ok(1)) if first == [TLS_HANDSHAKE])
            }
        };
        if !begins_first {
            let mut line = BytesMut::new();
            write::info(&mut line, info);
            stream.write_all(&line).await?;
        }
        Ok((acceptor.accept(stream).await?, !begins_first))
    }

    async fn serve_websocket(
        &self,
        stream: TcpStream,
        client: &Arc<Client>,
        websocket: &crate::config::WebSocket,
    ) -> ClientError {
        let info = self.info(client, websocket.tls.as_ref());
        let max_payload = self.shared.limits().max_payload;
        let served = async {
            let Some(acceptor) = &self.shared.websocket_tls else {
                let halves = websocket::accept(stream, websocket, max_payload).await?;
                return Ok(self.run(halves, client, info, Vec::new(), false).await);
            };
            let stream = acceptor.accept(stream).await?;
            let names = tls::names(&stream);
            let halves = websocket::accept(stream, websocket, max_payload).await?;
            Ok(self.run(halves, client, info, names, false).await)
        };
        served.await.unwrap_or_else(|error: io::Error| {
            tracing::warn!(address = %self.address, "websocket handshake error: {error}");
            ClientError::Malformed
        })
    }

    fn info(&self, client: &Client, tls: Option<&Tls>) -> Info {
        let nonce = self.shared.realm().needs_nonce().then(nonce);
        self.shared.info_for(client, nonce, tls)
    }

    async fn run<R, W>(
        &self,
        halves: (R, W),
        client: &Arc<Client>,
        info: Info,
        names: Vec<String>,
        greeted: bool,
    ) -> ClientError
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let limits = self.shared.limits();
        let session = Session::new(Arc::clone(client), self.shared.gate.clone(), info, names, &limits);
        connection::serve(
            halves,
            Arc::clone(client),
            session,
            greeted,
            limits,
            self.shutdown.clone(),
        )
        .await
    }
}

async fn refuse(mut stream: TcpStream) {
    let mut line = BytesMut::new();
    write::error(&mut line, ClientError::MaxConnections);
    // The peer is not wanted; whether it hears why is its own affair.
    let _ = stream.write_all(&line).await;
}

/// What a client signs: never the same twice.
fn nonce() -> String {
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric);
    letters.take(NONCE_LETTERS).map(char::from).collect()
}
