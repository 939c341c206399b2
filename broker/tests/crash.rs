//! kill -9 under load: what was acknowledged is there, what was confirmed does not come back, no number is used twice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::RetentionPolicy;
use async_nats::jetstream::{self, Context, stream};
use futures_util::StreamExt;
use rand::RngExt;
use suite::server::{Server, ours};
use tempfile::TempDir;
use tokio::task::JoinSet;

const KILLS: usize = 6;
const PUBLISHERS: usize = 8;
const WORKERS: usize = 4;
/// A server that has not answered by then has been killed.
const GONE_AFTER: Duration = Duration::from_millis(700);

/// What the clients were told, over all lives of the server.
#[derive(Default)]
struct History {
    /// Stream sequence of each acknowledged payload.
    published: BTreeMap<String, u64>,
    /// Payloads whose ack was confirmed.
    confirmed: BTreeSet<String>,
    /// Payloads handed out, with the sequence they had.
    delivered: BTreeMap<String, u64>,
    redelivered_after_confirmation: Vec<String>,
}

type Shared = Arc<Mutex<History>>;

async fn connect(server: &Server) -> Context {
    let client = async_nats::ConnectOptions::new()
        .request_timeout(Some(Duration::from_secs(5)))
        .connect(server.url())
        .await
        .unwrap();
    jetstream::new(client)
}

