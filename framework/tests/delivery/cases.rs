//! The cases. Each begins with an empty database and an empty broker.

use std::time::Duration;

use postroom::store::dead_letters::{self, Replay};
use postroom::{Settings, on_tx};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::probe::{Bookkeeper, Holder, Outcome, Probe, Run, Slow};
use crate::world::{World, within};

async fn runs(seen: &mut UnboundedReceiver<Run>, count: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    while runs.len() < count {
        runs.push(within("a run", seen.recv()).await.expect("the probe is there"));
    }
    runs
}

pub(crate) async fn each_message_is_handled_once_and_what_it_publishes_arrives_once(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let mut pongs = world.subscribe("tests.pong").await;
    for id in 0..40 {
        world.ping(id, Outcome::Succeed).await;
    }
    assert_eq!(pongs.ids(40).await, (0..40).collect::<Vec<_>>());
    running.drain().await;
    seen.close();
    assert_eq!(runs(&mut seen, 40).await.len(), 40);
    assert_eq!(seen.recv().await, None, "a message ran twice");
    assert_eq!(pongs.rest(), 0, "a message arrived twice");
}

pub(crate) async fn a_failed_attempt_leaves_nothing_behind_and_is_retried(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::FailFirst(3)).await;
    assert_eq!(pongs.ids(1).await, [1]);
    let attempts: Vec<_> = runs(&mut seen, 4)
        .await
        .into_iter()
        .map(|run| run.attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    running.drain().await;
    assert_eq!(pongs.rest(), 0, "a failed attempt published");
    assert!(world.letters().await.is_empty());
}

pub(crate) async fn sql_of_the_handler_commits_with_the_delivery_or_not_at_all(world: World) {
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    postroom::execute!(
        tx,
        "CREATE TABLE ledger_test (id BIGINT NOT NULL, attempt BIGINT NOT NULL)"
    )
    .expect("DDL");
    tx.commit().await.expect("commit");

    let running = world
        .app()
        .await
        .handler(Bookkeeper)
        .start()
        .await
        .expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    let mut tx = store.read().await.expect("read");
    let rows: Vec<(i64, i64)> =
        on_tx!(tx, connection => sqlx::query_as("SELECT id, attempt FROM ledger_test")
        .fetch_all(connection)
        .await)
        .expect("SELECT");
    assert_eq!(
        rows,
        [(1, 2)],
        "of two attempts, the row of the one that succeeded"
    );
    running.drain().await;
}

pub(crate) async fn a_permanent_failure_is_in_the_table_and_on_the_stream_byte_for_byte(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let (mut dlq, mut mourned) = (
        world.subscribe("emails.dlq").await,
        world.subscribe("tests.mourned").await,
    );
    let payload = b"{ \"id\" : 9,\"outcome\":\"Permanent\", \"sent_at\":\"now\" }".to_vec();
    world.publish("tests.ping", payload.clone()).await;

    let letter = dlq.next().await;
    assert_eq!(letter.payload, payload);
    let rows = world.letters().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].payload, payload);
    assert_eq!(
        (rows[0].reason.as_str(), rows[0].error.as_str()),
        ("permanent", "never")
    );
    assert_eq!(
        (rows[0].handler.as_str(), rows[0].subject.as_str()),
        ("probe", "tests.ping")
    );
    assert_eq!((rows[0].error_class.as_str(), rows[0].attempts), ("Never", 1));
    assert_eq!((rows[0].stream.as_str(), rows[0].stream_seq), ("TESTS", 1));
    let headers = letter.headers.expect("headers");
    assert_eq!(
        headers.get("Postroom-Dead-Letter").map(ToString::to_string),
        Some(rows[0].id.clone())
    );
    assert_eq!(
        headers.get("Postroom-Reason").map(ToString::to_string).as_deref(),
        Some("permanent")
    );
    assert_eq!(mourned.ids(1).await, [9], "the handler's last words");
    assert_eq!(runs(&mut seen, 1).await.len(), 1);
    running.drain().await;
    assert_eq!(dlq.rest(), 0);
}

pub(crate) async fn used_up_attempts_end_as_a_letter_with_their_history(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::FailFirst(99)).await;
    dlq.next().await;
    running.drain().await;
    assert_eq!(runs(&mut seen, 4).await.len(), 4);
    let rows = world.letters().await;
    assert_eq!(
        (rows.len(), rows[0].reason.as_str(), rows[0].attempts),
        (1, "exhausted", 4)
    );
    let history: Vec<serde_json::Value> = serde_json::from_str(&rows[0].history).expect("JSON");
    assert_eq!(history.len(), 4);
    assert_eq!(history[3]["attempt"], 4);
    assert_eq!(history[0]["error"], "not yet");
}

