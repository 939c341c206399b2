//! `postroom dlq`: look at dead letters and send them on.

use std::io::Write;

use clap::{Subcommand, ValueEnum};
use postroom::store::dead_letters::{self, DeadLetter, Replay};
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};
use serde_json::{Value, json};

use super::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: sqlite:PATH or postgres://…
    #[arg(long, env = "DATABASE_URL", value_name = "URL", default_value = DEFAULT_DATABASE_URL, hide_env_values = true)]
    database_url: String,
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// The newest dead letters, one line each
    List {
        /// Only letters in this state
        #[arg(long, value_enum, default_value_t = State::Dead)]
        state: State,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// One letter with its headers, its payload and each attempt
    Show {
        /// As `dlq list` prints it
        id: String,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Send letters once more to the handlers they died in
    Replay {
        /// As `dlq list` prints them
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Dead,
    Replaying,
    Replayed,
    Discarded,
    All,
}

impl State {
    fn filter(self) -> Option<&'static str> {
        match self {
            Self::Dead => Some("dead"),
            Self::Replaying => Some("replaying"),
            Self::Replayed => Some("replayed"),
            Self::Discarded => Some("discarded"),
            Self::All => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum DlqError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no dead letter `{0}`; `postroom dlq list --state all` shows which there are")]
    NotFound(String),
    #[error("dead letter {id} is `{state}`, so there is nothing to replay; only `dead` ones are replayed")]
    NotDead { id: String, state: String },
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    must_exist(&args.database_url)?;
    let store = Store::open(&args.database_url).await.map_err(CliError::wrong)?;
    let mut out = std::io::stdout().lock();
    let done = match args.command {
        DlqCommand::List { state, limit, json } => list(&store, state, limit, json, &mut out).await,
        DlqCommand::Show { id, json } => show(&store, &id, json, &mut out).await,
        DlqCommand::Replay { ids } => replay(&store, &ids, &mut out).await,
    };
    store.close().await;
    match done {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(DlqError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ (DlqError::NotFound(_) | DlqError::NotDead { .. })) => Err(CliError::wrong(error)),
        other => other.map_err(CliError::failed),
    }
}

/// A worker makes its database; looking at one that isn't there would make an empty one and call it good news.
fn must_exist(url: &str) -> Result<(), CliError> {
    let path = url
        .strip_prefix("sqlite:")
        .map(|path| path.trim_start_matches("//"));
    match path.and_then(|path| path.split('?').next()) {
        Some(path) if !std::path::Path::new(path).exists() => Err(CliError::Wrong(format!(
            "there is no database at {path}; name the one that the workers use with --database-url or DATABASE_URL"
        ))),
        _ => Ok(()),
    }
}

async fn list(
    store: &Store,
    state: State,
    limit: u32,
    json: bool,
    out: &mut impl Write,
) -> Result<(), DlqError> {
    let mut tx = store.read().await?;
    let letters = dead_letters::list(&mut tx, state.filter(), limit).await?;
    if json {
        for letter in &letters {
            writeln!(out, "{}", as_json(letter))?;
        }
        return Ok(());
    }
    if letters.is_empty() {
        writeln!(out, "No dead letters.")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:36}  {:24}  {:9}  {:14}  {:16}  ERROR",
        "ID", "DIED AT", "STATE", "REASON", "HANDLER"
    )?;
    for letter in &letters {
        writeln!(
            out,
            "{:36}  {:24}  {:9}  {:14}  {:16}  {}",
            letter.id,
            letter.died_at,
            letter.state,
            letter.reason,
            letter.handler,
            printable(&letter.error)
        )?;
    }
    writeln!(out, "\npostroom dlq show ID      the whole letter")?;
    writeln!(out, "postroom dlq replay ID    send it once more")?;
    Ok(())
}

async fn show(store: &Store, id: &str, json: bool, out: &mut impl Write) -> Result<(), DlqError> {
    let mut tx = store.read().await?;
    let letter = dead_letters::find(&mut tx, id)
        .await?
        .ok_or_else(|| DlqError::NotFound(id.to_owned()))?;
    if json {
        writeln!(out, "{}", as_json(&letter))?;
        return Ok(());
    }
    let mut line = |name: &str, value: &str| writeln!(out, "{name:12} {}", printable(value));
    line("id", &letter.id)?;
    line("state", &letter.state)?;
    line("reason", &letter.reason)?;
    line("died at", &letter.died_at)?;
    line("handler", &letter.handler)?;
    line("key", &letter.key)?;
    line("subject", &letter.subject)?;
    line(
        "stream",
        &format!("{} sequence {}", letter.stream, letter.stream_seq),
    )?;
    line("message-id", letter.message_id.as_deref().unwrap_or("-"))?;
    line("attempts", &letter.attempts.to_string())?;
    line("replays", &letter.replays.to_string())?;
    line("error", &letter.error)?;
    attempts(&letter, out)?;
    headers(&letter, out)?;
    match serde_json::from_slice::<Value>(&letter.payload) {
        Ok(payload) => writeln!(out, "\npayload, {} bytes\n{payload:#}", letter.payload.len())?,
        Err(_) => writeln!(
            out,
            "\npayload, {} bytes\n{}",
            letter.payload.len(),
            letter.payload.escape_ascii()
        )?,
    }
    Ok(())
}

fn attempts(letter: &DeadLetter, out: &mut impl Write) -> Result<(), DlqError> {
    let history: Vec<Value> = serde_json::from_str(&letter.history).unwrap_or_default();
    writeln!(out, "\nattempts")?;
    for attempt in &history {
        let text = |field: &str| printable(attempt[field].as_str().unwrap_or("-"));
        writeln!(
            out,
            "  {}  {}  {}: {}",
            attempt["attempt"],
            text("at"),
            text("class"),
            text("error")
        )?;
    }
    Ok(())
}

fn headers(letter: &DeadLetter, out: &mut impl Write) -> Result<(), DlqError> {
    let headers: Value = serde_json::from_str(&letter.headers).unwrap_or_default();
    writeln!(out, "\nheaders")?;
    for (name, values) in headers.as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten() {
            writeln!(
                out,
                "  {}: {}",
                printable(name),
                printable(value.as_str().unwrap_or_default())
            )?;
        }
    }
    Ok(())
}

/// Each on its own: one that can't be replayed does not keep the others back.
async fn replay(store: &Store, ids: &[String], out: &mut impl Write) -> Result<(), DlqError> {
    let by = std::env::var("USER").unwrap_or_else(|_| "postroom dlq".to_owned());
    let mut refused = None;
    for id in ids {
        match dead_letters::replay(store, id, &by).await? {
            Replay::Begun => writeln!(
                out,
                "{id}  replaying: a running worker takes it up within seconds"
            )?,
            Replay::NotFound => refused = Some(DlqError::NotFound(id.clone())),
            Replay::Not(state) => {
                refused = Some(DlqError::NotDead {
                    id: id.clone(),
                    state,
                });
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

fn as_json(letter: &DeadLetter) -> Value {
    let mut object = json!(letter);
    // As text where it is text; JSON has no bytes.
    let payload = match std::str::from_utf8(&letter.payload) {
        Ok(text) => json!({ "text": text }),
        Err(_) => {
            use base64::Engine;
            json!({ "base64": base64::engine::general_purpose::STANDARD.encode(&letter.payload) })
        }
    };
    object["payload"] = payload;
    for column in ["headers", "history"] {
        let parsed = object[column]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        object[column] = parsed.unwrap_or(Value::Null);
    }
    object
}

/// On one line and without control characters, which a hostile mail would use to rewrite the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_rewritten() {
        assert_eq!(printable("550 \u{1b}[2Jno\r\nsuch"), "550  [2Jno  such");
    }
}
