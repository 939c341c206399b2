//! The cases about messages for later, and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use postroom::extract::Publisher;
use postroom::store::postponed;
use postroom::{App, Cx, Handle, Handler, Key, Running, Spec, Terms, on_tx};
use rand::RngExt;
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::probe::{Outcome, Ping, Pong, ProbeError, Run};
use crate::world::{World, within};

/// Long enough that the process which says it is gone before it is over.
const A_WHILE: Duration = Duration::from_secs(3);

/// Answers later; a message that fails for good is to leave nothing behind.
#[derive(Handler)]
#[handler(on = Ping, id = "later", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Resend)]
struct Later;

impl Handle<Ping> for Later {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        cx.publish_after(A_WHILE, &Pong::of(&ping)).await?;
        match ping.outcome {
            Outcome::Permanent => Err(ProbeError::Never),
            _ => Ok(()),
        }
    }
}

async fn later_by_function(ping: Ping, publisher: Publisher) -> Result<(), ProbeError> {
    let pong = Pong {
        id: ping.id + 100,
        ..Pong::of(&ping)
    };
    publisher.publish_at(SystemTime::now() + A_WHILE, &pong).await?;
    let too_far = SystemTime::now() + postroom::terms::MAX_AHEAD * 2;
    publisher.publish_at(too_far, &pong).await.expect_err("refused");
    Ok(())
}

fn by_function(app: App) -> App {
    let spec = Spec::new("later-by-function")
        .idempotent(|ping: &Ping| Key::of(&[&ping.id]), Duration::from_secs(86_400))
        .ambiguous(postroom::Ambiguous::Resend);
    app.function(spec, later_by_function)
}

async fn waiting(world: &World) -> Vec<postponed::Postponed> {
    let store = world.store().await;
    let mut tx = store.read().await.expect("read");
    postponed::list(&mut tx, None, None, 100).await.expect("list")
}

/// By a program without handlers; one of the messages is taken back. Gives the id of the last.
async fn publish_from_outside(world: &World, began: SystemTime) -> String {
    let store = world.store().await;
    let pong = |id| Pong {
        id,
        outcome: Outcome::Succeed,
        sent_at: String::new(),
    };
    let taken_back = store.publish_after(A_WHILE, &pong(7)).await.expect("publish");
    store.publish_at(began, &pong(8)).await.expect("publish");
    let last = store.publish_after(A_WHILE, &pong(9)).await.expect("publish");
    let cancel = async || store.cancel(&taken_back).await.expect("cancel");
    assert_eq!([cancel().await, cancel().await], [true, false]);
    last
}

pub(crate) async fn a_message_for_later_arrives_once_at_its_time_in_whatever_process(world: World) {
    let mut pongs = world.subscribe("tests.pong").await;
    let running = by_function(world.app().await)
        .handler(Later)
        .start()
        .await
        .expect("the app starts");
    let mut dlq = world.subscribe("emails.dlq").await;
    let began = SystemTime::now();
    world.ping(1, Outcome::Succeed).await;
    world.ping(2, Outcome::Permanent).await;
    dlq.next().await;
    // What the failed one wrote was rolled back; the function published for both.
    let all_there = async {
        while waiting(&world).await.len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    within("the messages for later", all_there).await;
    running.drain().await;
    let last = publish_from_outside(&world, began).await;
    let rows = waiting(&world).await;
    assert_eq!(rows.len(), 5);

    let bystanders = [world.app().await, world.app().await];
    let mut running: Vec<Running> = Vec::new();
    for app in bystanders {
        running.push(app.start().await.expect("the app starts"));
    }
    let (mut ids, mut came) = (BTreeSet::new(), Vec::new());
    while ids.len() < 5 {
        let message = pongs.next().await;
        let Pong { id, .. } = serde_json::from_slice(&message.payload).expect("a pong");
        let headers = message.headers.expect("headers");
        let name = headers.get("Nats-Msg-Id").expect("an id").to_string();
        came.push((id, began.elapsed().expect("time goes on")));
        assert!(ids.insert(name), "{id} came twice");
    }
    for app in running {
        app.drain().await;
    }
    assert_eq!(
        pongs.rest(),
        0,
        "each once, and none that was taken back: {came:?}"
    );
    let expected: BTreeSet<_> = rows.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, expected, "under the ids that they have always had");
    assert!(ids.contains(&last));
    let mut order: Vec<_> = came.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        (order[0], order[4]),
        (8, 9),
        "by the order of their times: {came:?}"
    );
    order.sort_unstable();
    assert_eq!(order, [1, 8, 9, 101, 102]);
    for (id, after) in came {
        assert!(id == 8 || after >= A_WHILE, "{id} came after {after:?}");
    }
    assert!(waiting(&world).await.is_empty());
}

