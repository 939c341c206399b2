//! What a handler can say besides yes and no: a result, a pause, what became of an effect, which versions it reads and
//! what it was called before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use postroom::store::dead_letters::{self, Replay};
use postroom::store::{handlers, pauses};
use postroom::{
    Cx, CxError, Handle, Handler, HandlerError, MAX_RESULT, Message, Reconcile, Reconciled, RequestError,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::probe::{Outcome, Ping, Pong, Probe, ProbeError, Run};
use crate::world::{World, within};

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tests.ask", id = "tests.ask.v1")]
struct Ask {
    id: u32,
    letters: usize,
    wanted: bool,
}

#[derive(Debug, thiserror::Error, HandlerError)]
enum AskError {
    #[error("nobody asked")]
    #[on(discard)]
    Unwanted,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
}

/// Answers with as many letters as it is asked for, and with how often it was.
#[derive(Handler)]
#[handler(on = Ask, id = "answerer", idempotent(key = [id], ttl = "1d"))]
struct Answerer(UnboundedSender<u32>);

impl Handle<Ask> for Answerer {
    type Error = AskError;

    async fn handle(&self, ask: Ask, cx: &mut Cx<'_>) -> Result<(), AskError> {
        let _ = self.0.send(ask.id);
        if !ask.wanted {
            return Err(AskError::Unwanted);
        }
        cx.set_result("overruled by the next")?;
        Ok(cx.set_result(&"a".repeat(ask.letters))?)
    }
}

pub(crate) async fn a_request_and_its_copy_are_given_one_result(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Answerer(runs));
    let running = app.start().await.expect("the app starts");
    let ask = async |id, letters, wanted| {
        let ask = Ask { id, letters, wanted };
        running
            .bus()
            .request::<Ask, String>(&ask, Duration::from_secs(30))
            .await
    };
    // In quotes, it is just as long as a result may be.
    let most = MAX_RESULT - 2;
    for _ in 0..2 {
        assert_eq!(ask(1, most, true).await.expect("a result").len(), most);
    }
    for _ in 0..2 {
        let error = ask(2, most + 1, true).await.expect_err("too large a result");
        assert!(matches!(error, RequestError::Dead { handler, .. } if handler == "answerer"));
    }
    let error = ask(3, 1, false).await.expect_err("discarded");
    assert!(matches!(error, RequestError::Discarded { .. }), "{error}");
    running.drain().await;
    let mut ran = Vec::new();
    while let Ok(id) = seen.try_recv() {
        ran.push(id);
    }
    assert_eq!(ran, [1, 2, 3], "a copy ran");
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].error.contains("65537 bytes of JSON; at most 65536"),
        "{}",
        letters[0].error
    );
}

/// Rests for a while at its first message.
#[derive(Debug, thiserror::Error, HandlerError)]
enum TiredError {
    #[error("the relay is down")]
    #[on(pause = "1500ms")]
    RelayDown,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
}

const REST: Duration = Duration::from_millis(1500);

#[derive(Handler)]
#[handler(on = Ping, id = "tired", idempotent(key = [id], ttl = "1d"), retry(max = 1, backoff = "5ms..20ms"), concurrency = 1)]
struct Tired {
    runs: UnboundedSender<(u32, i64, Instant)>,
    rested: AtomicBool,
}

impl Handle<Ping> for Tired {
    type Error = TiredError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), TiredError> {
        let _ = self.runs.send((ping.id, cx.attempt(), Instant::now()));
        if !self.rested.swap(true, Ordering::Relaxed) {
            return Err(TiredError::RelayDown);
        }
        Ok(cx.publish(&Pong::of(&ping)).await?)
    }
}

pub(crate) async fn a_handler_that_pauses_itself_rests_and_then_goes_on(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let tired = Tired {
        runs,
        rested: AtomicBool::new(false),
    };
    let running = world
        .app()
        .await
        .handler(tired)
        .start()
        .await
        .expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    for id in 0..5 {
        world.ping(id, Outcome::Succeed).await;
    }
    assert_eq!(pongs.ids(5).await, [0, 1, 2, 3, 4]);
    running.drain().await;
    let mut ran = Vec::new();
    while let Ok(run) = seen.try_recv() {
        ran.push(run);
    }
    assert_eq!(ran.len(), 6, "one more than there are messages: {ran:?}");
    assert!(
        ran.iter().all(|(_, attempt, _)| *attempt == 1),
        "a pause spends no attempt"
    );
    assert!(ran[1].2 - ran[0].2 >= REST, "the second run came within the rest");
    assert!(world.letters().await.is_empty());
}

/// Reports each run, and whether it was allowed.
#[derive(Handler)]
#[handler(on = Ping, id = "watched", idempotent(key = [id], ttl = "1d"))]
struct Watched {
    allowed: Arc<AtomicBool>,
    runs: UnboundedSender<bool>,
}

