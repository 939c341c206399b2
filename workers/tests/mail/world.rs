//! A pipeline of a test: a broker and a database of its own, the workers, and somebody who writes down what they say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use postroom::store::dead_letters::{self, DeadLetter};
use postroom::{App, Cx, CxError, Handle, Running, Settings, Spec, Store};
use postroom_broker::{Broker, Config};
use postroom_workers::blob::BlobStore;
use postroom_workers::config::Secret;
use postroom_workers::gate::Gate;
use postroom_workers::ingest::{
    Ingest, MarkAnswered, Pace, Policies, Policy, Reparse, Start, Turnstile, Watched,
};
use postroom_workers::login::Login;
use postroom_workers::messages::{
    AccountPaused, Bounced, Failed, MailboxReset, NewMail, OauthRefresh, Send, Sent, Service, Unanswered,
};
use postroom_workers::reply::{AutoReply, ComposeReply, Identity, ReplySecret, Rule, Rules};
use postroom_workers::send::smtp::Deadlines;
use postroom_workers::send::{OnUnknown, Outbound, Press, SendMail};
use postroom_workers::store::mails;
use postroom_workers::tls::{Endpoint, Security};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::servers::{Dovecot, Nats, Postgres};
use crate::{DOVECOT, dialer, endpoint};

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the database is asked whether it has come to what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Which database and which broker a test runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct On {
    pub(crate) postgres: bool,
    pub(crate) nats_server: bool,
}

impl On {
    /// For names that no other run of the same test uses.
    pub(crate) fn name(self) -> String {
        let database = if self.postgres { "postgres" } else { "sqlite" };
        format!(
            "{database}-{}",
            if self.nats_server { "nats" } else { "postroom" }
        )
    }
}

#[expect(dead_code, reason = "a server runs for as long as its value is held")]
enum AnyBroker {
    Postroom(Box<Broker>),
    NatsServer(Nats),
}

/// Broker, database and blobs; they outlive the processes of the test.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) blobs: BlobStore,
    pub(crate) seen: Seen,
    /// That of the process that was made last: it has a relay, so what is written through it is published at once.
    running: Mutex<Option<Store>>,
    pub(crate) settings: Settings,
    // Dropped last, in this order.
    _broker: AnyBroker,
    _dir: TempDir,
}

/// What was published, as a consumer of its own sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen(Arc<watch::Sender<Published>>);

#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) mails: Vec<NewMail>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) paused: Vec<AccountPaused>,
    pub(crate) renewed: Vec<OauthRefresh>,
    pub(crate) bounced: Vec<Bounced>,
    pub(crate) resets: Vec<MailboxReset>,
    pub(crate) unanswered: Vec<Unanswered>,
}

impl World {
    pub(crate) async fn new(on: On) -> World {
        let dir = tempfile::tempdir().unwrap();
        let database_url = match on.postgres {
            false => format!("sqlite:{}", dir.path().join("test.db").display()),
            true => tokio::task::spawn_blocking(|| POSTGRES.fresh_database())
                .await
                .unwrap(),
        };
        let (broker, nats_url) = match on.nats_server {
            false => {
                let config = Config::new()
                    .listen(([127, 0, 0, 1], 0).into())
                    .store_dir(dir.path().join("broker"));
                let broker = Broker::start(config).await.unwrap();
                let url = broker.client_url();
                (AnyBroker::Postroom(Box::new(broker)), url)
            }
            true => {
                let server = tokio::task::spawn_blocking(Nats::start).await.unwrap();
                let url = server.url();
                (AnyBroker::NatsServer(server), url)
            }
        };
        World {
            store: Store::open(&database_url).await.unwrap(),
            blobs: BlobStore::open(dir.path().join("blobs")).unwrap(),
            seen: Seen(Arc::new(watch::Sender::new(Published::default()))),
            running: Mutex::new(None),
            settings: Settings {
                nats_url,
                database_url,
                ..Settings::default()
            },
            _broker: broker,
            _dir: dir,
        }
    }

    /// A process without workers of its own, which writes down what the others publish.
    pub(crate) async fn app(&self) -> App {
        self.app_with(self.settings.clone()).await
    }

