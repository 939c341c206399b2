//! The stock async-nats client against a broker in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use postroom_broker::{Broker, Config};
use tempfile::TempDir;

async fn start(directory: &TempDir) -> Broker {
    let config = Config::new()
        .listen(([127, 0, 0, 1], 0).into())
        .store_dir(directory.path());
    Broker::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn core() {
    let directory = TempDir::new().unwrap();
    let broker = start(&directory).await;
    suite::core::check(&broker.client_url()).await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream() {
    let directory = TempDir::new().unwrap();
    let broker = start(&directory).await;
    suite::jetstream::check(&broker.client_url()).await;
    broker.shutdown().await;
}
