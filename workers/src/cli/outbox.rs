//! `postroom outbox`: messages that wait for their time.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use postroom::store::dead_letters::time_text;
use postroom::store::postponed::{self, Postponed};
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};
use serde_json::{Value, json};

use super::CliError;
use super::dlq::{must_exist, printable};

/// Rows in memory at a time; each may be as large as a message can be, some 1 MiB.
const PAGE: u32 = 32;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: sqlite:PATH or postgres://…
    #[arg(long, env = "DATABASE_URL", value_name = "URL", default_value = DEFAULT_DATABASE_URL, hide_env_values = true)]
    database_url: String,
    #[command(subcommand)]
    command: Outbox,
}

#[derive(Debug, Subcommand)]
enum Outbox {
    /// What waits for its time, the earliest first
    List {
        /// On this subject only
        #[arg(long)]
        subject: Option<String>,
        /// One JSON object for each, with headers and payload
        #[arg(long)]
        json: bool,
    },
    /// Take messages back whose time has not come
    Cancel {
        /// As `outbox list` prints them
        #[arg(required = true)]
        ids: Vec<String>,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    #[error(
        "no message waits for its time under {0}: it was published or cancelled, or `postroom outbox list` has it under another id"
    )]
    NotFound(String),
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    must_exist(&args.database_url)?;
    let store = Store::open(&args.database_url).await.map_err(CliError::wrong)?;
    let mut out = io::stdout().lock();
    let done = match args.command {
        Outbox::List { subject, json } => list(&store, subject.as_deref(), json, &mut out).await,
        Outbox::Cancel { ids, json } => cancel(&store, &ids, json, &mut out).await,
    };
    store.close().await;
    match done {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(OutboxError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ OutboxError::NotFound(_)) => Err(CliError::wrong(error)),
        other => other.map_err(CliError::failed),
    }
}

async fn list(
    store: &Store,
    subject: Option<&str>,
    as_json: bool,
    out: &mut impl Write,
) -> Result<(), OutboxError> {
    let mut last: Option<Postponed> = None;
    loop {
        let mut tx = store.read().await?;
        let page = postponed::list(&mut tx, subject, last.as_ref(), PAGE).await?;
        tx.rollback().await?;
        for row in &page {
            if as_json {
                writeln!(out, "{}", in_json(row))?;
            } else {
                let (key, bytes) = (row.ordered_by.as_deref().unwrap_or("-"), row.payload.len());
                let (due, subject) = (time_of(row.due), printable(&row.subject));
                writeln!(
                    out,
                    "{due}  {}  {subject}  {}  {bytes} bytes",
                    printable(&row.id),
                    printable(key)
                )?;
            }
        }
        last = page.into_iter().last();
        if last.is_none() {
            return Ok(());
        }
    }
}

fn in_json(row: &Postponed) -> Value {
    json!({
        "id": row.id,
        "due": time_of(row.due),
        "subject": row.subject,
        "ordered_by": row.ordered_by,
        "created": time_of(row.created),
        "headers": serde_json::from_str::<Value>(&row.headers).unwrap_or(Value::Null),
        "payload": String::from_utf8_lossy(&row.payload),
    })
}

/// RFC 3339, UTC. What was due before 1970 was due at once.
fn time_of(millis: i64) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    time_text(SystemTime::UNIX_EPOCH + since)
}

/// Each in a transaction of its own, so that one that is gone does not keep the others.
async fn cancel(
    store: &Store,
    ids: &[String],
    as_json: bool,
    out: &mut impl Write,
) -> Result<(), OutboxError> {
    let mut gone = Vec::new();
    for id in ids {
        let cancelled = store.cancel(id).await?;
        if as_json {
            writeln!(out, "{}", json!({ "id": id, "cancelled": cancelled }))?;
        } else if cancelled {
            writeln!(out, "{} is cancelled", printable(id))?;
        }
        if !cancelled {
            gone.push(format!("`{}`", printable(id)));
        }
    }
    if gone.is_empty() {
        Ok(())
    } else {
        Err(OutboxError::NotFound(gone.join(", ")))
    }
}
