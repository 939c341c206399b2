//! Handlers that are functions, and layers around them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use postroom::extract::{Attempt, FromDelivery, Publisher, State, Tx};
use postroom::{CxError, Delivery, DeliveryError, Error, Headers, Key, Spec, on_tx};
use tokio::sync::mpsc::{self, UnboundedSender};
use tower::timeout::TimeoutLayer;
use tower_layer::Layer;
use tower_service::Service;

use crate::probe::{Outcome, Ping, Pong, ProbeError};
use crate::world::World;

fn spec(id: &'static str) -> Spec<Ping> {
    Spec::new(id)
        .idempotent(|ping: &Ping| Key::of(&[&ping.id]), Duration::from_secs(86_400))
        .retry(3, Duration::from_millis(5), Duration::from_millis(20))
}

type Reports = UnboundedSender<String>;

/// Fails in the first attempt, after everything it does.
async fn keep_books(
    ping: Ping,
    State(reports): State<Reports>,
    mut tx: Tx,
    publisher: Publisher,
    headers: Headers,
    key: Key,
    Attempt(attempt): Attempt,
) -> Result<(), ProbeError> {
    let _ = reports.send(format!("{key} {attempt} {}", headers.get("Shop").unwrap_or("-")));
    publisher.publish(&Pong::of(&ping)).await?;
    let tx = tx.open().await?;
    let insert = "INSERT INTO ledger_test (id, attempt) VALUES ($1, $2)";
    postroom::execute!(tx, insert, i64::from(ping.id), attempt)?;
    tx.publish(&Pong::of(&ping)).await.map_err(CxError::from)?;
    if attempt == 1 {
        Err(ProbeError::NotYet)
    } else {
        Ok(())
    }
}

pub(crate) async fn a_function_is_a_handler_and_its_arguments_commit_with_it(world: World) {
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    let table = "CREATE TABLE ledger_test (id BIGINT NOT NULL, attempt BIGINT NOT NULL)";
    postroom::execute!(tx, table).expect("DDL");
    tx.commit().await.expect("commit");

    let (reports, mut reported) = mpsc::unbounded_channel();
    let app = world
        .app()
        .await
        .function(spec("books"), keep_books)
        .state(reports);
    let running = app.start().await.expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    let payload = br#"{"id":7,"outcome":"Succeed","sent_at":"now"}"#.to_vec();
    world
        .publish_with("tests.ping", &[("Shop", "berlin")], payload)
        .await;
    assert_eq!(pongs.ids(2).await, [7, 7]);
    running.drain().await;
    assert_eq!(pongs.rest(), 0, "the attempt that failed has published");
    let runs = [reported.recv().await, reported.recv().await];
    assert_eq!(
        runs,
        [Some("7 1 berlin".to_owned()), Some("7 2 berlin".to_owned())]
    );
    let mut tx = store.read().await.expect("read");
    let select = "SELECT id, attempt FROM ledger_test";
    let rows: Vec<(i64, i64)> =
        on_tx!(tx, connection => sqlx::query_as(select).fetch_all(connection).await).expect("SELECT");
    assert_eq!(rows, [(7, 2)]);
}

async fn needs_state(_: Ping, State(_): State<Reports>) {}

pub(crate) async fn what_a_function_or_a_layer_lacks_is_an_error_at_start(world: World) {
    let app = world.app().await.function(spec("needy"), needs_state);
    let error = app.start().await.expect_err("no state").to_string();
    assert!(
        error.starts_with("handler `needy`: no state of type `"),
        "{error}"
    );
    assert!(
        error.ends_with("`: add `.state(…)` with one to the app"),
        "{error}"
    );

    let app = world.app().await.function(spec("plain"), async |_: Ping| {});
    let app = app.layer_for("plane", TimeoutLayer::new(Duration::from_secs(1)));
    let error = app.start().await.expect_err("no such handler");
    assert!(
        matches!(error, Error::LayerForNobody { handler: "plane", ref there_are } if there_are == &["plain"]),
        "{error}"
    );
}

