//! `postroom worker`: runs one part of the pipeline, or tells handlers that run elsewhere to rest and to go on.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use humantime::format_duration;
use postroom::store::handlers::{self, Known};
use postroom::store::pauses::{self, Paused};
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};
use serde_json::{Value, json};

use super::CliError;
use super::dlq::{by, must_exist, printable};
use super::up::{self, Part};
use crate::config::Flags;
use crate::config::suggest::nearest;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Worker,
}

#[derive(Debug, Subcommand)]
enum Worker {
    /// Mailbox → inbox.new
    Ingest(Flags),
    /// inbox.new → actions.reply → actions.send
    Reply(Flags),
    /// actions.send → SMTP
    Send(Flags),
    /// The handlers that have started on this database, and which of them rest
    List {
        #[command(flatten)]
        database: Database,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Let a handler rest, in every process: what it is at is finished, what waits spends no attempt
    Pause {
        /// Its id; `postroom worker list` shows which there are
        handler: String,
        /// How long, such as 10m [default: until it is resumed]
        #[arg(long = "for", value_name = "TIME", value_parser = rest)]
        rest: Option<Duration>,
        /// Why; shown to whoever looks
        #[arg(long, default_value = "")]
        because: String,
        #[command(flatten)]
        database: Database,
    },
    /// Let a handler go on, in every process
    Resume {
        handler: String,
        #[command(flatten)]
        database: Database,
    },
}

#[derive(Debug, clap::Args)]
struct Database {
    /// The database: sqlite:PATH or postgres://…
    #[arg(long, env = "DATABASE_URL", value_name = "URL", default_value = DEFAULT_DATABASE_URL, hide_env_values = true)]
    database_url: String,
}

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    #[error("no handler `{typed}` has started on this database{}", suggestion(.nearest.as_deref()))]
    NoSuchHandler { typed: String, nearest: Option<String> },
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => "; `postroom worker list` shows which have".to_owned(),
    }
}

fn rest(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("give it some time, such as 10m".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(format!("{error}; write a time such as 90s, 10m or 2h")),
    }
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let (database, act) = match args.command {
        Worker::Ingest(flags) => return up::worker(Part::Ingest, &flags).await,
        Worker::Reply(flags) => return up::worker(Part::Reply, &flags).await,
        Worker::Send(flags) => return up::worker(Part::Send, &flags).await,
        Worker::List { database, json } => (database, Act::List { json }),
        Worker::Pause {
            handler,
            rest,
            because,
            database,
        } => (
            database,
            Act::Pause {
                handler,
                rest,
                because,
            },
        ),
        Worker::Resume { handler, database } => (database, Act::Resume { handler }),
    };
    must_exist(&database.database_url)?;
    let store = Store::open(&database.database_url)
        .await
        .map_err(CliError::wrong)?;
    let done = act.done(&store, &mut io::stdout().lock()).await;
    store.close().await;
    match done {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(WorkerError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ WorkerError::NoSuchHandler { .. }) => Err(CliError::wrong(error)),
        other => other.map_err(CliError::failed),
    }
}

/// What is asked of handlers that run elsewhere.
enum Act {
    List {
        json: bool,
    },
    Pause {
        handler: String,
        rest: Option<Duration>,
        because: String,
    },
    Resume {
        handler: String,
    },
}

impl Act {
    async fn done(self, store: &Store, out: &mut impl Write) -> Result<(), WorkerError> {
        match self {
            Self::List { json } => list(store, json, out).await,
            Self::Pause {
                handler,
                rest,
                because,
            } => pause(store, &handler, rest, &because, out).await,
            Self::Resume { handler } => resume(store, &handler, out).await,
        }
    }
}

/// What the database knows of handlers.
struct Roll {
    known: Vec<Known>,
    paused: Vec<Paused>,
}

impl Roll {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        let mut tx = store.read().await?;
        let known = handlers::list(&mut tx).await?;
        let paused = pauses::list(&mut tx).await?;
        tx.rollback().await?;
        Ok(Self { known, paused })
    }

    /// Of those that have started, and of those that were paused by the app that has them.
    fn must_have(&self, typed: &str) -> Result<(), WorkerError> {
        let started = self.known.iter().map(|known| known.id.as_str());
        let paused = self.paused.iter().map(|paused| paused.handler.as_str());
        let ids: Vec<_> = started.chain(paused).collect();
        if ids.contains(&typed) {
            return Ok(());
        }
        Err(WorkerError::NoSuchHandler {
            typed: typed.to_owned(),
            nearest: nearest(typed, &ids).map(str::to_owned),
        })
    }

    fn pause_of(&self, handler: &str) -> Option<&Paused> {
        self.paused.iter().find(|paused| paused.handler == handler)
    }
}

async fn list(store: &Store, as_json: bool, out: &mut impl Write) -> Result<(), WorkerError> {
    let roll = Roll::read(store).await?;
    if as_json {
        for known in &roll.known {
            writeln!(out, "{}", row(known, roll.pause_of(&known.id)))?;
        }
        return Ok(());
    }
    if roll.known.is_empty() {
        writeln!(out, "No handler has started on this database.")?;
        return Ok(());
    }
    writeln!(out, "{:24}  {:20}  STATE", "HANDLER", "SUBJECT")?;
    for Known { id, subject, .. } in &roll.known {
        let state = roll.pause_of(id).map_or_else(|| "works".to_owned(), told);
        writeln!(out, "{id:24}  {subject:20}  {state}")?;
    }
    Ok(())
}

fn row(known: &Known, paused: Option<&Paused>) -> Value {
    let paused = paused.map(|paused| {
        json!({
            "remaining_ms": paused.remaining.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            "by": paused.by,
            "because": paused.because,
        })
    });
    json!({ "handler": known.id, "subject": known.subject, "started_ms": known.started, "paused": paused })
}

/// `rests for 9m 58s (ann: the relay is down)`.
fn told(paused: &Paused) -> String {
    let rests = match paused.remaining {
        // Whole seconds: nobody waits for the rest of them.
        Some(left) => {
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            format!("rests for {}", format_duration(Duration::from_secs(seconds)))
        }
        None => "rests until it is resumed".to_owned(),
    };
    let because = printable(&paused.because);
    let by = printable(&paused.by);
    if because.is_empty() {
        format!("{rests} ({by})")
    } else {
        format!("{rests} ({by}: {because})")
    }
}

async fn pause(
    store: &Store,
    handler: &str,
    rest: Option<Duration>,
    because: &str,
    out: &mut impl Write,
) -> Result<(), WorkerError> {
    Roll::read(store).await?.must_have(handler)?;
    let mut tx = store.begin().await?;
    pauses::pause(&mut tx, handler, rest, &by(), because).await?;
    tx.commit().await?;
    // As it is now: a longer rest than this one stays.
    let roll = Roll::read(store).await?;
    let state = roll.pause_of(handler).map_or_else(String::new, told);
    writeln!(
        out,
        "{handler} {state}; earlier by: postroom worker resume {handler}"
    )?;
    Ok(())
}

async fn resume(store: &Store, handler: &str, out: &mut impl Write) -> Result<(), WorkerError> {
    Roll::read(store).await?.must_have(handler)?;
    let mut tx = store.begin().await?;
    let was_paused = pauses::resume(&mut tx, handler).await?;
    tx.commit().await?;
    let what = if was_paused { "goes on" } else { "was not paused" };
    writeln!(out, "{handler} {what}")?;
    Ok(())
}
