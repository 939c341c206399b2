//! Failures of every kind at once, deaths of processes included: each is to be in the table and on the stream once, with the
//! bytes that came.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use postroom::{
    Ambiguous, App, Cx, CxError, Handle, Handler, HandlerError, Key, Message, Settings, Spec, on_tx,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::audit;
use crate::driver::{Plan, World};

/// Two that fail, and one that dies.
const ROLES: [&str; 3] = ["failing", "failing", "killing"];
/// As many die together as are under way together.
const KILLING: u16 = 250;
/// Under way at a time while publishing.
const WINDOW: usize = 256;
/// Without any progress. A message kills three processes, each of whose leases has to run out.
const LIMIT: Duration = Duration::from_secs(120);
const TELL_EVERY: Duration = Duration::from_secs(15);

/// How a message fails. The first ones say it in their payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    Refuse,
    Exhaust,
    Panic,
    Hang,
    Garble,
    Misname,
    Reuse,
    Lose,
    Bypass,
    Kill,
    KillReader,
}

impl Fate {
    /// So many of a hundred have each.
    const SHARES: [(Fate, u32); 11] = [
        (Fate::Refuse, 30),
        (Fate::Exhaust, 20),
        (Fate::Panic, 10),
        (Fate::Hang, 1),
        (Fate::Garble, 9),
        (Fate::Misname, 5),
        (Fate::Reuse, 5),
        (Fate::Lose, 8),
        (Fate::Bypass, 8),
        (Fate::Kill, 2),
        (Fate::KillReader, 2),
    ];

    fn of(id: u32) -> Fate {
        let mut rest = id % 100;
        for (fate, share) in Fate::SHARES {
            if rest < share {
                return fate;
            }
            rest -= share;
        }
        unreachable!("the shares make a hundred")
    }

    /// The reason on its letter.
    fn reason(self) -> &'static str {
        match self {
            Fate::Refuse => "permanent",
            Fate::Exhaust | Fate::Panic | Fate::Hang => "exhausted",
            Fate::Garble | Fate::Misname => "undecodable",
            Fate::Reuse => "key_reused",
            Fate::Lose => "unknown_effect",
            Fate::Bypass => "foreign",
            Fate::Kill | Fate::KillReader => "poison",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Fate::Reuse => Claimed::SUBJECT,
            Fate::Lose => Lost::SUBJECT,
            Fate::Bypass => "emails.dlq",
            Fate::Kill => Deadly::SUBJECT,
            Fate::KillReader => Unreadable::SUBJECT,
            _ => Doomed::SUBJECT,
        }
    }

    /// The payloads that are to be published, of which all, or of two one, come to be letters.
    fn payloads(self, id: u32) -> Vec<Vec<u8>> {
        let json = |value: serde_json::Value| serde_json::to_vec(&value).expect("JSON");
        match self {
            Fate::Garble => vec![[b"\xff\x00\r\n{\"id\": ".as_slice(), id.to_string().as_bytes()].concat()],
            Fate::Reuse => vec![
                json(serde_json::json!({"id": id, "copy": 0})),
                json(serde_json::json!({"id": id, "copy": 1})),
            ],
            _ => vec![json(serde_json::json!({"id": id, "fate": self}))],
        }
    }
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "storm.doomed", id = "storm.doomed.v1")]
struct Doomed {
    id: u32,
    fate: Fate,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "storm.claimed", id = "storm.claimed.v1")]
struct Claimed {
    id: u32,
    copy: u32,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "storm.lost", id = "storm.lost.v1")]
struct Lost {
    id: u32,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "storm.deadly", id = "storm.deadly.v1")]
struct Deadly {
    id: u32,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "storm.unreadable", id = "storm.unreadable.v1")]
struct Unreadable {
    id: Trap,
}

/// Whoever decodes it is gone.
#[derive(Debug, Serialize)]
struct Trap(u32);

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        u32::deserialize(input)?;
        std::process::abort();
    }
}