/// An argument that no message has.
struct Tenant;

impl FromDelivery for Tenant {
    type Error = ProbeError;

    async fn from_delivery(_: &Delivery) -> Result<Self, ProbeError> {
        Err(ProbeError::Never)
    }
}

pub(crate) async fn an_argument_that_cannot_be_taken_has_the_verdict_of_its_error(world: World) {
    async fn unreached(_: Ping, _: Tenant) -> Result<(), CxError> {
        panic!("it ran without its argument")
    }
    let running = world
        .app()
        .await
        .function(spec("tenants"), unreached)
        .start()
        .await
        .expect("starts");
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::Succeed).await;
    dlq.next().await;
    running.drain().await;
    let letter = &world.letters().await[0];
    assert_eq!(
        (letter.reason.as_str(), letter.error_class.as_str()),
        ("permanent", "Never")
    );
}

pub(crate) async fn a_transaction_that_is_asked_for_twice_is_given_once(world: World) {
    async fn opens_twice(ping: Ping, publisher: Publisher, mut one: Tx, mut two: Tx) -> Result<(), CxError> {
        publisher.publish(&Pong::of(&ping)).await?;
        one.open().await?;
        two.open().await.map(drop)
    }
    let (mut dlq, mut pongs) = (
        world.subscribe("emails.dlq").await,
        world.subscribe("tests.pong").await,
    );
    let running = world
        .app()
        .await
        .function(spec("twice"), opens_twice)
        .start()
        .await
        .expect("starts");
    world.ping(1, Outcome::Succeed).await;
    dlq.next().await;
    running.drain().await;
    let letter = &world.letters().await[0];
    assert_eq!(letter.error_class, "tx_in_use", "{}", letter.error);
    assert_eq!(pongs.rest(), 0);
}

/// Reports what passes, and fails as told: before the handler, after it, or by not waiting for it.
#[derive(Clone)]
struct Watch {
    reports: Reports,
    what: What,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Report(&'static str),
    FailBefore,
    FailAfter,
    CallTwice,
    Swallow,
}

#[derive(Clone)]
struct Watched<S> {
    inner: S,
    watch: Watch,
}

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched {
            inner,
            watch: self.clone(),
        }
    }
}

impl<S> Service<Delivery> for Watched<S>
where
    S: Service<Delivery, Response = (), Error = DeliveryError, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = ();
    type Error = DeliveryError;
    type Future = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DeliveryError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        let Watch { reports, what } = self.watch.clone();
        let (mut inner, again) = (self.inner.clone(), delivery.clone());
        let called = inner.call(delivery);
        Box::pin(async move {
            if what == What::FailBefore {
                return Err(ProbeError::Never.into());
            }
            if let What::Report(name) = what {
                let _ = reports.send(format!("{name} in {} {}", again.handler(), again.attempt()));
            }
            let answer = called.await;
            match what {
                What::Report(name) => {
                    let class = answer
                        .as_ref()
                        .err()
                        .map_or("ok", DeliveryError::class)
                        .to_owned();
                    let _ = reports.send(format!("{name} out {class}"));
                    answer
                }
                What::FailAfter => Err(ProbeError::Never.into()),
                What::CallTwice => inner.call(again).await,
                What::Swallow => Ok(()),
                _ => answer,
            }
        })
    }
}

async fn answer(ping: Ping, publisher: Publisher) -> Result<(), ProbeError> {
    publisher.publish(&Pong::of(&ping)).await?;
    match ping.outcome {
        Outcome::Permanent => Err(ProbeError::Never),
        Outcome::Hang => std::future::pending().await,
        _ => Ok(()),
    }
}

