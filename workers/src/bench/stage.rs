//! Broker, database and folder of one run.

use std::net::Ipv4Addr;
use std::path::Path;

use postroom::Settings;
use postroom_broker::{Broker, Config, SyncPolicy};
use tempfile::TempDir;

use super::options::BenchOptions;
use super::run::BenchError;

/// What the run is on.
pub(super) struct Stage {
    /// `None` where the broker is somebody else's.
    broker: Option<Broker>,
    pub(super) settings: Settings,
    /// Removed at the end.
    folder: TempDir,
}

impl Stage {
    pub(super) async fn set(options: &BenchOptions) -> Result<Self, BenchError> {
        let folder = folder_in(&options.dir)?;
        let broker = match options.nats_url {
            Some(_) => None,
            None => Some(start_broker(folder.path()).await?),
        };
        let nats_url = match (&broker, &options.nats_url) {
            (Some(broker), _) => broker.client_url(),
            (None, url) => url.clone().unwrap_or_default(),
        };
        let database_url = options
            .database_url
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", folder.path().join("postroom.db").display()));
        let settings = Settings {
            nats_url,
            database_url,
            ..Settings::default()
        };
        Ok(Self {
            broker,
            settings,
            folder,
        })
    }

    /// Takes it down again, the broker first, for it writes into the folder.
    pub(super) async fn strike(self) -> Result<(), BenchError> {
        if let Some(broker) = self.broker {
            broker.shutdown().await;
        }
        self.folder.close().map_err(BenchError::Folder)
    }
}

/// In the folder that was named, and not among the system's temporary files: those may lie in memory.
pub(super) fn folder_in(dir: &Path) -> Result<TempDir, BenchError> {
    let made = std::fs::create_dir_all(dir)
        .and_then(|()| tempfile::Builder::new().prefix("postroom-bench-").tempdir_in(dir));
    made.map_err(BenchError::Folder)
}

async fn start_broker(folder: &Path) -> Result<Broker, BenchError> {
    let config = Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        sync: SyncPolicy::Always,
        ..Config::default()
    };
    let config = Config {
        store_dir: Some(folder.join("broker")),
        ..config
    };
    Ok(Broker::start(config).await?)
}
