//! Starts the processes, publishes, and kills.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postroom::Store;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::audit;
use crate::servers::Postgres;
use crate::worker::{Task, now_ms};

/// Long enough for handlers to be under way, short enough for a thousand.
const ALIVE_FOR: std::ops::Range<u64> = 30..300;
/// Longer than a lease.
const STOPPED_FOR: Duration = Duration::from_secs(6);
/// Every so many kills, a worker is stopped instead.
const STOP_EVERY: u32 = 25;
/// A broker that was killed is back within seconds, on a busy machine, too.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(120);
pub(crate) const WORKERS: [&str; 2] = ["worker"; 2];
const TABLE: &str = "CREATE TABLE crash_effects (id BIGINT NOT NULL, pid BIGINT NOT NULL)";

pub(crate) struct Plan {
    pub(crate) kills: u32,
    /// Published while each kill happens.
    pub(crate) messages: u32,
    pub(crate) seed: u64,
    /// Messages a second of a soak.
    pub(crate) rate: u32,
    /// After each kill, so that what was killed runs again before the next.
    pub(crate) pause: Duration,
}

/// What one run has started.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) database_url: String,
    pub(crate) store: Store,
    pub(crate) broker: Child,
    pub(crate) workers: Vec<Child>,
    pub(crate) client: async_nats::Client,
    postgres: Option<Postgres>,
    port: u16,
    ttl: u32,
    /// What each worker is.
    roles: &'static [&'static str],
    /// Workers that ended by themselves, and were started again.
    pub(crate) revived: u32,
}

impl World {
    pub(crate) async fn start(database: &str, ttl: u32, roles: &'static [&'static str]) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let postgres = match database {
            "postgres" => Some(Postgres::start()),
            "sqlite" => None,
            other => panic!("--database is `{other}`: give sqlite or postgres"),
        };
        let database_url = postgres.as_ref().map_or_else(
            || format!("sqlite:{}", folder.path().join("postroom.db").display()),
            Postgres::url,
        );
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let broker = start_broker(folder.path(), port);
        let store = Store::open(&database_url).await.expect("the database opens");
        let mut tx = store.begin().await.expect("begin");
        postroom::execute!(tx, TABLE).expect("a table");
        tx.commit().await.expect("commit");
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(format!("nats://127.0.0.1:{port}"))
            .await
            .expect("a client");
        let mut world = World {
            folder,
            database_url,
            store,
            broker,
            workers: Vec::new(),
            client,
            postgres,
            port,
            ttl,
            roles,
            revived: 0,
        };
        for at in 0..roles.len() {
            let worker = world.start_worker(at);
            world.workers.push(worker);
        }
        world
    }

    fn start_worker(&self, at: usize) -> Child {
        let nats_url = format!("nats://127.0.0.1:{}", self.port);
        let folder = self.folder.path().to_string_lossy().into_owned();
        let ttl = self.ttl.to_string();
        spawn(
            &self.log(),
            [self.roles[at], &nats_url, &self.database_url, &folder, &ttl],
        )
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn kill_worker(&mut self, at: usize) {
        end(&mut self.workers[at]);
        self.workers[at] = self.start_worker(at);
    }

    /// A worker that has died, or could not start, since the broker was gone, is started again.
    pub(crate) fn revive_workers(&mut self) {
        for at in 0..self.workers.len() {
            if !matches!(self.workers[at].try_wait(), Ok(None)) {
                self.workers[at] = self.start_worker(at);
                self.revived += 1;
            }
        }
    }

    fn kill_broker(&mut self) {
        end(&mut self.broker);
        self.broker = start_broker(self.folder.path(), self.port);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            end(worker);
        }
        end(&mut self.broker);
    }
}

fn start_broker(folder: &Path, port: u16) -> Child {
    let store = folder.join("broker").to_string_lossy().into_owned();
    spawn(&folder.join("log"), ["broker", &store, &port.to_string()])
}

fn spawn<const N: usize>(log: &Path, arguments: [&str; N]) -> Child {
    let log: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("the log can be opened");
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("this program starts once more")
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
}

