//! Encryption of connections: files, and what is asked of clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// TLS for the connections to one listener. The files are read at the start and again on a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM: the server's certificate and those between it and the authority.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
    /// PEM: the authorities whose certificates clients may show.
    pub ca_file: Option<PathBuf>,
    /// Clients must show a certificate of an authority in `ca_file`.
    pub verify: bool,
    /// As `verify`; the certificate also says which user the client is.
    pub verify_and_map: bool,
    pub handshake_first: HandshakeFirst,
    /// How long a handshake may take.
    pub timeout: Duration,
}

/// Whether INFO or the handshake comes first on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HandshakeFirst {
    /// INFO, then the handshake.
    #[default]
    No,
    /// The handshake; nobody learns anything in clear text.
    Yes,
    /// The handshake, if the client begins it within this time; otherwise INFO.
    Within(Duration),
}

/// A listener for NATS within WebSocket frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    /// Browsers' pages from these origins may connect; `None` is from anywhere.
    pub allowed_origins: Option<Vec<String>>,
    /// Only pages that this host served may connect.
    pub same_origin: bool,
}

/// nats-server's.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long nats-server's `auto` waits for the client to begin.
pub const HANDSHAKE_FIRST_AUTO: Duration = Duration::from_millis(50);

impl Tls {
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Tls {
        Tls {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            handshake_first: HandshakeFirst::No,
            timeout: TLS_TIMEOUT,
        }
    }

    /// Asks clients for a certificate of one of the authorities in `ca_file`.
    #[must_use]
    pub fn verify(mut self, ca_file: impl Into<PathBuf>) -> Tls {
        self.ca_file = Some(ca_file.into());
        self.verify = true;
        self
    }

    pub fn asks_for_certificates(&self) -> bool {
        self.verify || self.verify_and_map
    }
}