pub(crate) async fn layers_stand_around_the_handlers_they_are_for_the_first_outermost(world: World) {
    let (reports, mut reported) = mpsc::unbounded_channel();
    let layer = |name| Watch {
        reports: reports.clone(),
        what: What::Report(name),
    };
    let app = world.app().await.layer(layer("app"));
    let app = app.function(spec("one"), answer).layer_for("one", layer("own"));
    let running = app.start().await.expect("the app starts");
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    world.ping(2, Outcome::Permanent).await;
    dlq.next().await;
    running.drain().await;
    let seen: Vec<_> = std::iter::from_fn(|| reported.try_recv().ok()).collect();
    let passed = ["app in one 1", "own in one 1"];
    let expected = [
        &passed[..],
        &["own out ok", "app out ok"],
        &passed[..],
        &["own out Never", "app out Never"],
    ];
    assert_eq!(seen, expected.concat());
}

/// The letters and pongs that come of one ping through `what`.
async fn through(world: &World, id: u32, what: What, outcome: Outcome) -> (Vec<String>, usize) {
    let (reports, _) = mpsc::unbounded_channel();
    let app = world.app().await.layer(Watch { reports, what });
    let running = app
        .function(spec("one"), answer)
        .start()
        .await
        .expect("the app starts");
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    world.ping(id, outcome).await;
    dlq.next().await;
    running.drain().await;
    let letters = world.letters().await;
    let texts = letters
        .iter()
        .map(|row| format!("{} {} {}", row.reason, row.error_class, row.error));
    (texts.collect(), pongs.rest())
}

pub(crate) async fn the_error_of_a_layer_is_a_failed_attempt_with_its_own_verdict(world: World) {
    let failed = vec!["permanent Never never".to_owned()];
    let before = through(&world, 1, What::FailBefore, Outcome::Succeed).await;
    assert_eq!(before, (failed, 0), "the handler did not run");
    let (letters, pongs) = through(&world, 2, What::FailAfter, Outcome::Succeed).await;
    assert_eq!(
        (letters.len(), pongs),
        (2, 0),
        "what the handler did was rolled back"
    );
    let (letters, pongs) = through(&world, 3, What::Swallow, Outcome::Permanent).await;
    assert_eq!(
        (letters.len(), pongs),
        (3, 0),
        "no layer makes a success of a failed handler"
    );
    let (letters, pongs) = through(&world, 4, What::CallTwice, Outcome::Succeed).await;
    assert_eq!((letters.len(), pongs), (4, 0));
    assert!(
        letters
            .iter()
            .any(|text| text.starts_with("exhausted layer a layer called the handler twice")),
        "{letters:?}"
    );
}

pub(crate) async fn a_layer_of_towers_own_cuts_the_handler_off(world: World) {
    let app = world.app().await.function(spec("one"), answer);
    let app = app.layer(TimeoutLayer::new(Duration::from_millis(20)));
    let running = app.start().await.expect("the app starts");
    let (mut pongs, mut dlq) = (
        world.subscribe("tests.pong").await,
        world.subscribe("emails.dlq").await,
    );
    world.ping(1, Outcome::Hang).await;
    dlq.next().await;
    running.drain().await;
    let letter = &world.letters().await[0];
    let told = (
        letter.reason.as_str(),
        letter.error_class.as_str(),
        letter.attempts,
    );
    assert_eq!(told, ("exhausted", "layer", 3), "{}", letter.error);
    assert_eq!(pongs.rest(), 0);
}

/// Begins an effect, and succeeds.
async fn effect_under(world: &World, id: &'static str) -> String {
    let (reports, _) = mpsc::unbounded_channel();
    let what = What::FailAfter;
    let app = world.app().await.layer(Watch { reports, what });
    let handler = crate::probe::Sure;
    let running = app
        .handler_with(spec(id), handler)
        .start()
        .await
        .expect("the app starts");
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, Outcome::Succeed).await;
    dlq.next().await;
    running.drain().await;
    world.letters().await[0].reason.clone()
}

pub(crate) async fn a_layer_that_fails_after_an_effect_leaves_it_unknown(world: World) {
    assert_eq!(
        effect_under(&world, "sure").await,
        "unknown_effect",
        "it would be done twice"
    );
}
