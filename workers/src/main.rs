//! The `postroom` binary.

use std::process::ExitCode;

use clap::Parser;
use postroom_workers::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(Cli::parse()).await
}
