//! A line to PostgreSQL on which nothing comes through any more, while both of its ends are up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postroom::{App, Cx, CxError, Handle, Handler, Settings};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::probe::{Outcome, Ping, Pong};
use crate::world::{World, within};

/// A few limits of the store one after the other, and far less than the drain limit.
const ENDED: Duration = Duration::from_secs(30);

/// Forwards to a server until it falls silent: from then on it accepts, keeps what is open, and forwards nothing.
struct Line {
    url: String,
    silent: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Line {
    async fn to(url: &str) -> Self {
        let (user, rest) = url.split_once('@').expect("a user");
        let (server, database) = rest.split_once('/').expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("bound");
        let silent = CancellationToken::new();
        Self {
            url: format!("{user}@{here}/{database}"),
            accepting: tokio::spawn(accept(listener, server.to_owned(), silent.clone())),
            silent,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String, silent: CancellationToken) {
    // Dropped with this task, and closed by that.
    let mut calls = tokio::task::JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let (server, silent) = (server.clone(), silent.clone());
        calls.spawn(async move {
            let mut far = TcpStream::connect(server).await.expect("the server is there");
            tokio::select! {
                biased;
                () = silent.cancelled() => std::future::pending().await,
                _ = copy_bidirectional(&mut near, &mut far) => {}
            }
        });
    }
}

/// A handler that ends when the test lets it; of the second ping, with a transaction of its own.
#[derive(Clone, Handler)]
#[handler(on = Ping, id = "patient", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), timeout = "1m")]
struct Patient {
    runs: mpsc::UnboundedSender<(u32, i64)>,
    may_end: Arc<Semaphore>,
}

impl Handle<Ping> for Patient {
    type Error = CxError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), CxError> {
        if ping.id == 2 {
            cx.tx().await?;
        }
        let _ = self.runs.send((ping.id, cx.attempt()));
        // Never closed.
        let _ = self.may_end.acquire().await;
        cx.publish(&Pong::of(&ping)).await
    }
}

async fn runs(what: &str, seen: &mut mpsc::UnboundedReceiver<(u32, i64)>) -> [(u32, i64); 2] {
    let mut runs = [(0, 0); 2];
    for run in &mut runs {
        *run = within(what, seen.recv()).await.expect("a handler is there");
    }
    runs.sort_unstable();
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_on_a_dead_line_has_lost_its_lease_and_runs_elsewhere() {
    let world = World::postgres_and_postroom().await;
    let line = Line::to(&world.settings.database_url).await;
    let (runs_seen, mut seen) = mpsc::unbounded_channel();
    let patient = Patient {
        runs: runs_seen,
        may_end: Arc::new(Semaphore::new(0)),
    };
    let behind = Settings {
        database_url: line.url.clone(),
        ..world.settings.clone()
    };
    let behind = App::connect(behind).await.expect("the app connects");
    let behind = behind.handler(patient.clone()).start().await.expect("it starts");
    let mut pongs = world.subscribe("tests.pong").await;
    for id in [1, 2] {
        world.ping(id, Outcome::Succeed).await;
    }
    assert_eq!(
        runs("the runs behind the line", &mut seen).await,
        [(1, 1), (2, 1)]
    );

    line.silent.cancel();
    patient.may_end.add_permits(1);
    let elsewhere = world.app().await.handler(patient);
    let elsewhere = elsewhere.start().await.expect("it starts");
    assert_eq!(runs("the runs elsewhere", &mut seen).await, [(1, 2), (2, 2)]);
    assert_eq!(pongs.ids(2).await, [1, 2]);

    let asked = Instant::now();
    behind.drain().await;
    let took = asked.elapsed();
    assert!(took < ENDED, "a delivery hung on the dead line: {took:?}");
    elsewhere.drain().await;
    assert_eq!(pongs.rest(), 0, "what ended on the dead line was published");
}
