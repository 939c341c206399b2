//! What can be told of a delivery afterwards: its trace, and the log of each attempt.

use async_nats::HeaderMap;
use postroom::attempt_log;
use postroom::store::dead_letters;
use tracing_subscriber::prelude::*;

use crate::probe::{Outcome, Probe};
use crate::world::World;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn ping(outcome: &str) -> Vec<u8> {
    format!(r#"{{"id":1,"outcome":"{outcome}","sent_at":"now"}}"#).into_bytes()
}

/// Trace id and parent id.
fn trace_of(message: &async_nats::Message) -> (String, String) {
    let headers = message.headers.as_ref().expect("headers");
    let parent = text(headers, "traceparent").expect("a traceparent");
    let fields: Vec<_> = parent.split('-').collect();
    assert_eq!((fields.len(), fields[0], fields[3]), (4, "00", "01"), "{parent}");
    (fields[1].to_owned(), fields[2].to_owned())
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(ToString::to_string)
}

pub(crate) async fn a_trace_goes_on_in_what_a_handler_publishes_and_in_its_letter(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let (mut pongs, mut mourned, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("tests.mourned").await,
        world.subscribe("emails.dlq").await,
    );
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("traceparent", traceparent.as_str()), ("tracestate", "vendor=1")];
    world.publish_with("tests.ping", &headers, ping("Succeed")).await;
    let pong = pongs.next().await;
    let (trace, parent) = trace_of(&pong);
    assert_eq!(trace, TRACE);
    assert_ne!(
        parent, PARENT,
        "it descends from the delivery, not from its parent"
    );
    assert_eq!(
        text(pong.headers.as_ref().expect("headers"), "tracestate").as_deref(),
        Some("vendor=1")
    );

    let payload = br#"{"id":2,"outcome":"Permanent","sent_at":"now"}"#.to_vec();
    world.publish_with("tests.ping", &headers, payload).await;
    let (letter, last_words) = (trace_of(&dlq.next().await), trace_of(&mourned.next().await));
    assert_eq!((letter.0.as_str(), last_words.0.as_str()), (TRACE, TRACE));
    assert_eq!(letter.1, last_words.1, "both come of the same delivery");
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(rows[0].trace_id.as_deref(), Some(TRACE));
    assert!(
        rows[0].headers.contains(PARENT),
        "kept as received: {}",
        rows[0].headers
    );
}

pub(crate) async fn a_message_without_a_trace_begins_one_that_outlives_its_death(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    // No context at all, and one that is none.
    world.publish("tests.ping", ping("Permanent")).await;
    let (trace, _) = trace_of(&dlq.next().await);
    let payload = br#"{"id":2,"outcome":"Permanent","sent_at":"now"}"#.to_vec();
    world
        .publish_with("tests.ping", &[("traceparent", "00-lost")], payload)
        .await;
    let (other, _) = trace_of(&dlq.next().await);
    assert_ne!(trace, other, "two messages, two traces");
    running.drain().await;
    let rows = world.letters().await;
    let letter = rows
        .iter()
        .find(|row| row.trace_id.as_deref() == Some(trace.as_str()))
        .expect("its letter");

    let (probe, _seen) = Probe::relenting();
    let running = world.start(probe).await;
    let mut pongs = world.subscribe("tests.pong").await;
    dead_letters::replay(&world.store().await, &letter.id, "test")
        .await
        .expect("replay");
    assert_eq!(
        trace_of(&pongs.next().await).0,
        trace,
        "a replay is part of the story"
    );
    running.drain().await;
}

pub(crate) async fn a_letter_tells_what_each_attempt_logged(world: World) {
    // Of several cases in this process, the first installs it.
    let _ = tracing_subscriber::registry()
        .with(attempt_log::layer())
        .try_init();
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::FailFirst(99)).await;
    dlq.next().await;
    running.drain().await;
    let rows = world.letters().await;
    let history: Vec<serde_json::Value> = serde_json::from_str(&rows[0].history).expect("JSON");
    assert_eq!(history.len(), 4);
    for (attempt, logged) in (1..).zip(&history) {
        let lines = logged["log"].as_array().expect("the log of the attempt");
        let line = lines[0].as_str().expect("text");
        assert_eq!(lines.len(), 1, "its own, and no other's: {lines:?}");
        assert!(
            line.contains("INFO delivery::probe: a run for *** attempt="),
            "{line}"
        );
        assert!(line.ends_with(&format!("attempt={attempt}")), "{line}");
    }
}