pub(crate) async fn panics_and_timeouts_are_failed_attempts(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let (mut dlq, mut pongs) = (
        world.subscribe("emails.dlq").await,
        world.subscribe("tests.pong").await,
    );
    world.ping(1, Outcome::Panic).await;
    world.ping(2, Outcome::Hang).await;
    world.ping(3, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [3], "others are not held up");
    dlq.next().await;
    dlq.next().await;
    running.drain().await;
    let mut errors: Vec<_> = world
        .letters()
        .await
        .into_iter()
        .map(|row| (row.error_class, row.error))
        .collect();
    errors.sort();
    assert_eq!(
        errors[0],
        ("panic".to_owned(), "the handler panicked: as told".to_owned())
    );
    assert_eq!(errors[1].0, "timeout");
}

pub(crate) async fn a_second_copy_is_suppressed_and_a_reused_key_is_a_letter(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    let ping = |outcome, sent_at| {
        format!("{{\"id\":1,\"outcome\":\"{outcome}\",\"sent_at\":\"{sent_at}\"}}").into_bytes()
    };
    world.publish("tests.ping", ping("Succeed", "now")).await;
    assert_eq!(pongs.ids(1).await, [1]);
    // The same but for an incidental field; then the same key with something else to do; then an end mark.
    world.publish("tests.ping", ping("Succeed", "later")).await;
    world.publish("tests.ping", ping("Permanent", "now")).await;
    dlq.next().await;
    world.ping(2, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [2]);
    running.drain().await;
    let ids: Vec<_> = runs(&mut seen, 2).await.into_iter().map(|run| run.id).collect();
    assert_eq!(ids, [1, 2], "each piece of work ran once");
    let rows = world.letters().await;
    assert_eq!((rows.len(), rows[0].reason.as_str()), (1, "key_reused"));
    assert_eq!((pongs.rest(), dlq.rest()), (0, 0));
}

pub(crate) async fn what_cannot_be_read_is_a_letter_not_a_loss(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    for payload in [&b"\xff\x00 not JSON"[..], b"", b"{\"id\":\"text\"}", b"[]"] {
        world.publish("tests.ping", payload.to_vec()).await;
        assert_eq!(dlq.next().await.payload, payload);
    }
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter()
            .all(|row| row.reason == "undecodable" && row.attempts == 1),
        "{rows:?}"
    );
}

pub(crate) async fn a_snooze_spends_no_attempt(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    world.ping(1, Outcome::Snooze).await;
    // More often than there are attempts.
    assert!(runs(&mut seen, 7).await.iter().all(|run| run.attempt == 1));
    running.drain().await;
    let (probe, _seen) = Probe::relenting();
    let mut pongs = world.subscribe("tests.pong").await;
    let running = world.start(probe).await;
    assert_eq!(pongs.ids(1).await, [1]);
    running.drain().await;
    assert!(world.letters().await.is_empty());
}

pub(crate) async fn discarded_work_is_acked_and_leaves_nothing(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Discard).await;
    world.ping(2, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [2]);
    runs(&mut seen, 2).await;
    running.drain().await;
    assert!(world.letters().await.is_empty());
    assert_eq!(pongs.rest(), 0, "what it published was rolled back");
}

pub(crate) async fn a_lost_effect_is_sent_again_or_held_as_the_handler_chose(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world
        .app()
        .await
        .handler(probe)
        .handler(Holder)
        .start()
        .await
        .expect("the app starts");
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    world.ping(1, Outcome::LoseEffect).await;
    assert_eq!(pongs.ids(1).await, [1]);
    let effects: Vec<_> = runs(&mut seen, 2)
        .await
        .into_iter()
        .map(|run| run.unresolved_effect)
        .collect();
    assert_eq!(
        effects,
        [None, Some("the-effect".to_owned())],
        "the second run knows of the first one's effect"
    );
    dlq.next().await;
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(
        (rows.len(), rows[0].handler.as_str(), rows[0].reason.as_str()),
        (1, "holder", "unknown_effect")
    );
}

