//! A single-node message broker that speaks the NATS wire protocol with JetStream, durable by default.
//!
//! Layout, in the order a message travels: [`Broker`] accepts, `connection` moves bytes, `session` follows the
//! protocol, `router` finds subscribers by `subject`, `jetstream` keeps and hands out, `store` makes it last.
//! `monitor` looks on from the side.
//!
//! ```
//! # async fn example() -> Result<(), postroom_broker::StartError> {
//! use postroom_broker::{Broker, Config};
//!
//! let config = Config::new().listen(([127, 0, 0, 1], 0).into()).store_dir("./data");
//! let broker = Broker::start(config).await?;
//! println!("connect to {}", broker.client_url());
//! broker.shutdown().await;
//! # Ok(()) }
//! ```

#![allow(
    unreachable_pub,
    reason = "every module but this one is private; inside, `pub` reads as `for the rest of the broker`"
)]

mod config;
mod connection;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod jetstream;
mod monitor;
mod protocol;
mod router;
mod server;
mod session;
mod store;
mod subject;

pub use config::{
    Account, AccountLimits, Auth, Config, ConfigError, ConfigFile, Credentials, GLOBAL_ACCOUNT,
    HandshakeFirst, Limits, Permissions, Problem, Responses, Rule, SYSTEM_ACCOUNT, Secret, SyncPolicy, Tls,
    Unsupported, User, WebSocket,
};
pub use protocol::info::VERSION;
pub use server::{Broker, ReloadError, StartError, TlsError};
