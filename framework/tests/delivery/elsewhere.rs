//! The cases of messages that died where postroom had no part in it, and of replays that the broker refuses.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures_util::StreamExt;
use postroom::Running;
use postroom::store::dead_letters::{self, DeadLetter, Replay};

use crate::probe::{Outcome, Ping, Probe};
use crate::world::{World, within};

async fn publish(
    world: &World,
    subject: &'static str,
    headers: &[(&str, &str)],
    payload: impl Into<Vec<u8>>,
) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let jetstream = jetstream::new(world.client.clone());
    let sent = jetstream.publish_with_headers(subject, map, payload.into().into());
    sent.await.expect("publish").await.expect("a PubAck");
}

/// Until everything that has died elsewhere is in the table.
async fn heard(running: &Running) {
    let nothing_left = async {
        for (stream, durable) in [("ADVISORIES", "postroom-advisories"), ("DLQ", "postroom-letters")] {
            while running.bus().backlog(stream, durable).await.unwrap_or(1) > 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    within("the listeners to have heard all", nothing_left).await;
}

async fn in_state(world: &World, id: &str, state: &str) -> DeadLetter {
    let reached = async {
        loop {
            let letters = world.letters().await;
            if let Some(letter) = letters
                .into_iter()
                .find(|letter| letter.id == id && letter.state == state)
            {
                return letter;
            }
        }
    };
    within("a letter to change its state", reached).await
}

async fn replay(world: &World, id: &str) -> Replay {
    let store = world.store().await;
    dead_letters::replay(&store, id, "test").await.expect("replay")
}

fn ping(id: u32, outcome: Outcome) -> Vec<u8> {
    let sent_at = "now".to_owned();
    serde_json::to_vec(&Ping { id, outcome, sent_at }).expect("JSON")
}

pub(crate) async fn letters_of_other_clients_are_rows_once(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    let hostile = b"\xff\x00 bytes".to_vec();
    publish(&world, "emails.dlq", &[], hostile.clone()).await;
    let said = [
        ("Postroom-Subject", "tests.ping"),
        ("Postroom-Error", "no room"),
        ("Nats-Msg-Id", "a1"),
    ];
    publish(&world, "emails.dlq", &said, ping(7, Outcome::Succeed)).await;
    // Beside them, one of postroom's own.
    world.ping(1, Outcome::Permanent).await;
    for _ in 0..3 {
        dlq.next().await;
    }
    heard(&running).await;
    running.drain().await;

    // Whoever listens from the beginning once more hears nothing new.
    let jetstream = jetstream::new(world.client.clone());
    let stream = jetstream.get_stream("DLQ").await.expect("the stream");
    stream.delete_consumer("postroom-letters").await.expect("deleted");
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    heard(&running).await;
    let mut rows = world.letters().await;
    rows.sort_by_key(|row| (row.stream.clone(), row.stream_seq));
    let reasons: Vec<_> = rows
        .iter()
        .map(|row| (row.stream.as_str(), row.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [("DLQ", "foreign"), ("DLQ", "foreign"), ("TESTS", "permanent")]
    );
    assert_eq!(
        (&rows[0].payload, rows[0].subject.as_str()),
        (&hostile, "emails.dlq")
    );
    assert_eq!(
        (rows[1].subject.as_str(), rows[1].error.as_str()),
        ("tests.ping", "no room")
    );
    assert!(
        rows[1].headers.contains("Nats-Msg-Id"),
        "as received: {}",
        rows[1].headers
    );

    let mut pongs = world.subscribe("tests.pong").await;
    assert_eq!(replay(&world, &rows[0].id).await, Replay::Nowhere);
    assert_eq!(replay(&world, &rows[1].id).await, Replay::Begun);
    assert_eq!(pongs.ids(1).await, [7], "it went where it came from");
    in_state(&world, &rows[1].id, "replayed").await;
    running.drain().await;
    assert_eq!(world.letters().await.len(), 3);
}

/// A consumer that gives up after one delivery.
async fn impatient(world: &World) -> PullConsumer {
    let jetstream = jetstream::new(world.client.clone());
    let jobs = jetstream::stream::Config {
        name: "JOBS".to_owned(),
        subjects: vec!["jobs.>".to_owned()],
        ..Default::default()
    };
    let config = pull::Config {
        durable_name: Some("impatient".to_owned()),
        max_deliver: 1,
        ack_wait: Duration::from_millis(50),
        ..Default::default()
    };
    let stream = jetstream.create_stream(jobs).await.expect("a stream");
    stream.create_consumer(config).await.expect("a consumer")
}

/// Of two messages, the consumer never acks the first, and terminates the second.
async fn give_up_one_and_terminate_the_other(world: &World, consumer: &PullConsumer) {
    let mut advisories = world
        .subscribe("$JS.EVENT.ADVISORY.CONSUMER.*.JOBS.impatient")
        .await;
    let mut batch = consumer
        .fetch()
        .max_messages(2)
        .messages()
        .await
        .expect("a batch");
    let _unacked = within("the first", batch.next())
        .await
        .expect("one")
        .expect("a message");
    let second = within("the second", batch.next())
        .await
        .expect("two")
        .expect("a message");
    let term = world.client.publish(
        second.reply.clone().expect("a reply"),
        "+TERM no such customer".into(),
    );
    term.await.expect("publish");
    advisories.next().await;
    // The ack wait of the first is over when somebody asks for more.
    let gone = async {
        while advisories.rest() == 0 {
            let asked = consumer.fetch().max_messages(1).messages().await;
            drop(asked.expect("a batch").next().await);
        }
    };
    within("the broker to give it up", gone).await;
}

async fn goes_out_again(world: &World, given_up: &DeadLetter) {
    let mut jobs = world.subscribe("jobs.bill").await;
    assert_eq!(replay(world, &given_up.id).await, Replay::Begun);
    let again = jobs.next().await;
    assert_eq!(again.payload.as_ref(), b"\x00 one");
    assert!(
        again
            .headers
            .is_some_and(|headers| headers.get("Tenant").is_some())
    );
    in_state(world, &given_up.id, "replayed").await;
}

pub(crate) async fn what_the_broker_gives_up_is_a_letter_even_of_times_when_nobody_listened(world: World) {
    let (probe, _seen) = Probe::new();
    world.start(probe).await.drain().await;
    let consumer = impatient(&world).await;
    publish(&world, "jobs.bill", &[("Tenant", "blue")], b"\x00 one".to_vec()).await;
    publish(&world, "jobs.bill", &[], "two").await;
    give_up_one_and_terminate_the_other(&world, &consumer).await;

    let (probe, _seen) = Probe::new();
    let mut dlq = world.subscribe("emails.dlq").await;
    let running = world.start(probe).await;
    for _ in 0..2 {
        dlq.next().await;
    }
    // One of postroom's own: its termination is no second letter.
    world.ping(1, Outcome::Permanent).await;
    dlq.next().await;
    heard(&running).await;
    let mut rows = world.letters().await;
    rows.sort_by(|a, b| a.reason.cmp(&b.reason));
    let reasons: Vec<_> = rows
        .iter()
        .map(|row| (row.reason.as_str(), row.handler.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("max_deliveries", "impatient"),
            ("permanent", "probe"),
            ("terminated", "impatient")
        ]
    );
    let (given_up, terminated) = (&rows[0], &rows[2]);
    assert_eq!(
        (given_up.payload.as_slice(), given_up.subject.as_str()),
        (&b"\x00 one"[..], "jobs.bill")
    );
    assert_eq!(
        (given_up.stream.as_str(), given_up.stream_seq, given_up.attempts),
        ("JOBS", 1, 1)
    );
    assert!(given_up.headers.contains("blue"), "{}", given_up.headers);
    assert!(
        terminated.error.contains("no such customer"),
        "{}",
        terminated.error
    );
    goes_out_again(&world, given_up).await;
    running.drain().await;
    assert_eq!(world.letters().await.len(), 3);
}

pub(crate) async fn a_replay_that_the_broker_refuses_is_a_dead_letter_again(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    // It fits into a message, but not beside the headers of a replay.
    let payload = vec![b'x'; 1024 * 1024 - 20];
    publish(&world, "tests.ping", &[], payload.clone()).await;
    dlq.next().await;
    let id = world.letters().await[0].id.clone();
    assert_eq!(replay(&world, &id).await, Replay::Begun);
    let letter = in_state(&world, &id, "dead").await;
    assert_eq!((letter.payload == payload, letter.replays), (true, 1));
    let store = world.store().await;
    let mut tx = store.read().await.expect("read");
    let trail = dead_letters::trail(&mut tx, &id).await.expect("trail");
    let refused = trail.last().expect("an act");
    assert_eq!(
        (refused.action.as_str(), refused.done_by.as_str()),
        ("failed", "the broker")
    );
    assert!(
        refused.detail.contains("refused the replay: max payload"),
        "{}",
        refused.detail
    );
    let waiting = postroom::store::outbox::backlog(&mut tx).await.expect("backlog");
    assert_eq!(waiting.rows, 0, "nothing is left in the outbox");
    tx.rollback().await.expect("rollback");
    running.drain().await;
}

pub(crate) async fn a_lost_termination_is_no_second_letter(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::Permanent).await;
    dlq.next().await;
    running.drain().await;
    // A consumer made anew gets the message once more, as after a word that was lost.
    let jetstream = jetstream::new(world.client.clone());
    let stream = jetstream.get_stream("TESTS").await.expect("the stream");
    stream.delete_consumer("probe").await.expect("deleted");
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let settled = async {
        while running.bus().backlog("TESTS", "probe").await.unwrap_or(1) > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the second delivery to be acked", settled).await;
    running.drain().await;
    assert!(seen.try_recv().is_err(), "it ran once more");
    assert_eq!((world.letters().await.len(), dlq.rest()), (1, 0));
}

pub(crate) async fn a_stream_that_is_deleted_under_a_worker_is_made_again(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    // A pong whose PubAck is lost with the stream would rightly come once more.
    let idle = async { while !running.is_idle().await.unwrap_or(false) {} };
    within("everything to be settled", idle).await;
    let jetstream = jetstream::new(world.client.clone());
    jetstream.delete_stream("TESTS").await.expect("deleted");
    let made = async {
        while running.bus().backlog("TESTS", "probe").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("stream and consumer to be there again", made).await;
    world.ping(2, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [2]);
    running.drain().await;
}
