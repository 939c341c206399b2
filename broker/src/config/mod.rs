//! How a broker is set up: defaults are nats-server's, with durability on.

mod auth;
mod file;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

pub use auth::{
    Account, AccountLimits, Auth, Credentials, GLOBAL_ACCOUNT, Permissions, Responses, Rule, SYSTEM_ACCOUNT,
    Secret, User,
};
pub use file::{ConfigError, ConfigFile, Problem, Unsupported};
pub use tls::{HANDSHAKE_FIRST_AUTO, HandshakeFirst, TLS_TIMEOUT, Tls, WebSocket};

/// When an acknowledged write reaches the disk. In words: `always`, `os`, or an interval such as `2m`.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("neither always nor os nor a duration above 0 such as 250ms or 2m")]
pub struct NoSyncPolicy;

impl FromStr for SyncPolicy {
    type Err = NoSyncPolicy;

    fn from_str(text: &str) -> Result<SyncPolicy, NoSyncPolicy> {
        match text {
            "always" => Ok(SyncPolicy::Always),
            "os" => Ok(SyncPolicy::Os),
            text => file::go_duration(text)
                .filter(|interval| !interval.is_zero())
                .map(SyncPolicy::Interval)
                .ok_or(NoSyncPolicy),
        }
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
    /// Tokens of a subscription's subject; 0 is without limit.
    pub max_subject_tokens: usize,
    /// Bytes queued for one client before it is cut off as a slow consumer.
    pub max_pending: usize,
    /// Bytes queued for all clients together, past which the slowest are cut off first.
    pub max_pending_total: usize,
    /// How long one write to a client may block.
    pub write_deadline: Duration,
    pub auth_timeout: Duration,
    pub ping_interval: Duration,
    /// Unanswered PINGs after which a connection is stale.
    pub ping_max: u32,
    /// Over how long connections are ended before a planned stop, the grace period included.
    pub lame_duck: Duration,
    /// How long clients get to read of it before the first one is ended.
    pub lame_duck_grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_payload: 1024 * 1024,
            max_control_line: 4096,
            max_connections: 64 * 1024,
            max_subscriptions: 0,
            max_subject_tokens: 0,
            max_pending: 64 * 1024 * 1024,
            max_pending_total: 512 * 1024 * 1024,
            write_deadline: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            lame_duck: Duration::from_secs(120),
            lame_duck_grace: Duration::from_secs(10),
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
    /// What all accounts together may keep in streams.
    pub jetstream: AccountLimits,
    pub auth: Auth,
    pub limits: Limits,
    /// Defaults to the random server id.
    pub server_name: Option<String>,
    pub tls: Option<Tls>,
    pub websocket: Option<WebSocket>,
    /// Serve others than this machine although `auth` is open; without it that is refused.
    pub allow_anyone: bool,
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
            jetstream: AccountLimits::default(),
            auth: Auth::open(),
            limits: Limits::default(),
            server_name: None,
            tls: None,
            websocket: None,
            allow_anyone: false,
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

    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Config {
        self.tls = Some(tls);
        self
    }

    #[must_use]
    pub fn websocket(mut self, websocket: WebSocket) -> Config {
        self.websocket = Some(websocket);
        self
    }

    /// Serves other machines without asking for credentials.
    #[must_use]
    pub fn allow_anyone(mut self) -> Config {
        self.allow_anyone = true;
        self
    }
}
