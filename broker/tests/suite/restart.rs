//! What a server still knows after it was stopped and started again.

use std::path::Path;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, Context, stream};
use futures_util::StreamExt;

use super::server::Server;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn check(program: &str, store: &Path) {
    let server = Server::start(program, store, None);
    before(&server.url()).await;
    memory_before(&server.url()).await;
    super::schedules::before(server.address);
    assert!(server.terminate());
    let server = Server::start(program, store, None);
    after(&server.url()).await;
    memory_after(&server.url()).await;
    super::schedules::after(server.address);
    // Those that `origins::check` left behind in the same store.
    super::origins::check_restarted(server.address);
    assert!(server.terminate());
}

/// A memory stream is a stream like any other, with its own measure of bytes.
async fn memory_before(url: &str) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let config = stream::Config {
        name: "BRIEF".into(),
        subjects: vec!["brief.>".into()],
        storage: stream::StorageType::Memory,
        max_messages: 2,
        ..Default::default()
    };
    let mut stream = context.create_stream(config).await.unwrap();
    for payload in ["one", "two", "three"] {
        context
            .publish("brief.x", payload.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let state = &stream.info().await.unwrap().state;
    assert_eq!(
        (state.first_sequence, state.last_sequence, state.bytes),
        (2, 3, 54)
    );
    let config = pull::Config {
        durable_name: Some("worker".into()),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let message = take(&consumer).await;
    assert_eq!(message.payload, "two");
    message.double_ack().await.unwrap();
}

/// Neither server remembers it.
async fn memory_after(url: &str) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    context.get_stream("BRIEF").await.unwrap_err();
}

async fn publish_once(context: &Context, id: &str) -> (u64, bool) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    let ack = context
        .publish_with_headers("kept.x", headers, "".into())
        .await
        .unwrap();
    let ack = ack.await.unwrap();
    (ack.sequence, ack.duplicate)
}

async fn take(consumer: &PullConsumer) -> jetstream::Message {
    let batch = consumer.batch().max_messages(1).expires(PATIENCE).messages();
    batch.await.unwrap().next().await.unwrap().unwrap()
}

async fn before(url: &str) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let config = stream::Config {
        name: "KEPT".into(),
        subjects: vec!["kept.>".into()],
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    let config = pull::Config {
        durable_name: Some("worker".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(1),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    for id in ["a", "b", "c", "d"] {
        assert!(!publish_once(&context, id).await.1);
    }
    for _ in 0..2 {
        take(&consumer).await.double_ack().await.unwrap();
    }
    // The third is out and not acknowledged when the server goes.
    assert_eq!(take(&consumer).await.info().unwrap().stream_sequence, 3);
    context
        .get_stream("KEPT")
        .await
        .unwrap()
        .delete_message(1)
        .await
        .unwrap();
}

async fn after(url: &str) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    // nats-server forgets the id of a message that was deleted, so "a" is not asked for.
    assert_eq!(publish_once(&context, "b").await, (2, true));
    assert_eq!(publish_once(&context, "e").await, (5, false));
    let mut stream = context.get_stream("KEPT").await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    assert_eq!(
        (state.messages, state.first_sequence, state.last_sequence),
        (4, 2, 5)
    );
    let consumer: PullConsumer = stream.get_consumer("worker").await.unwrap();
    let mut left = Vec::new();
    for _ in 0..3 {
        let message = take(&consumer).await;
        let info = message.info().unwrap();
        left.push((info.stream_sequence, info.delivered));
        message.double_ack().await.unwrap();
    }
    left.sort_unstable();
    assert_eq!(left, [(3, 2), (4, 1), (5, 1)]);
}
