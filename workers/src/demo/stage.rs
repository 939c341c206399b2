//! What the demo plays on: a broker, a development mailbox with its mails, and the folder where all of it lies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use postroom_broker::{Broker, Config, StartError as BrokerError};

use super::corpus::{self, ADDRESS, DemoMail};
use crate::blob::{BlobError, BlobStore};
use crate::devmail::{DevMail, DevMailConfig, DevMailError, FaultError, StartError as DevMailStart, User};
use crate::gate::{self, Gate};
use crate::ingest::{Pace, Policy, Start, Turnstile, Watched};
use crate::login::Login;
use crate::messages::Service;
use crate::pipeline::Account;
use crate::reply::{Identity, Rule, RuleError, Rules};
use crate::send::smtp::Deadlines;
use crate::send::{OnUnknown, Outbound};
use crate::tls::{Dialer, Endpoint, Security, TlsError};

/// The demo's one account, and its user at the development mailbox.
pub(super) const ACCOUNT: &str = "help";
const PASSWORD: &str = "demo";
/// With `--keep`, where people expect these things to be.
const KEPT: Ports = Ports {
    broker: 4222,
    monitoring: Some(8222),
    imap: 1143,
    smtp: 1025,
};
const ANY: Ports = Ports {
    broker: 0,
    monitoring: None,
    imap: 0,
    smtp: 0,
};

const ANSWER: &str = "Dear {name},\n\n\
thank you for your message about \"{subject}\". It has reached us, and a person will answer it.\n\n\
Your Shop Help";

struct Ports {
    broker: u16,
    monitoring: Option<u16>,
    imap: u16,
    smtp: u16,
}

/// Why the stage could not be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The data folder.
    #[error("the data folder {path} can't be made: {source}; make it writable, or give another with --data")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The development mailbox.
    #[error(transparent)]
    DevMail(#[from] DevMailStart),
    /// Its mails.
    #[error("the demo's mails could not be put into the mailbox: {0}")]
    Deliver(#[from] DevMailError),
    /// Its faults.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The blob store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The rules.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The stage, set.
pub(super) struct Stage {
    /// `None` where the broker is somebody else's.
    pub(super) broker: Option<Broker>,
    pub(super) devmail: DevMail,
    pub(super) blobs: BlobStore,
    pub(super) account: Account,
    /// Mails in the mailbox.
    pub(super) mails: usize,
}

impl Stage {
    /// Sets it in `data`, with the corpus or, for `load`, with so many ordinary mails. What is there already from an
    /// earlier run is left as it is.
    pub(super) async fn set(
        data: &Path,
        own_broker: bool,
        keep: bool,
        load: Option<usize>,
    ) -> Result<Self, StageError> {
        let folder = |source| StageError::Folder {
            path: data.display().to_string(),
            source,
        };
        std::fs::create_dir_all(data).map_err(folder)?;
        let ports = if keep { KEPT } else { ANY };
        let broker = if own_broker {
            Some(start_broker(data, &ports).await?)
        } else {
            None
        };
        let devmail = DevMail::start(DevMailConfig {
            imap: local(ports.imap),
            smtp: local(ports.smtp),
            dir: data.join("devmail"),
            users: vec![User {
                name: ACCOUNT.into(),
                password: PASSWORD.into(),
                address: ADDRESS.into(),
            }],
            faults: corpus::faults()?,
        })
        .await?;
        let mails = match load {
            Some(mails) => deliver(&devmail, corpus::many(mails).collect()).await?,
            None => deliver(&devmail, corpus::corpus()).await?,
        };
        let blobs = BlobStore::open(data.join("blobs"))?;
        let account = account(&devmail)?;
        Ok(Self {
            broker,
            devmail,
            blobs,
            account,
            mails,
        })
    }

    /// Takes it down again, the broker last.
    pub(super) async fn strike(self) {
        self.devmail.shutdown().await;
        if let Some(broker) = self.broker {
            broker.shutdown().await;
        }
    }
}

async fn start_broker(data: &Path, ports: &Ports) -> Result<Broker, BrokerError> {
    let config = Config {
        listen: local(ports.broker),
        monitoring: ports.monitoring.map(local),
        ..Config::default()
    };
    Broker::start(Config {
        store_dir: Some(data.join("broker")),
        ..config
    })
    .await
}

/// Delivers what an earlier run has not: mails go in one by one and none is ever taken out, so the count tells.
async fn deliver(devmail: &DevMail, mails: Vec<DemoMail>) -> Result<usize, DevMailError> {
    let there = devmail.count(ACCOUNT, "INBOX").await?;
    for mail in mails.iter().skip(there) {
        devmail.deliver(ACCOUNT, mail.raw.to_vec()).await?;
    }
    Ok(mails.len().max(there))
}

fn account(devmail: &DevMail) -> Result<Account, StageError> {
    let endpoint = |address: SocketAddr| Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        security: Security::None,
    };
    let dialer = Dialer::new(None)?;
    let answer = Rule {
        name: "acknowledge".into(),
        text: ANSWER.into(),
        ..Rule::default()
    };
    Ok(Account {
        name: ACCOUNT.into(),
        identity: Identity {
            name: Some("Shop Help".into()),
            addresses: vec![ADDRESS.into()],
            rules: Rules::new(vec![answer])?,
            replies_per_peer: None,
            secret: None,
        },
        watched: vec![Watched {
            account: ACCOUNT.into(),
            mailbox: "INBOX".into(),
            endpoint: endpoint(devmail.imap_addr()),
            login: Login::password(ACCOUNT, PASSWORD),
            gate: Gate::new(ACCOUNT, Service::Imap, gate::REFUSED),
            turnstile: Turnstile::default(),
            start: Start::All,
            policy: Policy::default(),
            pace: Pace::default(),
        }],
        outbound: Outbound {
            endpoint: endpoint(devmail.smtp_addr()),
            dialer: dialer.clone(),
            login: None,
            gate: Gate::new(ACCOUNT, Service::Smtp, gate::REFUSED),
            hello: "localhost".into(),
            on_unknown: OnUnknown::Resend,
            sent: None,
            pace: None,
            warm_up: None,
            deadlines: Deadlines::default(),
        },
        dialer,
        tokens: None,
    })
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
