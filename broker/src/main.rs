//! The `postroom-broker` binary: parses, binds, runs.

mod args;
mod logging;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, Run};
use postroom_broker::{Broker, StartError, VERSION};
use tokio::signal::unix::{SignalKind, signal};

/// Wrong usage, as nats-server and most tools have it.
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match args::parse(std::env::args().skip(1)) {
        Ok(Args::Run(arguments)) => *arguments,
        Ok(Args::Version) => return say(&format!("nats-server: v{VERSION}\n")),
        Ok(Args::Help) => return say(args::USAGE),
        Err(error) => {
            eprintln!("postroom-broker: {error}\n\n{}", args::USAGE);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = logging::start(arguments.log_file.as_deref(), arguments.verbosity) {
        eprintln!("postroom-broker: can not open the log file: {error}");
        return ExitCode::FAILURE;
    }
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: logging::FATAL, "{error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("can not write the pid file {path}: {source}")]
    PidFile { path: PathBuf, source: io::Error },
    #[error("can not wait for signals: {0}")]
    Signals(#[source] io::Error),
}

async fn run(arguments: Run) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let store_dir = arguments.config.store_dir.clone();
    let broker = Broker::start(arguments.config).await?;
    if let Some(path) = arguments.pid_file {
        let written = std::fs::write(&path, std::process::id().to_string());
        written.map_err(|source| RunError::PidFile { path, source })?;
    }
    logging::announce(&broker, store_dir.as_deref());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Initiating Shutdown...");
    broker.shutdown().await;
    tracing::info!("Server Exiting..");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was asked for goes to stdout")]
fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
