//! A database and a broker of the test's own, and the eyes to see what happens on them.

use std::sync::LazyLock;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use postroom::store::dead_letters::{self, DeadLetter};
use postroom::{App, Running, Settings, Store};
use postroom_broker::{Broker, Config};
use tempfile::TempDir;

use crate::probe::{Outcome, Ping, Probe};
use crate::servers::{Nats, Postgres};

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);

/// Far longer than anything here takes: reached only when a promise is broken.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) client: async_nats::Client,
    // Dropped last, in this order.
    _broker: AnyBroker,
    _folder: TempDir,
}

enum AnyBroker {
    Postroom { _broker: Box<Broker> },
    NatsServer { _server: Nats },
}

impl World {
    pub(crate) async fn sqlite_and_postroom() -> Self {
        Self::with(None, true).await
    }

    pub(crate) async fn sqlite_and_nats_server() -> Self {
        Self::with(None, false).await
    }

    pub(crate) async fn postgres_and_postroom() -> Self {
        Self::with(Some(POSTGRES.fresh_database()), true).await
    }

    pub(crate) async fn postgres_and_nats_server() -> Self {
        Self::with(Some(POSTGRES.fresh_database()), false).await
    }

    async fn with(database: Option<String>, own_broker: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (broker, nats_url) = if own_broker {
            let config = Config {
                store_dir: Some(folder.path().join("broker")),
                ..Config::default()
            };
            let config = Config {
                listen: ([127, 0, 0, 1], 0).into(),
                ..config
            };
            let broker = Broker::start(config).await.expect("the broker starts");
            let url = broker.client_url();
            (
                AnyBroker::Postroom {
                    _broker: Box::new(broker),
                },
                url,
            )
        } else {
            let server = Nats::start();
            let url = server.url();
            (AnyBroker::NatsServer { _server: server }, url)
        };
        let database_url =
            database.unwrap_or_else(|| format!("sqlite:{}", folder.path().join("postroom.db").display()));
        let client = async_nats::connect(&nats_url).await.expect("the broker answers");
        let settings = Settings {
            nats_url,
            database_url,
            drain: LIMIT,
            ..Settings::default()
        };
        Self {
            settings,
            client,
            _broker: broker,
            _folder: folder,
        }
    }

    pub(crate) async fn app(&self) -> App {
        App::connect(self.settings.clone())
            .await
            .expect("the app connects")
    }

    /// Starts the probe; gives what it reports.
    pub(crate) async fn start(&self, probe: Probe) -> Running {
        self.app()
            .await
            .handler(probe)
            .start()
            .await
            .expect("the app starts")
    }

    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.settings.database_url)
            .await
            .expect("the database opens")
    }

    pub(crate) async fn subscribe(&self, subject: &'static str) -> Eyes {
        let subscriber = self.client.subscribe(subject).await.expect("subscribe");
        self.client.flush().await.expect("flush");
        Eyes { subject, subscriber }
    }

    /// Publishes a ping as any client would, and waits until the broker has it.
    pub(crate) async fn ping(&self, id: u32, outcome: Outcome) {
        let payload = serde_json::to_vec(&Ping {
            id,
            outcome,
            sent_at: "now".to_owned(),
        })
        .expect("JSON");
        self.publish("tests.ping", payload).await;
    }

    pub(crate) async fn publish(&self, subject: &'static str, payload: Vec<u8>) {
        self.publish_with(subject, &[], payload).await;
    }

    pub(crate) async fn publish_with(
        &self,
        subject: &'static str,
        headers: &[(&'static str, &str)],
        payload: Vec<u8>,
    ) {
        let jetstream = async_nats::jetstream::new(self.client.clone());
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        jetstream
            .publish_with_headers(subject, map, payload.into())
            .await
            .expect("publish")
            .await
            .expect("a PubAck");
    }

    pub(crate) async fn letters(&self) -> Vec<DeadLetter> {
        let store = self.store().await;
        let mut tx = store.read().await.expect("read");
        dead_letters::list(&mut tx, None, 1000).await.expect("list")
    }
}

/// A subscription of a bystander.
pub(crate) struct Eyes {
    subject: &'static str,
    subscriber: Subscriber,
}

impl Eyes {
    pub(crate) async fn next(&mut self) -> async_nats::Message {
        within(self.subject, self.subscriber.next())
            .await
            .expect("the subscription is open")
    }

    pub(crate) async fn ids(&mut self, count: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let message = self.next().await;
            ids.push(
                serde_json::from_slice::<Ping>(&message.payload)
                    .map(|ping| ping.id)
                    .expect("a ping"),
            );
        }
        ids.sort_unstable();
        ids
    }

    /// What has arrived until now; call when nothing more can be under way.
    pub(crate) fn rest(&mut self) -> usize {
        let mut count = 0;
        while futures_util::FutureExt::now_or_never(self.subscriber.next())
            .flatten()
            .is_some()
        {
            count += 1;
        }
        count
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}
