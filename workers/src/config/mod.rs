//! What postroom is told from outside: `postroom.toml`, the environment and the flags, read and checked once.
//!
//! ```toml
//! # Each of these may be a variable or a flag instead: NATS_URL, --database-url, POSTROOM_HTTP, …
//! nats_url = "nats://127.0.0.1:4222"       # without it `up` brings its own broker
//! database_url = "sqlite:mail.db"          # or postgres://…
//! data_dir = "postroom-data"               # raw messages, and what is embedded
//! http = "127.0.0.1:9090"                  # /live, /ready and /metrics
//! drain = "35s"                            # how long handlers may finish when told to stop
//! dlq_retention = "30d"                    # dead letters that were replayed or discarded are forgotten then, or "never"
//!
//! [[accounts]]
//! name = "help"                            # in events and logs
//! address = "help@shop.example"
//! aliases = ["support@shop.example"]
//! sender = "Shop Help"                     # the name in From
//! on_unknown = "resend"                    # or "hold", when nobody knows whether a mail went out
//! rate = "20/m"                            # mails, from each process that sends
//! replies_per_peer = 24                    # automatic replies to one address within a day
//! reply_secret_env = "HELP_REPLIES"        # or …_file: signs the marks by which answers to our replies are known
//! ca_file = "ca.pem"                       # to trust besides the system's certificates
//!
//! [accounts.imap]
//! host = "imap.shop.example"
//! port = 993
//! tls = "tls"                              # or "starttls", "none"
//! user = "help"
//! password_env = "HELP_PASSWORD"           # or password_file = "…", or password = "…"
//! mailbox = "INBOX"                        # or a list
//! start = "new"                            # or "all": the mails that are there already, too
//! after = "move"                           # of a mail whose event is out; or "flag", "expunge"; without it they stay
//! after_folder = "Archive"                 # with "move"; with "flag": after_flag = '\Seen', or a keyword such as '$Done'
//! authserv_ids = ["mx.shop.example"]       # whose Authentication-Results are believed; it must take out forged ones
//!
//! [accounts.smtp]
//! host = "smtp.shop.example"
//! tls = "tls"
//! user = "help"                            # without it there is no login
//! password_env = "HELP_PASSWORD"
//!
//! [[accounts.reply]]                       # the first that matches answers
//! name = "hours"
//! subject = "opening hours"                # contained, whatever its case; also `from` and `to`
//! text = "Dear {name}, nine to five."
//!
//! [accounts.sent]                          # without it nothing is looked up or filed
//! mailbox = "Sent"
//! kept_by = "postroom"                     # files a copy; or "provider", which is the default with OAuth
//! ```
//!
//! Where a provider takes no passwords, the account has OAuth 2.0 in their place:
//!
//! ```toml
//! [accounts.oauth]
//! provider = "microsoft"                   # or "google"; for others token_url = "https://…"
//! tenant = "shop.example"                  # Microsoft's directory, by id or domain; without it "common"
//! client_id = "6731de76-14a6"              # of the application that you registered there
//! client_secret_env = "HELP_CLIENT_SECRET" # or client_secret_file, client_secret; public clients have none
//! refresh_token_env = "HELP_REFRESH_TOKEN" # or …_file; without it run `postroom login help` once
//! scope = "offline_access …"               # if not the provider's usual one
//! sign_in_url = "https://id.shop.example"  # for `postroom login` with a token_url
//! ```
//!
//! A new address gains its reputation slowly:
//!
//! ```toml
//! [accounts.warm_up]
//! begins = "2026-11-24"
//! per_day = "50, 100, 200, 400, 800"       # and no limit from the sixth day on
//! ```
//!
//! Mails are written by templates, where they name one, and signed with each key of the sender's domain:
//!
//! ```toml
//! domain_rate = "10/s"                     # mails to one recipient's domain, by each account and process
//! templates = "mails"                      # a folder: NAME.txt, NAME.html, NAME.subject
//!
//! [[dkim]]
//! domain = "shop.example"                  # of addresses in From
//! selector = "2026a"                       # the public key is at 2026a._domainkey.shop.example
//! key_file = "dkim/2026a.pem"              # RSA or Ed25519 in PEM, with mode 0600
//! ```
//!
//! Flags beat the environment, the environment beats the file. `POSTROOM_IMAP_HOST`, `POSTROOM_SMTP_PASSWORD` and their
//! like stand for the keys of the only account. Relative paths in the file start from its directory.

mod after;
mod oauth;
mod read;
mod replies;
mod secret;
mod section;
mod sending;
mod sources;
pub(crate) mod suggest;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postroom::Settings;

use crate::ingest::{Policy, Start};
use crate::login::OAuth;
use crate::reply::{ReplySecret, Rules};
use crate::send::OnUnknown;
use crate::tls::Endpoint;
pub use secret::Secret;
pub use sending::{OfAccount, Sending, SentFolder};
use sources::Sources;

