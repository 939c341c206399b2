//! `postroom dlq`: look at dead letters, mend them, send them on or give them up.

mod edit;
mod export;
mod letter;
mod list;
mod many;
mod purge;
mod select;

use std::io::Write;

use clap::Subcommand;
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};

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
    List(list::Args),
    /// What went wrong, the most frequent first
    Groups(list::Args),
    /// One letter with its headers, its payload, each attempt, and what was done to it
    Show(letter::Args),
    /// Send letters once more to the handlers they died in
    Replay(many::ReplayArgs),
    /// Give letters up; they stay on record until they are purged
    Discard(many::DiscardArgs),
    /// Replace a letter's payload by a mended one
    Edit(edit::Args),
    /// Whole letters, one JSON object a line, oldest first
    Export(export::Args),
    /// Forget letters that were replayed or discarded long ago; never dead ones
    Purge(purge::Args),
}

/// How a `dlq` command ends that does not succeed.
#[derive(Debug, thiserror::Error)]
enum DlqError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no dead letter `{0}`; `postroom dlq list --state all` shows which there are")]
    NotFound(String),
    #[error("dead letter {id} is `{state}`, so there is nothing to {act}; only `dead` ones are {act}ed")]
    NotDead {
        id: String,
        state: String,
        act: &'static str,
    },
    #[error(
        "dead letter {0} does not say on which subject it came, so it can't be sent there again; publish what \
         `postroom dlq show {0} --payload` prints where it belongs, and discard the letter"
    )]
    Nowhere(String),
    #[error("{0}")]
    Wrong(String),
    #[error("cancelled after {done} of {matching} letters; the same command again takes the rest")]
    Cancelled { done: u64, matching: u64 },
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    must_exist(&args.database_url)?;
    let store = Store::open(&args.database_url).await.map_err(CliError::wrong)?;
    let mut out = std::io::stdout().lock();
    let done = match args.command {
        DlqCommand::List(args) => list::list(&store, &args, &mut out).await,
        DlqCommand::Groups(args) => list::groups(&store, &args, &mut out).await,
        DlqCommand::Show(args) => letter::show(&store, &args, &mut out).await,
        DlqCommand::Replay(args) => many::replay(&store, args, &mut out).await,
        DlqCommand::Discard(args) => many::discard(&store, args, &mut out).await,
        DlqCommand::Edit(args) => edit::run(&store, &args, &mut out).await,
        DlqCommand::Export(args) => export::run(&store, &args, &mut out).await,
        DlqCommand::Purge(args) => purge::run(&store, &args, &mut out).await,
    };
    store.close().await;
    match done {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(DlqError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(
            error @ (DlqError::NotFound(_)
            | DlqError::NotDead { .. }
            | DlqError::Nowhere(_)
            | DlqError::Wrong(_)),
        ) => Err(CliError::wrong(error)),
        other => other.map_err(CliError::failed),
    }
}

/// A worker makes its database; looking at one that isn't there would make an empty one and call it good news.
pub(super) fn must_exist(url: &str) -> Result<(), CliError> {
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

/// In whose name the trail records an act.
pub(super) fn by() -> String {
    let name = |variable| {
        std::env::var(variable)
            .ok()
            .filter(|name: &String| !name.is_empty())
    };
    name("USER")
        .or_else(|| name("LOGNAME"))
        .unwrap_or_else(|| "postroom dlq".to_owned())
}

fn hints(out: &mut impl Write, lines: &[(&str, &str)]) -> Result<(), DlqError> {
    writeln!(out)?;
    for (command, what) in lines {
        writeln!(out, "postroom dlq {command:26} {what}")?;
    }
    Ok(())
}

/// On one line and without control characters, which a hostile mail would use to rewrite the terminal.
pub(super) fn printable(text: &str) -> String {
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
