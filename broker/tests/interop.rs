//! The stock async-nats client against a broker in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use postroom_broker::{Broker, Config};
use tempfile::TempDir;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(directory: &TempDir) -> Broker {
    let config = Config::new()
        .listen(([127, 0, 0, 1], 0).into())
        .store_dir(directory.path());
    Broker::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn core_messaging() {
    let directory = TempDir::new().unwrap();
    let broker = start(&directory).await;
    suite::core::check(&broker.client_url()).await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_consumers() {
    let directory = TempDir::new().unwrap();
    let broker = start(&directory).await;
    suite::jetstream::check(&broker.client_url()).await;
    broker.shutdown().await;
}

/// More in one batch than a server queues for one client: it has to wait for the client, not to cut it off.
#[tokio::test(flavor = "multi_thread")]
async fn large_batches() {
    let directory = TempDir::new().unwrap();
    let broker = start(&directory).await;
    let context = jetstream::new(async_nats::connect(broker.client_url()).await.unwrap());
    let config = stream::Config {
        name: "LARGE".into(),
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    for _ in 0..150 {
        context
            .publish("LARGE", vec![b'x'; 1_000_000].into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let config = pull::Config {
        ack_policy: AckPolicy::Explicit,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut batch = consumer
        .batch()
        .max_messages(150)
        .expires(PATIENCE)
        .messages()
        .await
        .unwrap();
    for _ in 0..150 {
        let message = timeout(PATIENCE, batch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(message.info().unwrap().delivered, 1);
        message.ack().await.unwrap();
    }
    broker.shutdown().await;
}