#[derive(Debug, thiserror::Error, HandlerError)]
enum StormError {
    #[error("not yet")]
    #[on(retry)]
    NotYet,
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
}

#[derive(Handler)]
#[handler(on = Doomed, id = "doomed", idempotent(key = [id], ttl = "7d"), retry(max = 2, backoff = "5ms..50ms"), timeout = "1s", concurrency = 64)]
struct Failing;

impl Handle<Doomed> for Failing {
    type Error = StormError;

    async fn handle(&self, doomed: Doomed, _: &mut Cx<'_>) -> Result<(), StormError> {
        match doomed.fate {
            Fate::Refuse => Err(StormError::Never),
            Fate::Panic => panic!("{} panics", doomed.id),
            Fate::Hang => std::future::pending().await,
            _ => Err(StormError::NotYet),
        }
    }
}

#[derive(Handler)]
#[handler(on = Claimed, id = "claimed", idempotent(key = [id], ttl = "7d"), concurrency = 16)]
struct Content;

impl Handle<Claimed> for Content {
    type Error = StormError;

    async fn handle(&self, _: Claimed, _: &mut Cx<'_>) -> Result<(), StormError> {
        Ok(())
    }
}

#[derive(Handler)]
#[handler(on = Lost, id = "lost", idempotent(key = [id], ttl = "7d"), ambiguous = Hold, concurrency = 16)]
struct Losing;

impl Handle<Lost> for Losing {
    type Error = StormError;

    async fn handle(&self, lost: Lost, cx: &mut Cx<'_>) -> Result<(), StormError> {
        cx.begin_effect(&lost.id.to_string()).await?;
        Err(StormError::NotYet)
    }
}

struct Killing;

impl Handle<Deadly> for Killing {
    type Error = StormError;

    async fn handle(&self, _: Deadly, _: &mut Cx<'_>) -> Result<(), StormError> {
        // Until those that came with it are under way, too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::process::abort();
    }
}

impl Handle<Unreadable> for Killing {
    type Error = StormError;

    async fn handle(&self, unreadable: Unreadable, _: &mut Cx<'_>) -> Result<(), StormError> {
        panic!("{:?} was decoded", unreadable.id);
    }
}

