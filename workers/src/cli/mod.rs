//! The command line of `postroom`: one file a subcommand, each with its own arguments.

mod bench;
mod demo;
mod devmail;
mod dlq;
mod doctor;
mod health;
mod log;
mod login;
mod mailboxes;
#[cfg(feature = "otel")]
mod otel;
mod outbox;
mod suppressions;
mod up;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postroom::explain::with_causes;
use tracing_subscriber::filter::LevelFilter;

/// Email pipelines in which no mail is missed and none is sent twice without saying so.
#[derive(Debug, Parser)]
#[command(
    name = "postroom",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole pipeline on a mailbox full of awkward mail, in this process, with nothing installed.
    Demo(demo::Args),
    /// The workers on your mailboxes, with broker and database embedded or by URL.
    Up(up::UpArgs),
    /// One part of the pipeline, with broker and database by URL; or a word to those that run: list, pause, resume.
    Worker(worker::Args),
    /// Tries broker, database, IMAP and SMTP, and says what is wrong.
    Doctor(doctor::Args),
    /// Signs an account in by OAuth, in the browser: for Gmail, Microsoft 365 and the like.
    Login(login::Args),
    /// A mailbox to develop with: IMAP and SMTP on this machine, with faults on demand.
    Devmail(devmail::Args),
    /// Dead letters: list, group, mend, send on, give up.
    Dlq(dlq::Args),
    /// Messages that wait for their time: list, cancel.
    Outbox(outbox::Args),
    /// How fast it is on this machine, and whether anything is lost.
    Bench(bench::Args),
    /// What became of the mails of each mailbox; and those that wait for a word of yours.
    Mailboxes(mailboxes::Args),
    /// Addresses that are not written to any more: list, add, remove.
    Suppressions(suppressions::Args),
    /// Whether a server answers; exit code 0 or 1.
    Health(health::Args),
}

/// How a subcommand ends that does not succeed. The text says what to do.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// What was asked for cannot be done as it was asked: exit code 2.
    #[error("{0}")]
    Wrong(String),
    /// It was asked for rightly, and failed: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    fn wrong(error: impl std::error::Error) -> Self {
        Self::Wrong(with_causes(&error))
    }

    fn failed(error: impl std::error::Error) -> Self {
        Self::Failed(with_causes(&error))
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Wrong(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs what was asked for; errors go to standard error in one sentence.
pub async fn run(cli: Cli) -> ExitCode {
    log::init(match cli.command {
        // It shows its own progress, and its failures are part of the show.
        Command::Demo(_) => LevelFilter::OFF,
        // Only what disturbs the measurement.
        Command::Bench(_) => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    });
    let done = match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Up(args) => up::up(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Login(args) => login::run(args).await,
        Command::Devmail(args) => devmail::run(args).await,
        Command::Dlq(args) => dlq::run(args).await,
        Command::Outbox(args) => outbox::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Mailboxes(args) => mailboxes::run(args).await,
        Command::Suppressions(args) => suppressions::run(args).await,
        Command::Health(args) => health::run(args).await,
    };
    #[cfg(feature = "otel")]
    otel::flush().await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell the failure to, should standard error be closed.
            let _ = writeln!(io::stderr(), "postroom: {error}");
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