/// Publishes tasks, one of ten twice, until the broker has confirmed each. One that it does not confirm in time is missing
/// in the audit.
pub(crate) async fn publish(client: &async_nats::Client, ids: std::ops::Range<u32>) {
    let mut context = async_nats::jetstream::new(client.clone());
    context.set_timeout(Duration::from_secs(2));
    let copies = ids.clone().chain(ids.filter(|id| id % 10 == 1));
    let publish = |id: u32| {
        let context = context.clone();
        async move {
            let payload = serde_json::to_vec(&Task { id }).expect("JSON");
            let began = Instant::now();
            while began.elapsed() < PUBLISHED_WITHIN {
                let sent = context.publish("crash.task", payload.clone().into());
                let confirmed = async { sent.await?.await };
                if confirmed.await.is_ok() {
                    return;
                }
                // The broker is away, or the stream not made yet. A copy may have arrived: all the better.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    futures_util::future::join_all(copies.map(publish)).await;
}

/// Whether nothing was lost or doubled.
pub(crate) async fn run(database: &str, plan: &Plan) -> bool {
    println!(
        "crash: {database}, seed {}, {} kills, {} messages for each and 10 % of them twice",
        plan.seed, plan.kills, plan.messages
    );
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut world = World::start(database, 7 * 86_400, &WORKERS).await;
    let (mut killed, mut stopped) = (Killed::default(), None);
    let (began, mut told) = (Instant::now(), Instant::now());
    // Until the first worker has made the stream.
    publish(&world.client, 0..1).await;
    for kill in 0..plan.kills {
        let first = 1 + kill * plan.messages;
        let publishing = tokio::spawn({
            let client = world.client.clone();
            let ids = first..first + plan.messages;
            async move { publish(&client, ids).await }
        });
        tokio::time::sleep(Duration::from_millis(random.random_range(ALIVE_FOR))).await;
        wake(&world, &mut stopped, false);
        world.revive_workers();
        killed.one(&mut world, &mut random, kill, &mut stopped);
        publishing.await.expect("the publisher");
        tokio::time::sleep(plan.pause).await;
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            println!("  {} kills, {:?}, {killed}", kill + 1, began.elapsed());
        }
    }
    tokio::time::sleep(if stopped.is_some() {
        STOPPED_FOR
    } else {
        Duration::ZERO
    })
    .await;
    wake(&world, &mut stopped, true);
    let tasks = 1 + plan.kills * plan.messages;
    let counted = audit::settled(&mut world, tasks, World::revive_workers).await;
    println!("  {killed}; {counted} in {:?}", began.elapsed());
    audit::takeovers(world.folder.path(), &killed.workers_at);
    audit::verdict(
        "crash",
        database,
        plan,
        &mut world,
        &counted.violations,
        "0 lost, 0 doubled",
    )
}

/// Who was killed so far.
#[derive(Default)]
pub(crate) struct Killed {
    /// Process and time of death.
    workers_at: Vec<(u32, u128)>,
    brokers: u32,
    databases: u32,
    stops: u32,
}

impl Killed {
    fn one(
        &mut self,
        world: &mut World,
        random: &mut StdRng,
        number: u32,
        stopped: &mut Option<(usize, Instant)>,
    ) {
        let worker = random.random_range(0..WORKERS.len());
        if number % STOP_EVERY == STOP_EVERY - 1 && stopped.is_none() {
            signal(&world.workers[worker], "STOP");
            *stopped = Some((worker, Instant::now()));
            self.stops += 1;
            return;
        }
        match random.random_range(0..100) {
            0..15 => {
                world.kill_broker();
                self.brokers += 1;
            }
            15..30 if world.postgres.is_some() => {
                if let Some(postgres) = &mut world.postgres {
                    postgres.kill();
                    postgres.restart();
                }
                self.databases += 1;
            }
            // One that stands still is left to wake.
            _ => {
                let worker = match stopped {
                    Some((at, _)) => 1 - *at,
                    None => worker,
                };
                self.workers_at.push((world.workers[worker].id(), now_ms()));
                world.kill_worker(worker);
            }
        }
    }
}

impl std::fmt::Display for Killed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (workers, brokers) = (self.workers_at.len(), self.brokers);
        write!(
            f,
            "{workers} workers, {brokers} brokers and {} databases killed, ",
            self.databases
        )?;
        write!(f, "{} workers stopped and woken", self.stops)
    }
}

fn wake(world: &World, stopped: &mut Option<(usize, Instant)>, now: bool) {
    if let Some((worker, since)) = *stopped
        && (now || since.elapsed() > STOPPED_FOR)
    {
        signal(&world.workers[worker], "CONT");
        *stopped = None;
    }
}
