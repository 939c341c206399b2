//! How a broker is set up: defaults are nats-server's, with durability on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// When an acknowledged write reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Nothing is acknowledged before fdatasync; what arrives during one sync shares the next.
    #[default]
    Always,
    /// Acknowledged when written, synced this often: a power loss takes up to this much.
    Interval(Duration),
    /// Acknowledged when written; the operating system decides when it reaches the disk.
    Os,
}

/// Who may connect.
#[derive(Clone, Default)]
pub enum Auth {
    #[default]
    Open,
    User {
        user: String,
        password: String,
    },
    Token(String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::Open => "Open",
            Auth::User { .. } => "User(redacted)",
            Auth::Token(_) => "Token(redacted)",
        })
    }
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest header block plus payload of one message.
    pub max_payload: usize,
    /// Longest argument line; also bounds what an unauthenticated peer can make us buffer.
    pub max_control_line: usize,
    pub max_connections: usize,
    /// Subscriptions of one connection; 0 is without limit, as in nats-server.
    pub max_subscriptions: usize,
    /// Bytes queued for one client before it is cut off as a slow consumer.
    pub max_pending: usize,
    /// How long one write to a client may block.
    pub write_deadline: Duration,
    pub auth_timeout: Duration,
    pub ping_interval: Duration,
    /// Unanswered PINGs after which a connection is stale.
    pub ping_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_payload: 1024 * 1024,
            max_control_line: 4096,
            max_connections: 64 * 1024,
            max_subscriptions: 0,
            max_pending: 64 * 1024 * 1024,
            write_deadline: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
        }
    }
}

/// What [`crate::Broker::start`] needs to know.
///
/// ```
/// use postroom_broker::Config;
/// let config = Config::new().listen(([127, 0, 0, 1], 0).into()).server_name("orders");
/// assert!(config.store_dir.is_none(), "JetStream is off until it has a directory");
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 lets the system choose; [`crate::Broker::client_url`] tells which.
    pub listen: SocketAddr,
    pub monitoring: Option<SocketAddr>,
    /// Where streams are kept. Without it JetStream is off.
    pub store_dir: Option<PathBuf>,
    pub sync: SyncPolicy,
    pub auth: Auth,
    pub limits: Limits,
    /// Defaults to the random server id.
    pub server_name: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

impl Config {
    pub fn new() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4222)),
            monitoring: None,
            store_dir: None,
            sync: SyncPolicy::Always,
            auth: Auth::Open,
            limits: Limits::default(),
            server_name: None,
        }
    }

    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Config {
        self.listen = address;
        self
    }

    #[must_use]
    pub fn monitoring(mut self, address: SocketAddr) -> Config {
        self.monitoring = Some(address);
        self
    }

    #[must_use]
    pub fn store_dir(mut self, directory: impl Into<PathBuf>) -> Config {
        self.store_dir = Some(directory.into());
        self
    }

    #[must_use]
    pub fn sync(mut self, policy: SyncPolicy) -> Config {
        self.sync = policy;
        self
    }

    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Config {
        self.auth = auth;
        self
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Config {
        self.limits = limits;
        self
    }

    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Config {
        self.server_name = Some(name.into());
        self
    }
}