/// `failing NATS_URL DATABASE_URL`, or `killing` for the process that dies.
pub(crate) async fn worker(role: &str, arguments: &[String]) {
    let [nats_url, database_url, ..] = arguments else {
        panic!("{role} takes two arguments");
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let settings = Settings {
        nats_url: nats_url.clone(),
        database_url: database_url.clone(),
        ..Settings::default()
    };
    let app = App::connect(settings)
        .await
        .expect("broker and database are there");
    let ttl = Duration::from_secs(7 * 86_400);
    let app = if role == "killing" {
        let deadly = Spec::new("deadly")
            .idempotent(|deadly: &Deadly| Key::of(&[&deadly.id]), ttl)
            .ambiguous(Ambiguous::Resend)
            .concurrency(KILLING);
        let unreadable = Spec::new("unreadable")
            .idempotent(|unreadable: &Unreadable| Key::of(&[&unreadable.id.0]), ttl)
            .concurrency(KILLING);
        app.handler_with(deadly, Killing)
            .handler_with(unreadable, Killing)
    } else {
        app.handler(Failing).handler(Content).handler(Losing)
    };
    if let Err(error) = app.run().await {
        tracing::error!(%error, "the worker could not start");
        std::process::exit(3);
    }
}

/// Whether every failure was seen once and whole.
pub(crate) async fn run(database: &str, plan: &Plan, failures: u32) -> bool {
    println!(
        "storm: {database}, {failures} failures of {} kinds",
        Fate::SHARES.len()
    );
    let mut world = World::start(database, 7 * 86_400, &ROLES).await;
    let began = Instant::now();
    publish(&world, failures).await;
    println!("  published after {:?}", began.elapsed());
    let stuck = settled(&mut world, failures, began).await;
    let mut violations = audited(&world, failures).await;
    violations.splice(0..0, stuck);
    println!(
        "  {failures} letters in {:?}, {} processes died",
        began.elapsed(),
        world.revived
    );
    audit::verdict(
        "storm",
        database,
        plan,
        &mut world,
        &violations,
        "each failure once, byte for byte",
    )
}

async fn publish(world: &World, failures: u32) {
    // The workers make the streams.
    let context = async_nats::jetstream::new(world.client.clone());
    while context.get_stream("STORM").await.is_err() || context.get_stream("DLQ").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let messages = (0..failures).flat_map(|id| {
        let fate = Fate::of(id);
        fate.payloads(id).into_iter().map(move |payload| (fate, payload))
    });
    let confirmed = messages.map(async |(fate, payload)| {
        let mut headers = HeaderMap::new();
        if fate == Fate::Misname {
            headers.insert("Postroom-Message", "storm.doomed.v9");
        }
        let sent = context
            .publish_with_headers(fate.subject(), headers, payload.into())
            .await;
        sent.expect("the broker is there").await.expect("it is stored");
    });
    futures_util::stream::iter(confirmed)
        .buffer_unordered(WINDOW)
        .collect::<Vec<()>>()
        .await;
}

/// Waits until everything has become a letter, or nothing does any more.
async fn settled(world: &mut World, failures: u32, began: Instant) -> Option<String> {
    let (mut least, mut since, mut told) = (i64::MAX, Instant::now(), Instant::now());
    loop {
        world.revive_workers();
        match left(world, failures).await {
            Some(0) => return None,
            Some(rows) if rows < least => (least, since) = (rows, Instant::now()),
            _ => {}
        }
        if since.elapsed() > LIMIT {
            return Some(format!(
                "{least} are left, and no fewer for {LIMIT:?}: {}",
                audit::states(world).await
            ));
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            println!("  {least} left after {:?}", began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What is no letter yet, not on its way to the stream, or not settled.
async fn left(world: &World, failures: u32) -> Option<i64> {
    const LEFT: &str = "SELECT (SELECT COUNT(*) FROM outbox) + \
        (SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('done', 'dead', 'discarded'))";
    const LETTERS: &str = "SELECT COUNT(*) FROM dead_letters";
    let mut tx = world.store.read().await.ok()?;
    let left: i64 = on_tx!(tx, connection => sqlx::query_scalar(LEFT).fetch_one(connection).await).ok()?;
    let letters: i64 =
        on_tx!(tx, connection => sqlx::query_scalar(LETTERS).fetch_one(connection).await).ok()?;
    Some(left + (i64::from(failures) - letters).max(0))
}

async fn audited(world: &World, failures: u32) -> Vec<String> {
    let mut tx = world.store.read().await.expect("read");
    let letters: Vec<(Vec<u8>, String)> = on_tx!(tx, connection =>
        sqlx::query_as("SELECT payload, reason FROM dead_letters").fetch_all(connection).await)
    .expect("the letters");
    let total = letters.len();
    let mut in_table: HashMap<Vec<u8>, Vec<String>> = HashMap::new();
    for (payload, reason) in letters {
        in_table.entry(payload).or_default().push(reason);
    }
    let on_stream = audit::tally(audit::stream(world, "DLQ").await);
    let mut violations = Vec::new();
    if total != usize::try_from(failures).expect("a number of failures") {
        violations.push(format!("{total} letters, not {failures}"));
    }
    for id in 0..failures {
        let fate = Fate::of(id);
        let (mut reasons, mut streamed) = (Vec::new(), 0);
        for payload in fate.payloads(id) {
            reasons.extend(in_table.get(&payload).cloned().unwrap_or_default());
            streamed += on_stream.get(&payload).copied().unwrap_or(0);
        }
        if reasons != [fate.reason()] || streamed != 1 {
            violations.push(format!(
                "{id}, {fate:?}: in the table {reasons:?}, on the stream {streamed} times"
            ));
        }
    }
    violations
}
