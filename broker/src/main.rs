//! The `postroom-broker` binary: parses, binds, runs.

mod args;
mod logging;
mod ports_file;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, ArgsError, Run, Typed};
use logging::LogFile;
use postroom_broker::{Broker, StartError, VERSION};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Wrong usage, as nats-server and most tools have it.
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let typed = match args::parse(std::env::args().skip(1)) {
        Ok(Args::Run(typed)) => *typed,
        Ok(Args::Version) => return say(&format!("nats-server: v{VERSION}\n")),
        Ok(Args::Help) => return say(args::USAGE),
        Ok(Args::Signal(word)) => return outcome(ports_file::signal(&word)),
        Err(error) => {
            eprintln!("postroom-broker: {error}\n\n{}", args::USAGE);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let run = match typed.load() {
        Ok(run) => run,
        Err(error) => return outcome(Err(error.to_string())),
    };
    if typed.only_check {
        return checked(&typed, &run);
    }
    let log = match logging::start(run.log_file.as_deref(), run.verbosity) {
        Ok(log) => log,
        Err(error) => return outcome(Err(format!("can not open the log file: {error}"))),
    };
    match serve(&typed, run, &log).await {
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
    #[error("can not write {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("can not wait for signals: {0}")]
    Signals(#[from] io::Error),
}

/// What the process is told by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    reopen: Signal,
    lame_duck: Signal,
}

/// How a server was asked to end.
enum End {
    AtOnce,
    Slowly,
}

async fn serve(typed: &Typed, run: Run, log: &LogFile) -> Result<(), RunError> {
    let mut signals = Signals::listen()?;
    let store_dir = run.config.store_dir.clone();
    for warning in &run.warnings {
        tracing::warn!("{warning}");
    }
    logging::announce_start(typed.config_file.as_deref());
    let broker = Broker::start(run.config).await?;
    let mut written = Vec::new();
    if let Some(path) = run.pid_file {
        let done = std::fs::write(&path, std::process::id().to_string());
        done.map_err(|source| RunError::File {
            path: path.clone(),
            source,
        })?;
        written.push(path);
    }
    if let Some(path) = run.ports_file_dir {
        let files = ports_file::write(&path, &broker).map_err(|source| RunError::File { path, source })?;
        written.extend(files);
    }
    logging::announce(&broker, store_dir.as_deref());
    match signals.wait(typed, &broker, log).await {
        End::AtOnce => {
            tracing::info!("Initiating Shutdown...");
            broker.shutdown().await;
        }
        End::Slowly => {
            tracing::info!("Entering lame duck mode, stop accepting new clients");
            tokio::select! {
                () = broker.lame_duck() => {}
                _ = signals.terminate.recv() => {}
                _ = signals.interrupt.recv() => {}
            }
        }
    }
    tracing::info!("Server Exiting..");
    for path in written {
        // Somebody else may have taken it away.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            lame_duck: signal(SignalKind::user_defined2())?,
        })
    }

    /// Reloads and reopens as often as asked, until the server is to end.
    async fn wait(&mut self, typed: &Typed, broker: &Broker, log: &LogFile) -> End {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return End::AtOnce,
                _ = self.interrupt.recv() => return End::AtOnce,
                _ = self.lame_duck.recv() => return End::Slowly,
                _ = self.reload.recv() => reload(typed, broker),
                _ = self.reopen.recv() => match log.reopen() {
                    Ok(()) => tracing::info!("File log re-opened"),
                    Err(error) => tracing::error!("can not open the log file again: {error}"),
                },
            }
        }
    }
}

fn reload(typed: &Typed, broker: &Broker) {
    let reloaded = typed
        .load()
        .map_err(|error: ArgsError| error.to_string())
        .and_then(|run| {
            logging::set_verbosity(run.verbosity);
            broker.reload(run.config).map_err(|error| error.to_string())
        });
    match reloaded {
        Ok(()) => tracing::info!("Reloaded server configuration"),
        Err(error) => tracing::error!("Failed to reload server configuration: {error}"),
    }
}

/// `-t`: the configuration was read; that it could be is the answer.
fn checked(typed: &Typed, run: &Run) -> ExitCode {
    for warning in &run.warnings {
        eprintln!("postroom-broker: warning: {warning}");
    }
    match &typed.config_file {
        Some(path) => eprintln!("postroom-broker: configuration file {} is valid", path.display()),
        None => return outcome(Err("-t checks a configuration file; name it with -c".to_owned())),
    }
    ExitCode::SUCCESS
}

fn outcome(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postroom-broker: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for goes to stdout")]
fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}