impl Handle<Ping> for Watched {
    type Error = CxError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.runs.send(self.allowed.load(Ordering::SeqCst));
        cx.publish(&Pong::of(&ping)).await
    }
}

pub(crate) async fn a_paused_handler_takes_nothing_in_any_process_until_it_is_resumed(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let allowed = Arc::new(AtomicBool::new(false));
    let start = async || {
        let (allowed, runs) = (Arc::clone(&allowed), runs.clone());
        let (probe, _) = Probe::new();
        let app = world
            .app()
            .await
            .handler(Watched { allowed, runs })
            .handler(probe);
        app.start().await.expect("the app starts")
    };
    let mut pongs = world.subscribe("tests.pong").await;
    let one = start().await;
    one.pause("watched", None, "maintenance").await.expect("paused");
    // A person's pause is not cut short by a shorter one.
    one.pause("watched", Some(Duration::from_millis(1)), "no")
        .await
        .expect("paused");
    let two = start().await;
    world.ping(1, Outcome::Succeed).await;
    // The probe runs on the same subject, so the message has been there to take.
    assert_eq!(pongs.ids(1).await, [1]);
    let mut tx = world.store().await.read().await.expect("read");
    let paused = pauses::list(&mut tx).await.expect("list");
    assert_eq!(paused.len(), 1);
    assert_eq!(
        (paused[0].remaining, paused[0].because.as_str()),
        (None, "maintenance")
    );
    tx.rollback().await.expect("rollback");

    allowed.store(true, Ordering::SeqCst);
    assert!(two.resume("watched").await.expect("resumed"));
    assert!(
        within("the run", seen.recv()).await.expect("a run"),
        "it ran while it was paused"
    );
    assert!(!two.resume("watched").await.expect("nothing to resume"));
    let error = two.pause("nobody", None, "").await.expect_err("no such handler");
    assert_eq!(error.to_string(), "this process has no handler `nobody`");
    assert_eq!(pongs.ids(1).await, [1]);
    one.drain().await;
    two.drain().await;
}

/// Loses its effect, and can look it up: it happened for id 1, did not for 2, and for 3 nobody knows.
#[derive(Handler)]
#[handler(on = Ping, id = "looker", idempotent(key = [id], ttl = "1d"), retry(max = 2, backoff = "5ms..20ms"), ambiguous = Reconcile)]
struct Looker(UnboundedSender<Run>);

impl Handle<Ping> for Looker {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let _ = self.0.send(Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: cx.unresolved_effect().map(str::to_owned),
        });
        if cx.attempt() == 1 {
            cx.begin_effect(&format!("effect {}", ping.id)).await?;
            return Err(ProbeError::LineDead);
        }
        Ok(cx.publish(&Pong::of(&ping)).await?)
    }
}

impl Reconcile<Ping> for Looker {
    async fn reconcile(&self, ping: &Ping, effect: &str, cx: &mut Cx<'_>) -> Result<Reconciled, ProbeError> {
        assert_eq!(effect, format!("effect {}", ping.id));
        // Commits only with the answer that it happened.
        cx.publish(&Pong {
            id: 100 + ping.id,
            ..Pong::of(ping)
        })
        .await?;
        match ping.id {
            1 => Ok(Reconciled::Happened),
            2 => Ok(Reconciled::DidNotHappen),
            3 => Ok(Reconciled::Unknown),
            _ => Err(ProbeError::NotYet),
        }
    }
}

pub(crate) async fn a_handler_that_can_look_up_a_lost_effect_is_asked(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Looker(runs));
    let running = app.start().await.expect("the app starts");
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    for id in 1..=4 {
        world.ping(id, Outcome::Succeed).await;
    }
    assert_eq!(
        pongs.ids(2).await,
        [2, 101],
        "it ran again, and what happened was reported"
    );
    dlq.next().await;
    dlq.next().await;
    running.drain().await;
    assert_eq!((pongs.rest(), dlq.rest()), (0, 0));
    let mut ran = Vec::new();
    while let Ok(run) = seen.try_recv() {
        assert_eq!(run.unresolved_effect, None);
        ran.push((run.id, run.attempt));
    }
    ran.sort_unstable();
    assert_eq!(ran, [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)]);
    let mut letters: Vec<_> = world
        .letters()
        .await
        .into_iter()
        .map(|row| (row.key, row.reason))
        .collect();
    letters.sort();
    let held = |key: &str| (key.to_owned(), "unknown_effect".to_owned());
    assert_eq!(
        letters,
        [held("3"), held("4")],
        "nobody knows, and nobody could be asked"
    );
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.order", id = "tests.order.v1")]
struct OrderV1 {
    number: u32,
    #[message(incidental)]
    at: String,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.order", id = "tests.order.v2", upcast_from = OrderV1)]
struct OrderV2 {
    number: u32,
    currency: String,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.order", id = "tests.order.v3", upcast_from = OrderV2)]
struct Order {
    id: u32,
    currency: String,
}

impl From<OrderV1> for OrderV2 {
    fn from(old: OrderV1) -> Self {
        let currency = "EUR".to_owned();
        Self {
            number: old.number,
            currency,
        }
    }
}

impl From<OrderV2> for Order {
    fn from(old: OrderV2) -> Self {
        Self {
            id: old.number,
            currency: old.currency,
        }
    }
}

#[derive(Handler)]
#[handler(on = Order, id = "clerk", idempotent(key = [id], ttl = "1d"))]
struct Clerk(UnboundedSender<(u32, String)>);

impl Handle<Order> for Clerk {
    type Error = CxError;

