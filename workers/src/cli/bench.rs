//! `postroom bench worker`: messages through a handler, against the clock.

use std::path::PathBuf;

use super::CliError;
use crate::bench::{self, BenchError, BenchOptions, Percent, Work};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Messages through a handler: stored, claimed, handled, settled in SQL, acked; none lost, none handled twice.
    Worker(WorkerArgs),
}

#[derive(Debug, clap::Args)]
struct WorkerArgs {
    /// Messages of a run, copies included.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    messages: usize,
    /// How many of them are copies of an earlier one, which the ledger must refuse.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    duplicates: Percent,
    /// What the handler does with each.
    #[arg(long, value_enum, default_value_t = Handler::Noop)]
    handler: Handler,
    /// Messages at a time.
    #[arg(long, value_name = "N", default_value_t = 256)]
    concurrency: u16,
    /// How often; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Messages a second while the latency is taken; half of what the drain did, unless told otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Where a folder for broker and SQLite is made and removed again: on the disk that is to be measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Somebody else's broker, such as nats://127.0.0.1:4222, in place of an own one. Its stream BENCH is removed.
    // Not from the environment: a benchmark is to fill only what was named for it.
    #[arg(long, alias = "nats", value_name = "URL")]
    nats_url: Option<String>,
    /// Another database in place of a fresh SQLite file: sqlite:PATH or postgres://…
    #[arg(long, alias = "database", value_name = "URL")]
    database_url: Option<String>,
    /// The report as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Handler {
    /// Nothing
    Noop,
    /// Waits a millisecond
    #[value(name = "1ms")]
    Millisecond,
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let What::Worker(args) = args.what;
    let options = BenchOptions {
        messages: args.messages,
        duplicates: args.duplicates,
        work: match args.handler {
            Handler::Noop => Work::Noop,
            Handler::Millisecond => Work::Millisecond,
        },
        concurrency: args.concurrency,
        runs: args.runs,
        rate: args.rate,
        dir: args.dir,
        nats_url: args.nats_url,
        database_url: args.database_url,
        json: args.json,
    };
    let mut out = std::io::stdout();
    bench::run(options, &mut out).await.map_err(|error| match error {
        BenchError::Options(_) | BenchError::Folder(_) | BenchError::Broker(_) | BenchError::Postroom(_) => {
            CliError::wrong(error)
        }
        BenchError::Bus(_)
        | BenchError::Store(_)
        | BenchError::Output(_)
        | BenchError::Stuck
        | BenchError::Stopped
        | BenchError::DoesNotAddUp { .. } => CliError::failed(error),
    })
}