/// Looked for in this order, when none is named.
const DEFAULT_FILES: [&str; 2] = ["postroom.toml", "/etc/postroom/postroom.toml"];

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker; `None` where nobody named one.
    pub nats_url: Option<String>,
    /// The database; `None` where nobody named one.
    pub database_url: Option<String>,
    pub data_dir: PathBuf,
    pub http: Option<SocketAddr>,
    pub drain: Option<Duration>,
    /// How long settled dead letters stay; the inner `None`: for ever.
    pub dlq_retention: Option<Option<Duration>>,
    pub sending: Sending,
    pub accounts: Vec<Account>,
}

/// A mailbox to watch and the relay its answers go out by.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    /// The name in From.
    pub sender: Option<String>,
    /// The main address first, then aliases.
    pub addresses: Vec<String>,
    pub on_unknown: OnUnknown,
    pub ca_file: Option<PathBuf>,
    pub oauth: Option<OAuth>,
    pub sending: OfAccount,
    pub imap: Imap,
    pub smtp: Smtp,
    pub rules: Rules,
    pub replies: Replies,
}

/// What holds for the replies of an account.
#[derive(Debug, Clone, Default)]
pub struct Replies {
    /// Automatic ones to one address within a day; `None` is [`REPLIES_PER_PEER`](crate::reply::REPLIES_PER_PEER).
    pub per_peer: Option<u32>,
    /// What their marks are signed with; without it they bear none.
    pub secret: Option<ReplySecret>,
}

#[derive(Debug, Clone)]
pub struct Imap {
    pub endpoint: Endpoint,
    pub user: String,
    /// `None` logs in by the account's OAuth.
    pub password: Option<Secret>,
    pub mailboxes: Vec<String>,
    pub start: Start,
    pub policy: Policy,
}

#[derive(Debug, Clone)]
pub struct Smtp {
    pub endpoint: Endpoint,
    /// User and password, or user and `None` for the account's OAuth; `None` sends without a login.
    pub login: Option<(String, Option<Secret>)>,
    /// The name given in EHLO.
    pub hello: String,
}

/// The flags that say what the file and the environment can say, too.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// The settings file [default: ./postroom.toml, then /etc/postroom/postroom.toml]
    #[arg(long, value_name = "FILE", env = "POSTROOM_CONFIG")]
    pub config: Option<PathBuf>,
    /// The broker, such as nats://127.0.0.1:4222 [env: NATS_URL]
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// The database, sqlite:PATH or postgres://… [env: DATABASE_URL]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Where raw messages and all that is embedded are kept [env: POSTROOM_DATA_DIR] [default: postroom-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to serve /live, /ready and /metrics [env: POSTROOM_HTTP]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<String>,
}

/// Settings that cannot be used. The text names each place and says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}; name another file with --config", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Syntax(String),
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
}

impl Config {
    /// Reads the file, this process's environment and the flags.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        let variables: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        Self::read(&Sources {
            file: settings_file(flags)?,
            variables,
            flags: flags.settings(),
        })
    }

    /// Names the account, or says which there are.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// What an [`App`](postroom::App) needs of it; defaults where nothing was said.
    pub fn settings(&self) -> Settings {
        let default = Settings::default();
        let database = || format!("sqlite:{}", self.data_dir.join("postroom.db").display());
        Settings {
            nats_url: self.nats_url.clone().unwrap_or(default.nats_url),
            database_url: self.database_url.clone().unwrap_or_else(database),
            http: self.http,
            drain: self.drain.unwrap_or(default.drain),
            dlq_retention: self.dlq_retention.unwrap_or(default.dlq_retention),
        }
    }

    fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let mistakes = section::Mistakes::default();
        let tree = sources
            .merge(&mistakes)
            .map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let surroundings = read::Surroundings {
            dir: sources
                .file
                .as_ref()
                .and_then(|(path, _)| path.parent())
                .unwrap_or(Path::new("")),
            variables: &sources.variables,
        };
        let config = read::config(section::Section::root(tree, &mistakes), &surroundings);
        let mistakes = mistakes.into_inner();
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Mistakes(mistakes))
        }
    }
}

impl Flags {
    fn settings(&self) -> Vec<(&'static str, &'static str, String)> {
        let data_dir = self
            .data_dir
            .as_ref()
            .map(|dir| dir.to_string_lossy().into_owned());
        [
            ("nats-url", "nats_url", self.nats_url.clone()),
            ("database-url", "database_url", self.database_url.clone()),
            ("data-dir", "data_dir", data_dir),
            ("http", "http", self.http.clone()),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| Some((flag, key, value?)))
        .collect()
    }
}

/// A file that is named must be there; the default ones may be missing.
fn settings_file(flags: &Flags) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let read = |path: &Path| std::fs::read_to_string(path);
    if let Some(path) = flags.config.clone() {
        let text = read(&path).map_err(|source| ConfigError::File {
            path: path.clone(),
            source,
        })?;
        return Ok(Some((path, text)));
    }
    for path in DEFAULT_FILES.map(PathBuf::from) {
        match read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ConfigError::File { path, source }),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