    async fn handle(&self, order: Order, _: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.0.send((order.id, order.currency));
        Ok(())
    }
}

pub(crate) async fn older_versions_are_read_and_unknown_ones_are_letters(world: World) {
    let (orders, mut seen) = mpsc::unbounded_channel();
    let running = world
        .app()
        .await
        .handler(Clerk(orders))
        .start()
        .await
        .expect("the app starts");
    let mut dlq = world.subscribe("emails.dlq").await;
    let publish = async |id: &str, payload: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("Postroom-Message", id);
        let jetstream = async_nats::jetstream::new(world.client.clone());
        let sent = jetstream
            .publish_with_headers("tests.order", headers, payload.into())
            .await;
        sent.expect("publish").await.expect("a PubAck");
    };
    let order =
        async |seen: &mut UnboundedReceiver<_>| within("an order", seen.recv()).await.expect("an order");
    publish("tests.order.v1", r#"{"number":1,"at":"now"}"#).await;
    assert_eq!(order(&mut seen).await, (1, "EUR".to_owned()));
    // The first version's own incidental field does not count.
    publish("tests.order.v1", r#"{"number":1,"at":"later"}"#).await;
    publish("tests.order.v2", r#"{"number":2,"currency":"CHF"}"#).await;
    assert_eq!(order(&mut seen).await, (2, "CHF".to_owned()));
    publish("tests.order.v3", r#"{"id":3,"currency":"USD"}"#).await;
    assert_eq!(order(&mut seen).await, (3, "USD".to_owned()));
    publish("tests.order.v4", r#"{"id":4,"currency":"USD"}"#).await;
    dlq.next().await;
    running.drain().await;
    assert!(seen.try_recv().is_err(), "the second copy ran");
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "undecodable"));
    assert_eq!(
        letters[0].error,
        "the message is a `tests.order.v4`, and this handler takes `tests.order.v3`, `tests.order.v2`, `tests.order.v1`"
    );
}

/// The probe under a new name.
#[derive(Handler)]
#[handler(
    on = Ping,
    id = "renamed",
    aliases = ["probe"],
    idempotent(key = [id], ttl = "1d"),
    retry(max = 4, backoff = "5ms..20ms"),
    ambiguous = Resend,
)]
struct Renamed(Probe);

impl Handle<Ping> for Renamed {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        self.0.handle(ping, cx).await
    }
}

pub(crate) async fn a_renamed_handler_goes_on_where_the_old_one_stopped(world: World) {
    let (probe, mut seen) = Probe::new();
    let running = world.start(probe).await;
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    world.ping(2, Outcome::Permanent).await;
    dlq.next().await;
    within("two runs", async { (seen.recv().await, seen.recv().await) }).await;
    running.drain().await;
    // A copy of what is done, and something new.
    world.ping(1, Outcome::Succeed).await;
    world.ping(3, Outcome::Succeed).await;

    let (probe, mut seen) = Probe::relenting();
    let running = world
        .app()
        .await
        .handler(Renamed(probe))
        .start()
        .await
        .expect("the app starts");
    assert_eq!(pongs.ids(1).await, [3]);
    let mut tx = world.store().await.read().await.expect("read");
    let known = handlers::list(&mut tx).await.expect("the handlers");
    tx.rollback().await.expect("rollback");
    let known: Vec<_> = known.iter().map(|known| known.id.as_str()).collect();
    assert_eq!(known, ["renamed"], "by its new name only");
    let letter = world.letters().await[0].id.clone();
    let replay = dead_letters::replay(&world.store().await, &letter, "test").await;
    assert_eq!(replay.expect("replay"), Replay::Begun);
    assert_eq!(pongs.ids(1).await, [2]);
    running.drain().await;
    let mut ran = Vec::new();
    while let Ok(run) = seen.try_recv() {
        ran.push(run.id);
    }
    assert_eq!(ran, [3, 2], "what the old one had done was done again");
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].state.as_str()), (1, "replayed"));
    assert_eq!((pongs.rest(), dlq.rest()), (0, 0));
}
