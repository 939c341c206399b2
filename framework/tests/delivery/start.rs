//! What is refused at the start, and what is recognised when it was not.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream;
use futures_util::StreamExt;
use postroom::{Cx, CxError, Handle, Handler, Message};
use serde::{Deserialize, Serialize};

use crate::world::World;

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.note", id = "tests.note.v1")]
struct Note {
    id: u32,
}

#[derive(Handler)]
#[handler(
    on = Note,
    id = "forgetful",
    aliases = ["oblivious"],
    idempotent(key = [id], ttl = "50ms"),
    retry(max = 1, backoff = "1ms..1ms"),
    timeout = "40ms",
)]
struct Forgetful;

impl Handle<Note> for Forgetful {
    type Error = CxError;

    async fn handle(&self, _: Note, _: &mut Cx<'_>) -> Result<(), CxError> {
        Ok(())
    }
}

const DAY: Duration = Duration::from_secs(86_400);

async fn stream_of(world: &World, max_age: Duration) -> stream::Stream {
    let config = stream::Config {
        name: "TESTS".to_owned(),
        subjects: vec!["tests.>".to_owned()],
        max_age,
        // No longer than the stream keeps anything.
        duplicate_window: Duration::from_secs(60),
        ..Default::default()
    };
    let jetstream = async_nats::jetstream::new(world.client.clone());
    jetstream.create_or_update_stream(config).await.expect("a stream");
    jetstream.get_stream("TESTS").await.expect("the stream")
}

async fn refusal(world: &World) -> String {
    let started = world.app().await.handler(Forgetful).start().await;
    started.expect_err("it should not start").to_string()
}

pub(crate) async fn what_on_the_broker_can_outlive_the_ledger_is_refused_by_name(world: World) {
    let stream = stream_of(&world, 30 * DAY).await;
    let text = refusal(&world).await;
    assert!(
        text.contains("TESTS keeps messages for 30days") && text.contains("max_age to 14days or less"),
        "{text}"
    );
    stream_of(&world, DAY).await;

    let consumer = |name: &str| pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: "tests.note".to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_millis(10),
        ..Default::default()
    };
    for (config, words) in [
        (
            pull::Config {
                ack_wait: Duration::from_secs(1),
                ..consumer("forgetful")
            },
            "the consumer forgetful has ack_wait = 1s",
        ),
        (
            pull::Config {
                max_deliver: 3,
                ..consumer("forgetful")
            },
            "the consumer forgetful has max_deliver = 3",
        ),
    ] {
        stream.create_consumer(config).await.expect("a consumer");
        let text = refusal(&world).await;
        assert!(text.contains(words), "{text}");
    }
    stream.delete_consumer("forgetful").await.expect("deleted");

    // The alias's consumer alone is taken over; with another beside it, nobody can say whose a message is.
    stream
        .create_consumer(consumer("oblivious"))
        .await
        .expect("a consumer");
    world.publish("tests.note", br#"{"id":1}"#.to_vec()).await;
    stream
        .create_consumer(consumer("forgetful"))
        .await
        .expect("a consumer");
    let text = refusal(&world).await;
    assert!(text.contains("alias `oblivious` with 1 messages left"), "{text}");
    stream.delete_consumer("oblivious").await.expect("deleted");
    let running = world
        .app()
        .await
        .handler(Forgetful)
        .start()
        .await
        .expect("all is well now");
    running.drain().await;
}

pub(crate) async fn what_comes_back_after_the_ledger_has_forgotten_it_is_a_letter(world: World) {
    let stream = stream_of(&world, DAY).await;
    let config = pull::Config {
        durable_name: Some("forgetful".to_owned()),
        filter_subject: "tests.note".to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_millis(10),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    world.publish("tests.note", br#"{"id":1}"#.to_vec()).await;
    // Somebody had it, and nothing tells what came of it; by the time it comes back, it is older than the ttl.
    let mut batch = consumer
        .batch()
        .max_messages(1)
        .messages()
        .await
        .expect("a batch");
    let delivered = batch.next().await.expect("a message").expect("a message");
    let published = delivered
        .info()
        .expect("its place")
        .published
        .unix_timestamp_nanos();
    while now_nanos() - published <= 50_000_000 {
        tokio::task::yield_now().await;
    }
    let mut dlq = world.subscribe("emails.dlq").await;
    let running = world
        .app()
        .await
        .handler(Forgetful)
        .start()
        .await
        .expect("the app starts");
    dlq.next().await;
    running.drain().await;
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "forgotten"));
    assert!(
        letters[0].error.contains("the ledger remembers for 50ms"),
        "{}",
        letters[0].error
    );
}

fn now_nanos() -> i128 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    i128::try_from(since.as_nanos()).expect("a time")
}
