//! The `postroom-broker` binary: parses, binds, runs.

mod args;
mod logging;

use std::process::ExitCode;

use args::{Args, Run};
use postroom_broker::{Broker, StartError, VERSION};
use tokio::signal::unix::{SignalKind, signal};

/// Wrong usage, as nats-server and most tools have it.
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)) {
        Ok(Args::Run(arguments)) => match run(*arguments).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("postroom-broker: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Args::Version) => say(&format!("nats-server: v{VERSION}\n")),
        Ok(Args::Help) => say(args::USAGE),
        Err(error) => {
            eprintln!("postroom-broker: {error}\n\n{}", args::USAGE);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{what} {path}: {source}")]
    File {
        what: &'static str,
        path: String,
        source: std::io::Error,
    },
    #[error("can not wait for signals: {0}")]
    Signals(std::io::Error),
}

async fn run(arguments: Run) -> Result<(), RunError> {
    logging::start(arguments.log_file.as_deref(), arguments.verbosity)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let store_dir = arguments.config.store_dir.clone();
    let broker = match Broker::start(arguments.config).await {
        Ok(broker) => broker,
        Err(error) => {
            tracing::error!(target: "fatal", "{error}");
            return Err(error.into());
        }
    };
    logging::announce(&broker, store_dir.as_deref());
    if let Some(path) = &arguments.pid_file {
        let written = std::fs::write(path, std::process::id().to_string());
        let path = path.display().to_string();
        written.map_err(|source| RunError::File {
            what: "can not write the pid file",
            path,
            source,
        })?;
    }
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
