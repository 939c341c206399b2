//! Why an app can't start, for people.

use std::net::SocketAddr;

use crate::bus::BusError;
use crate::cron::CronError;
use crate::durable::DurableError;
use crate::settings::SettingsError;
use crate::spec::SpecError;
use crate::state::MissingState;
use crate::store::StoreError;

/// What `main` returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an [`App`](crate::App) can't start or go on.
#[derive(thiserror::Error)]
pub enum Error {
    /// An environment variable can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A handler can't hold what it promises.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Two handlers share an id, and so a consumer and a ledger.
    #[error(
        "two handlers have the id or alias `{0}`: each needs its own, since it names a consumer and a ledger"
    )]
    DuplicateHandler(&'static str),
    /// A schedule can't be kept.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// A stream or consumer on the broker doesn't let a handler keep its promises.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A handler that is asked for is none of this app.
    #[error("this process has no handler `{0}`")]
    NoSuchHandler(String),
    /// A function handler asks for state that the app was not given.
    #[error("handler `{handler}`: {missing}")]
    State {
        /// The handler.
        handler: &'static str,
        /// What is missing.
        missing: MissingState,
    },
    /// A layer is for a handler that the app does not have.
    #[error("a layer is for the handler `{handler}`, and there is none; there are: {}", there_are.join(", "))]
    LayerForNobody {
        /// The id that was asked for.
        handler: &'static str,
        /// Those that there are.
        there_are: Vec<&'static str>,
    },
    /// The broker.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The health endpoint.
    #[error(
        "the health endpoint can't listen on {address}: {source}; free the port, or give another in POSTROOM_HTTP"
    )]
    Http {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// As `main` prints it when it returns this error: the sentence, not the structure.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
