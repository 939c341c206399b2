//! The stock async-nats client against a broker in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use postroom_broker::{Broker, Config};
use serde_json::{Value, json};
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

/// What is not done is refused in nats-server's shape and named; it is never accepted and then ignored.
async fn refused(client: &Client, subject: &str, body: &Value, err_code: u64, named: &str) {
    let answer = client
        .request(format!("$JS.API.{subject}"), body.to_string().into())
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["error"]["err_code"], err_code, "{body}: {answer}");
    let description = answer["error"]["description"].as_str().unwrap();
    assert!(description.contains(named), "{body}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_refuse_what_is_not_done() {
    let directory = TempDir::new().unwrap();
    let broker = start(&directory).await;
    let client = async_nats::connect(broker.client_url()).await.unwrap();
    for (field, value, named) in [("compression", json!("s2"), "compression")] {
        refused(
            &client,
            "STREAM.CREATE.S",
            &json!({"name": "S", field: value}),
            10052,
            named,
        )
        .await;
    }
    broker.shutdown().await;
}
