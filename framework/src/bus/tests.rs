//! What is asked of the broker and can't be seen from outside: on a broker of the test's own.

use postroom_broker::{Broker, Config};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::streams;

const SUBJECT: &str = "tests.bus";
/// Far longer than a test: whatever is not handed back stays away.
const ACK_WAIT: Duration = Duration::from_secs(600);

struct Stage {
    broker: Broker,
    bus: Bus,
    stream: String,
    _folder: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            ..Config::default()
        };
        let config = Config {
            store_dir: Some(folder.path().to_owned()),
            ..config
        };
        let broker = Broker::start(config).await.expect("the broker starts");
        let bus = Bus::connect(&broker.client_url(), "test")
            .await
            .expect("a broker");
        let spec = streams::for_subject(SUBJECT);
        bus.ensure_stream(&spec).await.expect("the stream");
        Self {
            broker,
            bus,
            stream: spec.name,
            _folder: folder,
        }
    }

    async fn publish(&self, messages: usize) {
        let row = || OutboxRow::new(SUBJECT, Headers::default(), b"{}".to_vec());
        let rows: Vec<_> = (0..messages).map(|_| row()).collect();
        let published = self.bus.publish_all(&rows).await;
        assert!(published.iter().all(Result::is_ok), "{published:?}");
    }

    async fn pull(&self, bus: &Bus) -> Pull {
        let pull = bus.consumer(&self.stream, "h", SUBJECT, ACK_WAIT).await;
        pull.expect("the consumer")
    }

    async fn unacked(&self) -> usize {
        let consumer = self
            .bus
            .jetstream
            .get_consumer_from_stream("h", &self.stream)
            .await;
        let consumer: async_nats::jetstream::consumer::PullConsumer = consumer.expect("the consumer");
        consumer.cached_info().num_ack_pending
    }
}

#[tokio::test]
async fn what_a_dropped_pull_has_brought_goes_to_the_next_at_once() {
    const MESSAGES: usize = 10;
    let stage = Stage::set().await;
    stage.publish(MESSAGES).await;
    let pull = stage.pull(&stage.bus).await;
    // With room for one, the others stay with the pull.
    let (sender, _taken) = mpsc::channel(1);
    let all_are_delivered = async { while stage.unacked().await < MESSAGES {} };
    tokio::select! {
        ended = pull.pull(MESSAGES, &sender) => panic!("it ended before: {ended:?}"),
        () = all_are_delivered => {}
    }
    pull.hand_back(Duration::from_millis(1)).await;

    let other = Bus::connect(&stage.broker.client_url(), "other")
        .await
        .expect("a broker");
    let (sender, mut arrivals) = mpsc::channel(MESSAGES);
    let next = stage.pull(&other).await;
    next.pull(MESSAGES - 1, &sender).await.expect("pulled");
    for _ in 1..MESSAGES {
        let incoming = arrivals.try_recv().expect("what was handed back");
        assert_eq!(incoming.delivered, 2);
    }
    stage.broker.shutdown().await;
}

#[tokio::test]
async fn the_lag_is_the_age_of_the_oldest_that_is_not_settled() {
    let stage = Stage::set().await;
    let pull = stage.pull(&stage.bus).await;
    let lag = async || stage.bus.lag(&stage.stream, "h").await.expect("the lag");
    assert_eq!(lag().await, Duration::ZERO);
    stage.publish(3).await;
    let (sender, mut arrivals) = mpsc::channel(3);
    pull.pull(3, &sender).await.expect("pulled");
    let mut taken = async || arrivals.recv().await.expect("a message");
    let (first, second, third) = (taken().await, taken().await, taken().await);
    // The one in the middle is settled first, and is not waited for.
    assert!(second.receipt.ack().await);
    let age = first.age(SystemTime::now());
    assert!(!age.is_zero() && lag().await >= age);
    assert!(first.receipt.ack().await);
    let before = third.age(SystemTime::now());
    let told = lag().await;
    assert!(before <= told && told <= third.age(SystemTime::now()), "{told:?}");
    assert!(third.receipt.ack().await);
    assert_eq!(lag().await, Duration::ZERO);
    stage.broker.shutdown().await;
}