async fn consumer(context: &Context, retention: RetentionPolicy) -> PullConsumer {
    let config = stream::Config {
        name: "JOBS".into(),
        subjects: vec!["jobs.>".into()],
        retention,
        ..Default::default()
    };
    let stream = context.get_or_create_stream(config).await.unwrap();
    let config = pull::Config {
        durable_name: Some("worker".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(1),
        max_ack_pending: 10_000,
        ..Default::default()
    };
    stream.get_or_create_consumer("worker", config).await.unwrap()
}

/// Asks for messages a little later until the server is gone; which of them it promised.
async fn plan(context: Context, life: usize) -> Vec<String> {
    let mut promised = Vec::new();
    for n in 0.. {
        let name = format!("{life}-{n}");
        let after = Duration::from_millis(rand::rng().random_range(0..600));
        let time = jiff::Timestamp::now() + jiff::SignedDuration::try_from(after).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Schedule", format!("@at {time}").as_str());
        headers.insert("Nats-Schedule-Target", format!("plans.out.{name}").as_str());
        let publish = context.publish_with_headers(format!("plans.in.{name}"), headers, "".into());
        let Ok(ack) = publish.await else {
            break;
        };
        // The client would go on waiting for a server that is gone.
        let Ok(Ok(_)) = tokio::time::timeout(GONE_AFTER, async { ack.await }).await else {
            break;
        };
        promised.push(name);
    }
    promised
}

/// Each of them once, however the server dies.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_scheduled_comes_once() {
    let store = TempDir::new().unwrap();
    let mut promised = Vec::new();
    for life in 0..KILLS {
        let server = Server::start(&ours(), store.path(), None);
        let context = connect(&server).await;
        let config = stream::Config {
            name: "PLANS".into(),
            subjects: vec!["plans.>".into()],
            allow_message_schedules: true,
            allow_rollup: true,
            ..Default::default()
        };
        context.get_or_create_stream(config).await.unwrap();
        let planning = tokio::spawn(plan(context, life));
        // The random moment is what is tested; nothing is waited for.
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(200..700))).await;
        server.kill();
        promised.extend(planning.await.unwrap());
    }
    let server = Server::start(&ours(), store.path(), None);
    let context = connect(&server).await;
    let stream = context.get_stream("PLANS").await.unwrap();
    let mut came = BTreeMap::new();
    // All are due by now or soon.
    for _ in 0..200 {
        let mut subjects = stream.info_with_subjects("plans.>").await.unwrap();
        came.clear();
        while let Some(Ok((subject, count))) = subjects.next().await {
            came.insert(subject, count);
        }
        if !came.keys().any(|subject| subject.starts_with("plans.in.")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(promised.len() > 20 * KILLS, "{} promised", promised.len());
    let lost = promised
        .iter()
        .filter(|name| !came.contains_key(&format!("plans.out.{name}")));
    assert_eq!(
        lost.collect::<Vec<_>>(),
        [] as [&String; 0],
        "of {}",
        promised.len()
    );
    let wrong: Vec<_> = came
        .iter()
        .filter(|(subject, count)| **count != 1 || subject.starts_with("plans.in."))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    eprintln!(
        "{KILLS} kills, {} schedules promised, each came once",
        promised.len()
    );
}

/// Publishes until the server is gone.
async fn publish(context: Context, name: String, history: Shared) {
    for n in 0.. {
        let payload = format!("{name}.{n}");
        let Ok(ack) = context.publish("jobs.x", payload.clone().into()).await else {
            return;
        };
        match ack.await {
            Ok(ack) => drop(history.lock().unwrap().published.insert(payload, ack.sequence)),
            Err(_) => return,
        }
    }
}

/// Takes and acknowledges until the server is gone, or until nothing more comes.
async fn work(consumer: PullConsumer, history: Shared) {
    loop {
        let batch = consumer
            .batch()
            .max_messages(20)
            .expires(Duration::from_millis(1500))
            .messages()
            .await;
        let Ok(mut batch) = batch else {
            return;
        };
        let mut seen = 0;
        while let Some(Ok(message)) = batch.next().await {
            seen += 1;
            let payload = String::from_utf8(message.payload.to_vec()).unwrap();
            let seq = message.info().unwrap().stream_sequence;
            {
                let mut history = history.lock().unwrap();
                if history.confirmed.contains(&payload) {
                    history.redelivered_after_confirmation.push(payload.clone());
                }
                history.delivered.insert(payload.clone(), seq);
            }
            if message.double_ack().await.is_err() {
                return;
            }
            history.lock().unwrap().confirmed.insert(payload);
        }
        if seen == 0 {
            return;
        }
    }
}

/// One life of the server; killed at a random moment.
async fn live_and_die(store: &Path, life: usize, retention: RetentionPolicy, history: &Shared) {
    let server = Server::start(&ours(), store, None);
    let mut tasks = JoinSet::new();
    let context = connect(&server).await;
    let consumer = consumer(&context, retention).await;
    for publisher in 0..PUBLISHERS {
        tasks.spawn(publish(
            context.clone(),
            format!("{life}.{publisher}"),
            Arc::clone(history),
        ));
    }
    for _ in 0..WORKERS {
        tasks.spawn(work(consumer.clone(), Arc::clone(history)));
    }
    // The random moment is what is tested; nothing is waited for.
    let moment = Duration::from_millis(rand::rng().random_range(100..600));
    tokio::time::sleep(moment).await;
    server.kill();
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_confirmed_comes_back() {
    kill_and_count(RetentionPolicy::Limits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_from_a_work_queue() {
    kill_and_count(RetentionPolicy::WorkQueue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_under_interest() {
    kill_and_count(RetentionPolicy::Interest).await;
}

async fn kill_and_count(retention: RetentionPolicy) {
    let store = TempDir::new().unwrap();
    let history = Shared::default();
    for life in 0..KILLS {
        live_and_die(store.path(), life, retention, &history).await;
    }
    let server = Server::start(&ours(), store.path(), None);
    let context = connect(&server).await;
    work(consumer(&context, retention).await, Arc::clone(&history)).await;
    let info = consumer(&context, retention).await.info().await.unwrap().clone();
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0), "drained");
    if retention != RetentionPolicy::Limits {
        let stream = context.get_stream("JOBS").await.unwrap();
        let left = stream.cached_info().state.messages;
        assert_eq!(left, 0, "messages stay although all were acknowledged");
    }
    let history = history.lock().unwrap();
    let lost: Vec<_> = history
        .published
        .keys()
        .filter(|id| !history.delivered.contains_key(*id))
        .collect();
    assert!(
        history.published.len() > KILLS * PUBLISHERS,
        "{} published",
        history.published.len()
    );
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged lost: {lost:?}",
        lost.len(),
        history.published.len()
    );
    let back = &history.redelivered_after_confirmation;
    assert!(
        back.is_empty(),
        "{} of {} confirmed came back",
        back.len(),
        history.confirmed.len()
    );
    let moved = history
        .published
        .iter()
        .filter(|(id, seq)| history.delivered[*id] != **seq);
    assert_eq!(
        moved.count(),
        0,
        "a message has the sequence it was acknowledged with"
    );
    let distinct: BTreeSet<_> = history.delivered.values().collect();
    assert_eq!(
        distinct.len(),
        history.delivered.len(),
        "no sequence is used twice"
    );
    eprintln!(
        "{retention:?}: {KILLS} kills, {} acknowledged, 0 lost; {} confirmed, 0 redelivered",
        history.published.len(),
        history.confirmed.len(),
    );
}