    pub(crate) async fn app_with(&self, settings: Settings) -> App {
        let seen = || self.seen.clone();
        let app = App::connect(settings).await.unwrap();
        *self.running.lock().unwrap() = Some(app.store().clone());
        app.handler_with(Spec::<NewMail>::new("see-mails"), seen())
            .handler_with(Spec::<Sent>::new("see-sent"), seen())
            .handler_with(Spec::<Failed>::new("see-failed"), seen())
            .handler_with(Spec::<AccountPaused>::new("see-paused"), seen())
            .handler_with(Spec::<OauthRefresh>::new("see-renewed"), seen())
            .handler_with(Spec::<Bounced>::new("see-bounced"), seen())
            .handler_with(Spec::<MailboxReset>::new("see-resets"), seen())
            .handler_with(Spec::<Unanswered>::new("see-unanswered"), seen())
    }

    /// The store of a running process.
    pub(crate) fn running(&self) -> Store {
        self.running.lock().unwrap().clone().expect("a process was made")
    }

    /// A process that watches the user's INBOX.
    pub(crate) async fn watching(&self, user: &str) -> Running {
        self.watching_at(user, endpoint(DOVECOT.imap, Security::None))
            .await
    }

    pub(crate) async fn watching_at(&self, user: &str, endpoint: Endpoint) -> Running {
        let app = self
            .app()
            .await
            .handler(Reparse::new(self.blobs.clone(), Policies::new()));
        let ingest = self.ingest(&app, user, endpoint);
        app.service(|stop| ingest.run(stop)).start().await.unwrap()
    }

    fn ingest(&self, app: &App, user: &str, endpoint: Endpoint) -> Ingest {
        self.ingest_of(app, self.watched(user, endpoint))
    }

    pub(crate) fn ingest_of(&self, app: &App, watched: Watched) -> Ingest {
        Ingest::new(watched, app.store().clone(), self.blobs.clone(), dialer())
    }

    pub(crate) fn watched(&self, user: &str, endpoint: Endpoint) -> Watched {
        Watched {
            account: "help".into(),
            mailbox: "INBOX".into(),
            endpoint,
            login: Login::password(user, Dovecot::PASSWORD),
            gate: Gate::new("help", Service::Imap, Duration::from_millis(100)),
            turnstile: Turnstile::default(),
            start: Start::All,
            policy: Policy {
                reply_secret: reply_secret(),
                ..Policy::default()
            },
            pace: Pace {
                reconnect: (Duration::from_millis(20), Duration::from_millis(500)),
                lease: Duration::from_secs(2),
                errands: Duration::from_millis(100),
                tally: Duration::from_millis(50),
                ..Pace::default()
            },
        }
    }

    /// A process that sends, to a relay of the test's choice.
    pub(crate) async fn sending(&self, relay: Outbound) -> Running {
        self.with_send(self.app().await, relay).start().await.unwrap()
    }

    fn with_send(&self, app: App, relay: Outbound) -> App {
        with_press(app, relay, Press::new(self.blobs.clone()))
    }

    /// All the workers in one process.
    pub(crate) async fn whole(&self, user: &str, smtp: u16) -> Running {
        let app = self.app().await;
        let ingest = self.ingest(&app, user, endpoint(DOVECOT.imap, Security::None));
        let identity = || {
            let answer = Rule {
                name: "all".into(),
                text: "Dear {name}, thank you.".into(),
                ..Rule::default()
            };
            let identity = Identity {
                name: Some("Help".into()),
                addresses: vec![user.into()],
                rules: Rules::new(vec![answer]).unwrap(),
                replies_per_peer: Some(3),
                secret: reply_secret(),
            };
            HashMap::from([("help".to_owned(), identity)])
        };
        let app = app
            .service(|stop| ingest.run(stop))
            .handler(Reparse::new(self.blobs.clone(), Policies::new()))
            .handler(AutoReply::new(identity()))
            .handler(ComposeReply::new(identity()))
            .handler(MarkAnswered);
        self.with_send(app, outbound(smtp)).start().await.unwrap()
    }

    /// Puts something into the outbox, as a program of the user would.
    pub(crate) async fn publish(&self, send: &Send) {
        let mut tx = self.running().begin().await.unwrap();
        tx.publish(send).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut tx = self.store.read().await.unwrap();
        dead_letters::list(&mut tx, None, 1_000).await.unwrap()
    }

    /// Waits until the table says so.
    pub(crate) async fn dead_letters_until(&self, done: impl Fn(&[DeadLetter]) -> bool) -> Vec<DeadLetter> {
        eventually("the dead letters", async || {
            let letters = self.dead_letters().await;
            done(&letters).then_some(letters)
        })
        .await
    }

    /// Whatever waits to be tried again on the server need not wait any longer.
    pub(crate) async fn hurry(&self) {
        let mut tx = self.store.begin().await.unwrap();
        postroom::execute!(tx, "UPDATE mailbox_actions SET retry_at = 0").unwrap();
        tx.commit().await.unwrap();
    }

