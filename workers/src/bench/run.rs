//! All runs, from the first to the report.

use std::io::{self, Write};
use std::num::NonZero;

use postroom::bus::BusError;
use postroom::{Store, StoreError, stop_signal};
use postroom_broker::StartError;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::measure::measure;
use super::options::{BenchOptions, OptionsError};
use super::report::{Report, Sample};
use super::stage::{Stage, folder_in};
use super::store;

/// Why there is no report, or none to be content with.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// What was asked for can't be done.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The folder of a run.
    #[error("a folder for the benchmark can't be used: {0}; name one on a disk with --dir")]
    Folder(#[source] io::Error),
    /// The embedded broker.
    #[error(transparent)]
    Broker(#[from] StartError),
    /// The workers.
    #[error(transparent)]
    Postroom(#[from] postroom::Error),
    /// The producer's connection.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output is closed.
    #[error("the report could not be written: {0}")]
    Output(#[from] io::Error),
    /// Nothing moves.
    #[error("nothing has moved for a minute, with messages left; the log above says why")]
    Stuck,
    /// Ctrl-C.
    #[error("stopped before the end; nothing is reported")]
    Stopped,
    /// Something was lost, or done twice.
    #[error("the numbers do not add up: {lost} lost, {doubled} handled more than once, and see the report")]
    DoesNotAddUp {
        /// In all runs.
        lost: u64,
        /// In all runs.
        doubled: u64,
    },
}

/// Runs the benchmark; writes its report to `out`.
///
/// # Errors
/// When it can't run, is stopped, or does not add up.
pub async fn run(options: BenchOptions, out: &mut impl Write) -> Result<(), BenchError> {
    options.check()?;
    let stop = CancellationToken::new();
    let signalled = async {
        stop_signal().await;
        stop.cancel();
        // The run notices, puts everything away, and ends by itself.
        std::future::pending().await
    };
    let report: Report = tokio::select! {
        report = all_runs(&options, &stop) => report?,
        never = signalled => never,
    };
    if options.json {
        writeln!(out, "{}", serde_json::json!(report))?;
    } else {
        report.print(out)?;
    }
    if report.adds_up() {
        return Ok(());
    }
    let sum = |count: fn(&Sample) -> u64| report.samples.iter().map(count).sum();
    Err(BenchError::DoesNotAddUp {
        lost: sum(|sample| sample.lost),
        doubled: sum(|sample| sample.doubled),
    })
}

async fn all_runs(options: &BenchOptions, stop: &CancellationToken) -> Result<Report, BenchError> {
    let disk = {
        let folder = folder_in(&options.dir)?;
        Disk::under(folder.path()).map_err(BenchError::Folder)?
    };
    let mut database = String::new();
    let mut samples = Vec::with_capacity(options.runs);
    for _ in 0..options.runs {
        let stage = Stage::set(options).await?;
        let measured = async {
            database = durability(&stage.settings.database_url).await?;
            measure(options, &stage, stop).await
        };
        let measured = measured.await;
        let struck = stage.strike().await;
        samples.push(measured?);
        struck?;
    }
    let broker = match options.nats_url {
        None => "embedded; fdatasync before each confirmation, of publishes and acks alike",
        Some(_) => "by URL; it syncs as its operator told it to",
    };
    Ok(Report {
        messages: options.messages,
        duplicates: options.duplicates,
        handler: options.work,
        concurrency: options.concurrency,
        broker: broker.to_owned(),
        database,
        disk,
        cores: std::thread::available_parallelism().map_or(1, NonZero::get),
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
        samples,
    })
}

async fn durability(url: &str) -> Result<String, BenchError> {
    let database = Store::open(url).await?;
    let told = store::durability(&database).await;
    database.close().await;
    Ok(told?)
}