pub(crate) async fn a_replayed_letter_is_handled_once_more(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::Permanent).await;
    dlq.next().await;
    let store = world.store().await;
    let id = world.letters().await[0].id.clone();

    // Not mended yet: it is the same letter again, and on the stream once more.
    assert_eq!(
        dead_letters::replay(&store, &id, "test").await.expect("replay"),
        Replay::Begun
    );
    dlq.next().await;
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(
        (rows.len(), rows[0].state.as_str(), rows[0].replays),
        (1, "dead", 1)
    );

    // Mended.
    assert_eq!(
        dead_letters::replay(&store, &id, "test").await.expect("replay"),
        Replay::Begun
    );
    let (probe, mut seen) = Probe::relenting();
    let mut pongs = world.subscribe("tests.pong").await;
    let running = world.start(probe).await;
    assert_eq!(pongs.ids(1).await, [1]);
    assert_eq!(runs(&mut seen, 1).await[0].attempt, 1);
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(
        (rows.len(), rows[0].state.as_str(), rows[0].replays),
        (1, "replayed", 2)
    );
    assert_eq!((pongs.rest(), dlq.rest()), (0, 0));
}

pub(crate) async fn draining_finishes_what_runs_and_puts_back_what_does_not_end(world: World) {
    let (probe, mut seen) = Probe::new();
    let settings = Settings {
        drain: Duration::from_millis(50),
        ..world.settings.clone()
    };
    let running = postroom::App::connect(settings)
        .await
        .expect("connect")
        .handler(probe)
        .start()
        .await
        .expect("the app starts");
    world.ping(1, Outcome::Stay).await;
    runs(&mut seen, 1).await;
    within("the drain", running.drain()).await;

    let (probe, mut seen) = Probe::relenting();
    let mut pongs = world.subscribe("tests.pong").await;
    let running = world.start(probe).await;
    assert_eq!(pongs.ids(1).await, [1]);
    assert_eq!(
        runs(&mut seen, 1).await[0].attempt,
        1,
        "an attempt cut off by a stop is not an attempt failed"
    );
    running.drain().await;
}

pub(crate) async fn a_handler_that_outlasts_its_lease_keeps_it(world: World) {
    let (runs_seen, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let one = world
        .app()
        .await
        .handler(Slow(runs_seen.clone()))
        .start()
        .await
        .expect("the app starts");
    let two = world
        .app()
        .await
        .handler(Slow(runs_seen))
        .start()
        .await
        .expect("another process starts");
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    one.drain().await;
    two.drain().await;
    assert_eq!(runs(&mut seen, 1).await[0].attempt, 1);
    assert_eq!(
        seen.recv().await,
        None,
        "another process took over a lease that was alive"
    );
    assert_eq!(pongs.rest(), 0);
}

/// Runs the probe in a runtime of its own and takes that away in the middle of `run`, as a crash would.
async fn die_while_handling(world: &World) {
    let settings = world.settings.clone();
    let died = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let (probe, mut seen) = Probe::new();
            let app = postroom::App::connect(settings).await.expect("connect");
            let _running = app.handler(probe).start().await.expect("the app starts");
            runs(&mut seen, 1).await;
        });
        runtime.shutdown_background();
    });
    within("the crash", died).await.expect("the crash happened");
}

pub(crate) async fn work_of_a_process_that_died_runs_again(world: World) {
    world.app().await;
    create_stream(&world).await;
    world.ping(1, Outcome::Stay).await;
    die_while_handling(&world).await;
    let (probe, mut seen) = Probe::relenting();
    let mut pongs = world.subscribe("tests.pong").await;
    let running = world.start(probe).await;
    let died = std::time::Instant::now();
    assert_eq!(pongs.ids(1).await, [1]);
    assert_eq!(
        runs(&mut seen, 1).await[0].attempt,
        2,
        "the attempt that died is counted"
    );
    assert!(
        died.elapsed() < crate::probe::PATIENT,
        "its lease should run out within seconds: {:?}",
        died.elapsed()
    );
    running.drain().await;
}

pub(crate) async fn three_deaths_of_the_process_are_enough(world: World) {
    create_stream(&world).await;
    world.ping(1, Outcome::Stay).await;
    for _ in 0..3 {
        die_while_handling(&world).await;
    }
    let (probe, mut seen) = Probe::new();
    let mut dlq = world.subscribe("emails.dlq").await;
    let running = world.start(probe).await;
    dlq.next().await;
    running.drain().await;
    assert!(seen.try_recv().is_err(), "it was given a fourth process");
    let rows = world.letters().await;
    assert_eq!((rows.len(), rows[0].reason.as_str()), (1, "poison"));
}

/// The stream that the app would make, so that a message can wait for its first worker.
async fn create_stream(world: &World) {
    let (probe, _seen) = Probe::new();
    world.start(probe).await.drain().await;
}