const TOLD: &str = "CREATE TABLE told (name TEXT NOT NULL, place BIGINT NOT NULL, id BIGINT NOT NULL)";
/// The key is this transaction's until its end, so nobody else of the key counts meanwhile.
const TELL: &str = "\
INSERT INTO told (name, place, id) SELECT $1, (SELECT COUNT(*) FROM told WHERE name = $1), $2";
const PINGS: u32 = 60;
const KEYS: u32 = 3;

/// Publishes in order, and writes the order of its commits down in a table of its own.
#[derive(Handler)]
#[handler(
    on = Ping,
    id = "teller",
    idempotent(key = [id], ttl = "1d"),
    retry(max = 8, backoff = "5ms..20ms"),
    concurrency = 8,
    ambiguous = Resend,
)]
struct Teller(UnboundedSender<Run>);

impl Handle<Ping> for Teller {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let attempt = cx.attempt();
        let tx = cx.tx().await?;
        let key = format!("key {}", ping.id % KEYS);
        let terms = Terms::default().ordered_by(key.as_str());
        tx.publish_on(&terms, &Pong::of(&ping))
            .await
            .map_err(postroom::CxError::from)?;
        postroom::execute!(tx, TELL, key, i64::from(ping.id))?;
        let pause = rand::rng().random_range(0..5);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let _ = self.0.send(Run {
            id: ping.id,
            attempt,
            unresolved_effect: None,
        });
        Ok(())
    }
}

/// A process that takes part in the work, and dies with all that it has under way.
async fn work_and_die(world: &World, after: usize) {
    let settings = world.settings.clone();
    let died = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let (runs, mut seen) = mpsc::unbounded_channel();
            let app = App::connect(settings).await.expect("connect");
            let _running = app.handler(Teller(runs)).start().await.expect("the app starts");
            for _ in 0..after {
                within("a run", seen.recv()).await;
            }
        });
        runtime.shutdown_background();
    });
    within("the crash", died).await.expect("the crash happened");
}

pub(crate) async fn messages_of_a_key_arrive_in_the_order_of_their_commits(world: World) {
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    postroom::execute!(tx, TOLD).expect("a table");
    tx.commit().await.expect("commit");
    let teller = async || {
        let (runs, _) = mpsc::unbounded_channel();
        let app = world.app().await.handler(Teller(runs));
        app.start().await.expect("the app starts")
    };
    teller().await.drain().await;
    let mut pongs = world.subscribe("tests.pong").await;
    for id in 0..PINGS {
        world.ping(id, Outcome::Succeed).await;
    }
    // With rows of its own in the outbox, some of them published and not yet forgotten.
    work_and_die(&world, 10).await;
    let (one, two) = (teller().await, teller().await);
    let mut seen = BTreeSet::new();
    while seen.len() < PINGS as usize {
        seen.extend(pongs.ids(1).await);
    }
    one.drain().await;
    two.drain().await;
    let mut tx = store.read().await.expect("read");
    let told: Vec<(String, i64)> = on_tx!(tx, connection =>
        sqlx::query_as("SELECT name, id FROM told ORDER BY name, place").fetch_all(connection).await)
    .expect("what was told");
    let mut committed: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (name, id) in told {
        committed.entry(name).or_default().push(id);
    }
    assert_eq!(published(&world).await, committed);
}

/// The pongs of each key, as they lie in their stream.
async fn published(world: &World) -> BTreeMap<String, Vec<i64>> {
    let context = async_nats::jetstream::new(world.client.clone());
    let stream = context.get_stream("TESTS").await.expect("the stream");
    let last = stream.cached_info().state.last_sequence;
    let mut published: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for seq in 1..=last {
        let message = stream.get_raw_message(seq).await.expect("the stream has no gaps");
        if message.subject.as_str() == "tests.pong" {
            let Pong { id, .. } = serde_json::from_slice(&message.payload).expect("a pong");
            published
                .entry(format!("key {}", id % KEYS))
                .or_default()
                .push(i64::from(id));
        }
    }
    published
}