    /// How many mails are in each state.
    pub(crate) async fn states(&self) -> BTreeMap<String, i64> {
        let mut tx = self.store.read().await.unwrap();
        mails::count(&mut tx).await.unwrap()
    }

    pub(crate) async fn states_until(&self, expect: &[(&str, i64)]) {
        let expect: BTreeMap<String, i64> = expect
            .iter()
            .map(|(state, n)| ((*state).to_owned(), *n))
            .collect();
        let mut last = BTreeMap::new();
        let reached = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.states().await;
                if last == expect {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        assert!(reached.await.is_ok(), "expected {expect:?}, got {last:?}");
    }
}

pub(crate) fn with_press(app: App, relay: Outbound, press: Press) -> App {
    let accounts = HashMap::from([("help".to_owned(), relay)]);
    let spec = SendMail::spec_with_backoff(Duration::from_millis(50), Duration::from_secs(60));
    let send = SendMail::new(accounts, press);
    let keeper = send.keeper();
    app.handler_with(spec, send).service(|stop| keeper.run(stop))
}

fn reply_secret() -> Option<ReplySecret> {
    ReplySecret::new(&Secret::new("a secret of the tests"))
}

pub(crate) fn outbound(port: u16) -> Outbound {
    Outbound {
        endpoint: endpoint(port, Security::None),
        dialer: dialer(),
        login: None,
        gate: Gate::new("help", Service::Smtp, Duration::from_millis(100)),
        hello: "client.test".into(),
        on_unknown: OnUnknown::Resend,
        sent: None,
        pace: None,
        warm_up: None,
        deadlines: Deadlines::default(),
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    answer.await.unwrap_or_else(|_| panic!("{what} never came"))
}

impl Seen {
    pub(crate) fn now(&self) -> Published {
        self.0.borrow().clone()
    }

    pub(crate) async fn until(&self, done: impl FnMut(&Published) -> bool) -> Published {
        let mut changes = self.0.subscribe();
        let reached = tokio::time::timeout(PATIENCE, changes.wait_for(done)).await;
        match reached {
            Ok(published) => published.unwrap().clone(),
            Err(_) => panic!("it never came to it: {:?}", self.now()),
        }
    }
}

impl Handle<NewMail> for Seen {
    type Error = CxError;
    async fn handle(&self, mail: NewMail, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.mails.push(mail));
        Ok(())
    }
}

impl Handle<Sent> for Seen {
    type Error = CxError;
    async fn handle(&self, sent: Sent, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.sent.push(sent));
        Ok(())
    }
}

impl Handle<Failed> for Seen {
    type Error = CxError;
    async fn handle(&self, failed: Failed, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.failed.push(failed));
        Ok(())
    }
}

impl Handle<AccountPaused> for Seen {
    type Error = CxError;
    async fn handle(&self, paused: AccountPaused, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.paused.push(paused));
        Ok(())
    }
}

impl Handle<OauthRefresh> for Seen {
    type Error = CxError;
    async fn handle(&self, renewed: OauthRefresh, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.renewed.push(renewed));
        Ok(())
    }
}

impl Handle<Bounced> for Seen {
    type Error = CxError;
    async fn handle(&self, bounced: Bounced, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.bounced.push(bounced));
        Ok(())
    }
}

impl Handle<Unanswered> for Seen {
    type Error = CxError;
    async fn handle(&self, unanswered: Unanswered, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0
            .send_modify(|published| published.unanswered.push(unanswered));
        Ok(())
    }
}

impl Handle<MailboxReset> for Seen {
    type Error = CxError;
    async fn handle(&self, reset: MailboxReset, _: &mut Cx<'_>) -> Result<(), CxError> {
        self.0.send_modify(|published| published.resets.push(reset));
        Ok(())
    }
}

/// Makes a test of each case for every pair of database and broker.
macro_rules! everywhere {
    ($($case:ident),+ $(,)?) => {
        everywhere!(@on sqlite_and_postroom, false, false, $($case),+);
        everywhere!(@on sqlite_and_nats_server, false, true, $($case),+);
        everywhere!(@on postgres_and_postroom, true, false, $($case),+);
        everywhere!(@on postgres_and_nats_server, true, true, $($case),+);
    };
    (@on $pair:ident, $postgres:literal, $nats_server:literal, $($case:ident),+) => {
        mod $pair {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let on = $crate::world::On { postgres: $postgres, nats_server: $nats_server };
                super::$case(on).await;
            })+
        }
    };
}
pub(crate) use everywhere;
