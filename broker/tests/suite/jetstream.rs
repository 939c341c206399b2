//! Streams and pull consumers.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Context, stream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn check(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let context = jetstream::new(client);
    publish_and_dedupe(&context).await;
    consume_and_ack(&context).await;
    nak_term_and_progress(&context).await;
    max_deliveries(&context).await;
    messages_stream(&context).await;
    names_by_subject(&context).await;
    consumer_administration(&context).await;
}

async fn make(context: &Context, name: &str, subject: &str) -> stream::Stream {
    let config = stream::Config {
        name: name.into(),
        subjects: vec![subject.into()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap()
}

async fn pull(stream: &stream::Stream, name: &str, config: pull::Config) -> PullConsumer {
    let config = pull::Config {
        durable_name: Some(name.into()),
        ack_policy: AckPolicy::Explicit,
        ..config
    };
    stream.get_or_create_consumer(name, config).await.unwrap()
}

async fn publish_and_dedupe(context: &Context) {
    let mut stream = make(context, "DEDUPE", "dedupe.>").await;
    let mut acks = Vec::new();
    for n in 0..100 {
        acks.push(
            context
                .publish(format!("dedupe.{}", n % 3), "payload".into())
                .await
                .unwrap(),
        );
    }
    for (at, ack) in acks.into_iter().enumerate() {
        assert_eq!(ack.await.unwrap().sequence, at as u64 + 1);
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "once");
    let send = async || {
        let ack = context
            .publish_with_headers("dedupe.x", headers.clone(), "".into())
            .await
            .unwrap();
        ack.await.unwrap()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!((first.sequence, first.duplicate), (101, false));
    assert_eq!((second.sequence, second.duplicate), (101, true));
    let state = stream.info().await.unwrap().state.clone();
    assert_eq!(
        (state.messages, state.first_sequence, state.last_sequence),
        (101, 1, 101)
    );
    let message = stream.get_raw_message(101).await.unwrap();
    assert_eq!(message.headers.get("Nats-Msg-Id").unwrap().as_str(), "once");
    assert_eq!(stream.purge().await.unwrap().purged, 101);
    assert_eq!(stream.info().await.unwrap().state.first_sequence, 102);
    context.delete_stream("DEDUPE").await.unwrap();
    assert!(context.get_stream("DEDUPE").await.is_err());
}

async fn consume_and_ack(context: &Context) {
    let stream = make(context, "WORK", "work.>").await;
    for n in 0..20 {
        context
            .publish("work.item", n.to_string().into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let mut consumer = pull(&stream, "worker", pull::Config::default()).await;
    let mut batch = consumer
        .batch()
        .max_messages(15)
        .expires(PATIENCE)
        .messages()
        .await
        .unwrap();
    let mut seen = 0;
    while let Some(message) = batch.next().await {
        let message = message.unwrap();
        assert_eq!(message.subject.as_str(), "work.item");
        let info = message.info().unwrap();
        assert_eq!(
            (info.stream_sequence, info.delivered, info.pending),
            (seen + 1, 1, 19 - seen)
        );
        message.double_ack().await.unwrap();
        seen += 1;
    }
    assert_eq!(seen, 15);
    let mut fetched = consumer.fetch().max_messages(100).messages().await.unwrap();
    let mut rest = 0;
    while let Some(message) = fetched.next().await {
        message.unwrap().double_ack().await.unwrap();
        rest += 1;
    }
    assert_eq!(rest, 5);
    let info = consumer.info().await.unwrap();
    assert_eq!(
        (
            info.num_pending,
            info.num_ack_pending,
            info.ack_floor.stream_sequence
        ),
        (0, 0, 20)
    );
}

/// The next message of `consumer`, waited for.
async fn next(consumer: &PullConsumer) -> jetstream::Message {
    let batch = consumer.batch().max_messages(1).expires(PATIENCE).messages();
    timeout(PATIENCE, batch.await.unwrap().next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

async fn nak_term_and_progress(context: &Context) {
    let stream = make(context, "FATES", "fates.>").await;
    let config = pull::Config {
        ack_wait: Duration::from_millis(300),
        ..Default::default()
    };
    let consumer = pull(&stream, "fates", config).await;
    context
        .publish("fates.nak", "".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let first = next(&consumer).await;
    let asked = std::time::Instant::now();
    first
        .ack_with(AckKind::Nak(Some(Duration::from_millis(150))))
        .await
        .unwrap();
    let second = next(&consumer).await;
    assert!(
        asked.elapsed() >= Duration::from_millis(140),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(
        (
            second.info().unwrap().delivered,
            second.info().unwrap().stream_sequence
        ),
        (2, 1)
    );
    // Signs of life keep the message past its ack wait; the time that passes is what is tested.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        second.ack_with(AckKind::Progress).await.unwrap();
    }
    let events = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.FATES.fates";
    let mut events = context.client().subscribe(events).await.unwrap();
    context.client().flush().await.unwrap();
    second.ack_with(AckKind::Term).await.unwrap();
    let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    let event: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!(event["type"], "io.nats.jetstream.advisory.v1.terminated");
    assert_eq!(
        (&event["stream_seq"], &event["deliveries"]),
        (&1.into(), &2.into())
    );
    context
        .publish("fates.next", "".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let third = next(&consumer).await;
    assert_eq!(
        (
            third.info().unwrap().delivered,
            third.info().unwrap().stream_sequence
        ),
        (1, 2)
    );
    third.double_ack().await.unwrap();
}

/// A message that nobody acknowledges is given up, said so where another stream keeps it, and stays.
async fn max_deliveries(context: &Context) {
    let mut stream = make(context, "POISON", "poison.>").await;
    let events = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.POISON.>";
    let kept = make(context, "EVENTS", events).await;
    let kept = pull(&kept, "events", pull::Config::default()).await;
    let config = pull::Config {
        ack_wait: Duration::from_millis(100),
        max_deliver: 3,
        ..Default::default()
    };
    let consumer = pull(&stream, "poisoned", config).await;
    context
        .publish("poison.x", "".into())
        .await
        .unwrap()
        .await
        .unwrap();
    for count in 1..=3 {
        assert_eq!(next(&consumer).await.info().unwrap().delivered, count);
    }
    // nats-server only notices with a request waiting.
    let waiting = consumer
        .batch()
        .max_messages(1)
        .expires(Duration::from_secs(2))
        .messages()
        .await
        .unwrap();
    let advisory: serde_json::Value = serde_json::from_slice(&next(&kept).await.payload).unwrap();
    assert_eq!(
        (&advisory["stream_seq"], &advisory["deliveries"]),
        (&1.into(), &3.into())
    );
    drop(waiting);
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    context.delete_stream("POISON").await.unwrap();
    context.delete_stream("EVENTS").await.unwrap();
}

async fn messages_stream(context: &Context) {
    let stream = make(context, "FLOW", "flow.>").await;
    let consumer = pull(&stream, "flow", pull::Config::default()).await;
    let mut messages = consumer.messages().await.unwrap();
    let publishing = tokio::spawn({
        let context = context.clone();
        async move {
            for n in 0..500 {
                context
                    .publish("flow.x", n.to_string().into())
                    .await
                    .unwrap()
                    .await
                    .unwrap();
            }
        }
    });
    for n in 0..500 {
        let message = timeout(PATIENCE, messages.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(&message.payload[..], n.to_string().as_bytes());
        message.ack().await.unwrap();
    }
    publishing.await.unwrap();
}

async fn names_by_subject(context: &Context) {
    assert_eq!(context.stream_by_subject("flow.abc").await.unwrap(), "FLOW");
    let mut all: Vec<String> = context.stream_names().try_collect().await.unwrap();
    all.sort();
    assert_eq!(all, ["FATES", "FLOW", "WORK"]);
}

async fn consumer_administration(context: &Context) {
    let stream = context.get_stream("FLOW").await.unwrap();
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    assert_eq!(names, ["flow"]);
    let again = context
        .get_or_create_stream(stream::Config {
            name: "FLOW".into(),
            subjects: vec!["flow.>".into()],
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(again.cached_info().config.name, "FLOW");
    stream.delete_consumer("flow").await.unwrap();
    assert!(stream.get_consumer::<pull::Config>("flow").await.is_err());
    let filtered = pull::Config {
        filter_subject: "flow.none".into(),
        ..Default::default()
    };
    let mut consumer = pull(&stream, "filtered", filtered).await;
    assert_eq!(consumer.info().await.unwrap().num_pending, 0);
    // The filter is part of the request's subject, wildcards and all.
    for (name, filter) in [("star", "flow.*"), ("rest", "flow.>")] {
        let config = pull::Config {
            filter_subject: filter.into(),
            ..Default::default()
        };
        let consumer = pull(&stream, name, config).await;
        assert_eq!(consumer.cached_info().config.filter_subject, filter);
    }
}
