//! A handler that leaves traces of everything it does, each where the framework's own tables have no say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postroom::store::dead_letters::Letter;
use postroom::{Cx, CxError, Handle, Handler, HandlerError, Message};
use serde::{Deserialize, Serialize};

/// The table of transactional effects. Nothing in it keeps a second row out.
pub(crate) const TABLE: &str = "CREATE TABLE traces (id TEXT NOT NULL, attempt BIGINT NOT NULL)";
const TRACE: &str = "INSERT INTO traces (id, attempt) VALUES ($1, $2)";

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tasks.due", id = "tasks.due.v1")]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) act: Act,
}

/// What a task has its handler do, after it has written and published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    Succeed,
    /// Fails twice, then succeeds.
    Falter,
    /// Fails every time.
    Exhaust,
    /// Fails for good.
    Die,
    /// Turns out to be nobody's business.
    Discard,
    /// Has an effect outside SQL.
    Send,
    /// Takes longer than a lease lasts without a heartbeat.
    Dawdle,
    /// Panics once.
    Panic,
    /// Hangs once.
    Hang,
}

impl Act {
    pub(crate) const ALL: [Act; 9] = [
        Act::Succeed,
        Act::Falter,
        Act::Exhaust,
        Act::Die,
        Act::Discard,
        Act::Send,
        Act::Dawdle,
        Act::Panic,
        Act::Hang,
    ];

    /// Whether it lasts until its lease has to be prolonged, however quick the machine is.
    pub(crate) fn outlasts_a_beat(self) -> bool {
        matches!(self, Act::Dawdle | Act::Hang)
    }

    /// Whether it comes to a good end.
    pub(crate) fn succeeds(self) -> bool {
        !self.is_fatal() && self != Act::Discard
    }

    /// Whether it ends as a dead letter.
    pub(crate) fn is_fatal(self) -> bool {
        matches!(self, Act::Exhaust | Act::Die)
    }
}

/// Published with each effect.
#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tasks.done", id = "tasks.done.v1")]
pub(crate) struct Done {
    pub(crate) id: String,
}

/// Published by the last words.
#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tasks.mourned", id = "tasks.mourned.v1")]
pub(crate) struct Mourned {
    pub(crate) id: String,
}

/// A dead letter, as it is on the stream.
#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "emails.dlq", id = "tasks.due.v1")]
pub(crate) struct OnTheStream {
    pub(crate) id: String,
}

/// What went out of the house, and whether the handler knew that it might have gone before.
pub(crate) type Sent = Arc<Mutex<Vec<(String, bool)>>>;

#[derive(Debug, thiserror::Error, HandlerError)]
pub(crate) enum TaskError {
    #[error("not yet")]
    #[on(retry)]
    NotYet,
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error("nobody wants it")]
    #[on(discard)]
    Unwanted,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
    #[error(transparent)]
    #[on(retry)]
    Sql(#[from] sqlx::Error),
}

#[derive(Handler)]
#[handler(
    on = Task,
    id = "task",
    idempotent(key = [id], ttl = "7d"),
    retry(max = 6, backoff = "2s..1h"),
    timeout = "7s",
    ambiguous = Resend,
)]
pub(crate) struct Worker {
    pub(crate) sent: Sent,
}

impl Handle<Task> for Worker {
    type Error = TaskError;

    async fn handle(&self, task: Task, cx: &mut Cx<'_>) -> Result<(), TaskError> {
        let attempt = cx.attempt();
        match task.act {
            Act::Send => {
                let known = cx.unresolved_effect().is_some();
                cx.begin_effect(&task.id).await?;
                let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.push((task.id.clone(), known));
            }
            Act::Dawdle => tokio::time::sleep(Duration::from_secs(6)).await,
            Act::Hang if attempt == 1 => std::future::pending().await,
            _ => {}
        }
        let tx = cx.tx().await?;
        postroom::execute!(tx, TRACE, &task.id, attempt)?;
        cx.publish(&Done { id: task.id }).await?;
        match task.act {
            Act::Falter if attempt <= 2 => Err(TaskError::NotYet),
            Act::Exhaust => Err(TaskError::NotYet),
            Act::Die => Err(TaskError::Never),
            Act::Discard => Err(TaskError::Unwanted),
            Act::Panic if attempt == 1 => panic!("as told"),
            _ => Ok(()),
        }
    }

    async fn on_dead_letter(&self, task: &Task, _: &Letter, cx: &mut Cx<'_>) -> Result<(), TaskError> {
        Ok(cx.publish(&Mourned { id: task.id.clone() }).await?)
    }
}
