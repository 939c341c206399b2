//! What a stream keeps and what it lets go, and what it demands of a message.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;

pub(crate) async fn check(url: &str) {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    by_count_and_bytes(&context).await;
    by_subject(&context).await;
    by_age(&context).await;
    refusing_new(&context).await;
    expectations(&context).await;
    deliver_policies(&context).await;
    direct_get(&context).await;
}

async fn publish(context: &Context, subject: &str, payload: &str) -> Result<u64, String> {
    let ack = context
        .publish(subject.to_owned(), payload.to_owned().into())
        .await
        .unwrap();
    ack.await
        .map(|ack| ack.sequence)
        .map_err(|error| error.to_string())
}

/// Messages, first and last sequence.
async fn state(context: &Context, name: &str) -> (u64, u64, u64) {
    let mut stream = context.get_stream(name).await.unwrap();
    let state = &stream.info().await.unwrap().state;
    (state.messages, state.first_sequence, state.last_sequence)
}

async fn by_count_and_bytes(context: &Context) {
    let config = Config {
        name: "COUNT".into(),
        max_messages: 3,
        ..Default::default()
    };
    context.create_stream(config.clone()).await.unwrap();
    for n in 1..=10 {
        assert_eq!(publish(context, "COUNT", "x").await, Ok(n));
    }
    assert_eq!(state(context, "COUNT").await, (3, 8, 10));
    context
        .update_stream(Config {
            max_messages: 2,
            ..config
        })
        .await
        .unwrap();
    assert_eq!(state(context, "COUNT").await, (2, 9, 10));
    // Each counts 22 + 5 + 100 + 8 bytes.
    let config = Config {
        name: "BYTES".into(),
        max_bytes: 3 * 135,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    for _ in 0..5 {
        publish(context, "BYTES", &"x".repeat(100)).await.unwrap();
    }
    assert_eq!(state(context, "BYTES").await, (3, 3, 5));
}

async fn by_subject(context: &Context) {
    let config = Config {
        name: "SUBJECT".into(),
        subjects: vec!["subject.>".into()],
        max_messages_per_subject: 2,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    for n in 0..4 {
        publish(context, "subject.a", &n.to_string()).await.unwrap();
        publish(context, &format!("subject.b{n}"), "").await.unwrap();
    }
    assert_eq!(state(context, "SUBJECT").await, (6, 2, 8));
    let stream = context.get_stream("SUBJECT").await.unwrap();
    assert!(stream.get_raw_message(3).await.is_err());
    assert_eq!(
        stream
            .get_last_raw_message_by_subject("subject.a")
            .await
            .unwrap()
            .sequence,
        7
    );
}

async fn by_age(context: &Context) {
    let age = Duration::from_millis(500);
    let config = Config {
        name: "AGE".into(),
        max_age: age,
        duplicate_window: age,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    publish(context, "AGE", "").await.unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    while state(context, "AGE").await.0 > 0 {
        assert!(
            tokio::time::Instant::now() < patience,
            "the message never expired"
        );
    }
    assert_eq!(state(context, "AGE").await, (0, 2, 1));
}

async fn refusing_new(context: &Context) {
    let config = Config {
        name: "FULL".into(),
        max_messages: 2,
        discard: DiscardPolicy::New,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    assert_eq!(
        (
            publish(context, "FULL", "").await,
            publish(context, "FULL", "").await
        ),
        (Ok(1), Ok(2))
    );
    assert!(
        publish(context, "FULL", "")
            .await
            .unwrap_err()
            .contains("maximum messages exceeded")
    );
    context
        .get_stream("FULL")
        .await
        .unwrap()
        .delete_message(1)
        .await
        .unwrap();
    assert_eq!(publish(context, "FULL", "").await, Ok(3));
}

async fn expectations(context: &Context) {
    let config = Config {
        name: "EXPECT".into(),
        subjects: vec!["expect.>".into()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let send = async |header: &str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header, value);
        let ack = context
            .publish_with_headers("expect.a", headers, "".into())
            .await
            .unwrap();
        ack.await
            .map(|ack| ack.sequence)
            .map_err(|error| error.to_string())
    };
    let refused = |outcome: Result<u64, String>, text: &str| {
        let error = outcome.unwrap_err();
        assert!(error.contains(text), "{error}");
    };
    assert_eq!(send("Nats-Expected-Last-Subject-Sequence", "0").await, Ok(1));
    refused(
        send("Nats-Expected-Last-Subject-Sequence", "0").await,
        "wrong last sequence: 1",
    );
    assert_eq!(send("Nats-Expected-Last-Sequence", "1").await, Ok(2));
    refused(
        send("Nats-Expected-Last-Sequence", "9").await,
        "wrong last sequence: 2",
    );
    refused(
        send("Nats-Expected-Stream", "OTHER").await,
        "expected stream does not match",
    );
    assert_eq!(send("Nats-Msg-Id", "x").await, Ok(3));
    assert_eq!(send("Nats-Expected-Last-Msg-Id", "x").await, Ok(4));
    refused(send("Nats-Expected-Last-Msg-Id", "x").await, "wrong last msg ID");
    refused(send("Nats-TTL", "1s").await, "per-message TTL is disabled");
    refused(send("Nats-Rollup", "sub").await, "rollup not permitted");
}

async fn deliver_policies(context: &Context) {
    let stream = context.get_stream("EXPECT").await.unwrap();
    let first = async |deliver_policy: DeliverPolicy| {
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::Explicit,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut fetched = consumer.fetch().max_messages(1).messages().await.unwrap();
        fetched
            .next()
            .await
            .map(|message| message.unwrap().info().unwrap().stream_sequence)
    };
    assert_eq!(first(DeliverPolicy::All).await, Some(1));
    assert_eq!(first(DeliverPolicy::Last).await, Some(4));
    assert_eq!(first(DeliverPolicy::New).await, None);
    assert_eq!(
        first(DeliverPolicy::ByStartSequence { start_sequence: 3 }).await,
        Some(3)
    );
    let start_time = stream.get_raw_message(2).await.unwrap().time;
    assert_eq!(first(DeliverPolicy::ByStartTime { start_time }).await, Some(2));
}

async fn direct_get(context: &Context) {
    let config = Config {
        name: "DIRECT".into(),
        subjects: vec!["direct.>".into()],
        allow_direct: true,
        allow_rollup: true,
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    publish(context, "direct.a", "1").await.unwrap();
    publish(context, "direct.b", "2").await.unwrap();
    let message = stream.direct_get(1).await.unwrap();
    assert_eq!(
        (message.subject.as_str(), message.sequence, &message.payload[..]),
        ("direct.a", 1, &b"1"[..])
    );
    assert_eq!(
        stream
            .direct_get_last_for_subject("direct.b")
            .await
            .unwrap()
            .sequence,
        2
    );
    assert!(stream.direct_get(9).await.is_err());
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    context
        .publish_with_headers("direct.a", headers, "3".into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(state(context, "DIRECT").await, (2, 2, 3));
}
