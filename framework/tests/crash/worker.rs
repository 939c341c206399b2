//! The processes that are killed: a broker, and a worker that leaves a trace of everything it does.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postroom::{Ambiguous, App, Cx, CxError, Handle, HandlerError, Key, Message, Settings, Spec};
use serde::{Deserialize, Serialize};

const TRACE: &str = "INSERT INTO crash_effects (id, pid) VALUES ($1, $2)";
/// As many as the promise about "database is locked" speaks of.
const CONCURRENCY: u16 = 64;

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "crash.task", id = "crash.task.v1")]
pub(crate) struct Task {
    pub(crate) id: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "crashed.done", id = "crashed.done.v1")]
pub(crate) struct Done {
    pub(crate) id: u32,
}

impl Task {
    /// One of ten fails in its first attempt.
    pub(crate) fn falters(&self) -> bool {
        self.id % 10 == 3
    }

    /// One of a hundred fails for good.
    pub(crate) fn is_fatal(&self) -> bool {
        self.id % 100 == 7
    }

    /// One of ten has an effect outside SQL.
    pub(crate) fn sends(&self) -> bool {
        self.id % 10 == 5
    }
}

#[derive(Debug, thiserror::Error, HandlerError)]
enum TaskError {
    #[error("not yet")]
    #[on(retry)]
    NotYet,
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
    #[error(transparent)]
    #[on(retry)]
    Sql(#[from] sqlx::Error),
}

struct Worker {
    folder: PathBuf,
}

impl Worker {
    /// One line, at once and whole: O_APPEND.
    fn note(&self, file: &str, line: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(file))
            .expect("the notes can be opened");
        file.write_all(format!("{line}\n").as_bytes())
            .expect("the notes can be written");
    }
}

impl Handle<Task> for Worker {
    type Error = TaskError;

    async fn handle(&self, task: Task, cx: &mut Cx<'_>) -> Result<(), TaskError> {
        let pid = std::process::id();
        self.note("starts", &format!("{} {pid} {}", task.id, now_ms()));
        // Some work, so that kills find some under way.
        tokio::time::sleep(Duration::from_millis(u64::from(task.id % 13))).await;
        if task.sends() {
            let known = cx.unresolved_effect().is_some();
            cx.begin_effect(&task.id.to_string()).await?;
            self.note("sent", &format!("{} {known}", task.id));
        }
        let attempt = cx.attempt();
        let tx = cx.tx().await?;
        postroom::execute!(tx, TRACE, i64::from(task.id), i64::from(pid))?;
        cx.publish(&Done { id: task.id }).await?;
        if task.is_fatal() {
            return Err(TaskError::Never);
        }
        if task.falters() && attempt == 1 {
            return Err(TaskError::NotYet);
        }
        Ok(())
    }
}

pub(crate) fn now_ms() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_millis()
}

/// `worker NATS_URL DATABASE_URL FOLDER TTL_SECONDS`
pub(crate) async fn run(arguments: &[String]) {
    let [nats_url, database_url, folder, ttl] = arguments else {
        panic!("worker takes four arguments");
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let settings = Settings {
        nats_url: nats_url.clone(),
        database_url: database_url.clone(),
        ..Settings::default()
    };
    let ttl = Duration::from_secs(ttl.parse().expect("seconds"));
    // Attempts that end with their process are counted, and here many do.
    let spec = Spec::new("account")
        .idempotent(|task: &Task| Key::of(&[&task.id]), ttl)
        .retry(8, Duration::from_millis(50), Duration::from_millis(200))
        .timeout(Duration::from_secs(3))
        .concurrency(CONCURRENCY)
        .ambiguous(Ambiguous::Resend);
    // Right after a kill, broker or database may not be there yet.
    let app = loop {
        match App::connect(settings.clone()).await {
            Ok(app) => break app,
            Err(error) => tracing::warn!(%error, "not there yet"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let worker = Worker {
        folder: folder.into(),
    };
    if let Err(error) = app.handler_with(spec, worker).run().await {
        // The broker was killed meanwhile; the driver starts another worker.
        tracing::error!(%error, "the worker could not start");
        std::process::exit(3);
    }
}

/// `broker FOLDER PORT`
pub(crate) async fn broker(arguments: &[String]) {
    let [folder, port] = arguments else {
        panic!("broker takes two arguments");
    };
    let port: u16 = port.parse().expect("a port");
    let config = postroom_broker::Config::new()
        .listen(([127, 0, 0, 1], port).into())
        .store_dir(folder);
    let _broker = postroom_broker::Broker::start(config)
        .await
        .expect("the broker starts");
    std::future::pending::<()>().await;
}
