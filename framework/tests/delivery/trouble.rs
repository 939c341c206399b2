//! The cases in which the database, the broker or user code fails at an awkward moment.

use std::time::Duration;

use postroom::store::dead_letters::{self, Letter, Replay};
use postroom::{Cx, CxError, Handle, Handler, HandlerError, Message, Running};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::probe::{Outcome, Ping, Pong, Probe, ProbeError, Run};
use crate::world::{World, within};

/// Fails with what the database says, to be tried again.
#[derive(Debug, thiserror::Error, HandlerError)]
pub(crate) enum DatabaseSays {
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
    #[error(transparent)]
    #[on(retry)]
    Sql(#[from] sqlx::Error),
}

/// Does its effect; what it writes after that the database refuses at the commit of the first attempt.
#[derive(Handler)]
#[handler(on = Ping, id = "uncommitted", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Resend)]
struct Uncommitted(UnboundedSender<Run>);

impl Handle<Ping> for Uncommitted {
    type Error = DatabaseSays;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), DatabaseSays> {
        let _ = self.0.send(Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: cx.unresolved_effect().map(str::to_owned),
        });
        cx.begin_effect("the-effect").await?;
        if cx.attempt() == 1 {
            let tx = cx.tx().await?;
            postroom::execute!(
                tx,
                "INSERT INTO child_test (parent) VALUES ($1)",
                i64::from(ping.id)
            )?;
        }
        cx.publish(&Pong::of(&ping)).await?;
        Ok(())
    }
}

pub(crate) async fn an_effect_whose_commit_failed_is_not_forgotten(world: World) {
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    postroom::execute!(tx, "CREATE TABLE parent_test (id BIGINT PRIMARY KEY)").expect("DDL");
    let child =
        "CREATE TABLE child_test (parent BIGINT REFERENCES parent_test (id) DEFERRABLE INITIALLY DEFERRED)";
    postroom::execute!(tx, child).expect("DDL");
    tx.commit().await.expect("commit");

    let (runs, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Uncommitted(runs));
    let running = app.start().await.expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    running.drain().await;
    let effects: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok())
        .map(|run| run.unresolved_effect)
        .collect();
    assert_eq!(
        effects,
        [None, Some("the-effect".to_owned())],
        "the second run must know that the effect may have happened"
    );
}

/// Begins its effect and fails with a plain error; the second ping says that its effect did not happen.
#[derive(Handler)]
#[handler(on = Ping, id = "faltering", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Resend)]
struct Faltering(UnboundedSender<Run>);

impl Handle<Ping> for Faltering {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let _ = self.0.send(Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: cx.unresolved_effect().map(str::to_owned),
        });
        if cx.attempt() == 1 {
            cx.begin_effect("the-effect").await?;
            if ping.id == 2 {
                cx.effect_did_not_happen();
            }
            return Err(ProbeError::NotYet);
        }
        Ok(cx.publish(&Pong::of(&ping)).await?)
    }
}

pub(crate) async fn an_error_says_nothing_of_an_effect_unless_the_handler_does(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Faltering(runs));
    let running = app.start().await.expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Succeed).await;
    world.ping(2, Outcome::Succeed).await;
    let mut ids = pongs.ids(2).await;
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    running.drain().await;
    let mut second: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok())
        .filter(|run| run.attempt == 2)
        .map(|run| (run.id, run.unresolved_effect))
        .collect();
    second.sort();
    assert_eq!(second, [(1, Some("the-effect".to_owned())), (2, None)]);
}

/// Fails for good, and its last words leave behind a transaction that can't commit.
#[derive(Handler)]
#[handler(on = Ping, id = "babbler", idempotent(key = [id], ttl = "1d"), retry(max = 1, backoff = "5ms..20ms"))]
struct Babbler;

#[derive(Debug, thiserror::Error, HandlerError)]
enum Never {
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
}

impl Handle<Ping> for Babbler {
    type Error = Never;

    async fn handle(&self, _: Ping, _: &mut Cx<'_>) -> Result<(), Never> {
        Err(Never::Never)
    }

    async fn on_dead_letter(&self, _: &Ping, _: &Letter, cx: &mut Cx<'_>) -> Result<(), Never> {
        let tx = cx.tx().await?;
        // Both databases refuse the second row, Postgres everything after it, too; it is nobody's fault but ours.
        for _ in 0..2 {
            let row = "INSERT INTO leases (name, owner, fence, lease_until) VALUES ('twice', '', 0, 0)";
            let _ = postroom::execute!(tx, row);
        }
        Ok(())
    }
}

pub(crate) async fn last_words_that_cannot_commit_do_not_cost_the_letter(world: World) {
    let app = world.app().await.handler(Babbler);
    let running = app.start().await.expect("the app starts");
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::Succeed).await;
    dlq.next().await;
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(
        (rows.len(), rows[0].reason.as_str(), rows[0].attempts),
        (1, "permanent", 1),
        "the letter is written at the first death"
    );
}

