//! `postroom up` and `postroom worker ingest|reply|send`: the workers on real mailboxes.

use std::net::{Ipv4Addr, SocketAddr};

use postroom::{App, Handler, PerKey};
use postroom_broker::{Broker, Config as BrokerConfig};

use super::CliError;
use crate::blob::BlobStore;
use crate::config::{Config, Flags, Sending};
use crate::pipeline::{Account, with_ingest, with_reply, with_send};
use crate::preflight::{self, Closed};
use crate::send::{Press, SendMail};

/// Where the embedded broker listens, as any NATS client expects.
pub(super) const BROKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4222);
/// Its monitoring.
const MONITORING: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8222);

#[derive(Debug, clap::Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    flags: Flags,
}

/// A part of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Ingest,
    Reply,
    Send,
}

/// Everything in this process, the broker included where nobody named another.
pub(super) async fn up(args: UpArgs) -> Result<(), CliError> {
    let config = Config::load(&args.flags).map_err(CliError::wrong)?;
    let broker = match config.nats_url {
        Some(_) => None,
        None => Some(start_broker(&config).await?),
    };
    let done = work(&config, &[Part::Ingest, Part::Reply, Part::Send]).await;
    if let Some(broker) = broker {
        broker.shutdown().await;
    }
    done
}

/// One part, on somebody else's broker.
pub(super) async fn worker(part: Part, flags: &Flags) -> Result<(), CliError> {
    let config = Config::load(flags).map_err(CliError::wrong)?;
    work(&config, &[part]).await
}

async fn start_broker(config: &Config) -> Result<Broker, CliError> {
    let broker = BrokerConfig {
        listen: BROKER,
        monitoring: Some(MONITORING),
        ..BrokerConfig::default()
    };
    let broker = BrokerConfig {
        store_dir: Some(config.data_dir.join("broker")),
        ..broker
    };
    Broker::start(broker).await.map_err(CliError::wrong)
}

async fn work(config: &Config, parts: &[Part]) -> Result<(), CliError> {
    let accounts = accounts(config)?;
    let does = |part| parts.contains(&part);
    for account in &accounts {
        if does(Part::Ingest) {
            or_later(preflight::imap(account).await)?;
        }
        if does(Part::Send) {
            or_later(preflight::smtp(account).await)?;
        }
    }
    let blobs = BlobStore::open(config.data_dir.join("blobs")).map_err(CliError::wrong)?;
    let mut app = App::connect(config.settings()).await.map_err(CliError::wrong)?;
    if does(Part::Ingest) {
        app = with_ingest(app, &accounts, &blobs);
    }
    if does(Part::Reply) {
        app = with_reply(app, &accounts);
    }
    if does(Part::Send) {
        let Sending {
            templates,
            signers,
            domain_rate,
        } = config.sending.clone();
        let spec = SendMail::spec();
        let spec = match domain_rate {
            Some(rate) => spec.per_key(SendMail::domain, PerKey::rate(rate)),
            None => spec,
        };
        let press = Press {
            blobs: blobs.clone(),
            templates,
            signers,
        };
        app = with_send(app, &accounts, press, spec);
    }
    tracing::info!(accounts = accounts.len(), "working; Ctrl-C ends it");
    app.run().await.map_err(CliError::wrong)
}

/// The accounts, ready to work with.
pub(super) fn accounts(config: &Config) -> Result<Vec<Account>, CliError> {
    if config.accounts.is_empty() {
        return Err(CliError::Wrong(
            "no account is configured: describe a mailbox under [[accounts]] in postroom.toml, or name the file with \
             --config; the README shows one"
                .to_owned(),
        ));
    }
    config
        .accounts
        .iter()
        .map(|account| Account::of(account).map_err(CliError::wrong))
        .collect()
}

/// A refused login is for a person to mend before anything starts; a server that is away may come back.
fn or_later(door: Result<(), Closed>) -> Result<(), CliError> {
    match door {
        Err(closed) if closed.is_refused() => Err(CliError::wrong(closed)),
        Err(closed) => {
            tracing::warn!(%closed, "starting all the same; it will be tried again");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