pub(crate) async fn a_replay_whose_work_was_done_by_another_copy_is_over(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::Permanent).await;
    dlq.next().await;
    running.drain().await;
    let store = world.store().await;
    let id = world.letters().await[0].id.clone();
    assert_eq!(
        dead_letters::replay(&store, &id, "test").await.expect("replay"),
        Replay::Begun
    );
    // The replay waits in the outbox of a process that is gone; the copy is in the stream already.
    world.ping(1, Outcome::Permanent).await;

    let (probe, mut seen) = Probe::relenting();
    let mut pongs = world.subscribe("tests.pong").await;
    let running = world.start(probe).await;
    assert_eq!(pongs.ids(1).await, [1]);
    idle(&running).await;
    running.drain().await;
    assert_eq!(std::iter::from_fn(|| seen.try_recv().ok()).count(), 1);
    assert_eq!(world.letters().await[0].state, "replayed");
}

async fn idle(running: &Running) {
    let idle = async {
        while !running.is_idle().await.expect("is_idle") {
            tokio::task::yield_now().await;
        }
    };
    within("nothing to be left", idle).await;
}

pub(crate) async fn headers_with_nul_hold_up_nothing(world: World) {
    let (probe, _seen) = Probe::new();
    let running = world.start(probe).await;
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    let jetstream = async_nats::jetstream::new(world.client.clone());
    for (name, value) in [("Postroom-Replay", "no\0id"), ("traceparent", "00-a\0b-c-01")] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(name, value);
        let sent = jetstream.publish_with_headers("tests.ping", headers, "no JSON".into());
        sent.await.expect("publish").await.expect("a PubAck");
    }
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    dlq.next().await;
    idle(&running).await;
    running.drain().await;
    assert_eq!(
        world.letters().await.len(),
        1,
        "what is no replay of anything is dropped"
    );
}

/// Of this, the broker takes only one.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "narrow.door", id = "narrow.door.v1")]
struct Narrow {
    id: u32,
}

pub(crate) async fn what_the_broker_refuses_holds_up_nothing_else(world: World) {
    let narrow = async_nats::jetstream::stream::Config {
        name: "NARROW".to_owned(),
        subjects: vec!["narrow.door".to_owned()],
        max_messages: 1,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    let jetstream = async_nats::jetstream::new(world.client.clone());
    jetstream.create_stream(narrow).await.expect("a stream");
    // More than a relay takes at a time.
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    for id in 0..300 {
        tx.publish(&Narrow { id }).await.expect("publish");
    }
    tx.commit().await.expect("commit");

    let (probe, _seen) = Probe::new();
    let mut pongs = world.subscribe("tests.pong").await;
    let running = world.start(probe).await;
    world.ping(1, Outcome::Succeed).await;
    // The rows of the first store fall to this process after five seconds; then they are in its way, or not.
    tokio::time::sleep(Duration::from_secs(7)).await;
    world.ping(2, Outcome::Succeed).await;
    assert_eq!(pongs.ids(2).await, [1, 2]);
    running.drain().await;
    let mut tx = store.read().await.expect("read");
    let waiting = postroom::store::outbox::backlog(&mut tx).await.expect("backlog");
    assert_eq!(waiting.rows, 299, "none is lost");
}

/// Takes longer than a heart beats.
#[derive(Handler)]
#[handler(on = Ping, id = "unhurried", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"))]
struct Unhurried(UnboundedSender<Run>);

impl Handle<Ping> for Unhurried {
    type Error = CxError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.0.send(Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: None,
        });
        tokio::time::sleep(Duration::from_millis(2500)).await;
        cx.publish(&Pong::of(&ping)).await
    }
}

pub(crate) async fn a_claim_that_waited_for_the_database_is_as_good_as_any(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Unhurried(runs));
    let running = app.start().await.expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    // On SQLite this is the one writer, for longer than a lease lasts.
    let store = world.store().await;
    let tx = store.begin().await.expect("begin");
    world.ping(1, Outcome::Succeed).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    tx.rollback().await.expect("rollback");
    assert_eq!(pongs.ids(1).await, [1]);
    running.drain().await;
    let attempts: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok())
        .map(|run| run.attempt)
        .collect();
    assert_eq!(
        attempts,
        [1],
        "it was cut off in the middle, though nobody else wanted its lease"
    );
}

/// Keeps the database to itself for longer than a lease lasts.
#[derive(Handler)]
#[handler(on = Ping, id = "greedy", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"))]
struct Greedy;

impl Handle<Ping> for Greedy {
    type Error = CxError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), CxError> {
        cx.tx().await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        cx.publish(&Pong::of(&ping)).await
    }
}

pub(crate) async fn a_handler_that_costs_itself_the_lease_ends_and_says_why(world: World) {
    let app = world.app().await.handler(Greedy);
    let running = app.start().await.expect("the app starts");
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    world.ping(1, Outcome::Succeed).await;
    // Postgres has room for it; SQLite has one writer.
    tokio::select! {
        ids = pongs.ids(1) => assert_eq!(ids, [1]),
        _ = dlq.next() => {
            let rows = world.letters().await;
            assert_eq!((rows[0].reason.as_str(), rows[0].error_class.as_str()), ("exhausted", "lease"));
        }
    }
    running.drain().await;
}
