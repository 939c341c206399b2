//! `postroom suppressions`: the addresses that are not written to any more.

use std::io::{self, Write};

use clap::Subcommand;
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};
use serde_json::json;

use super::CliError;
use super::dlq::{by, must_exist, printable};
use crate::store::suppressions::{self, Suppression};

/// Rows in memory at a time.
const PAGE: i64 = 500;
/// What a person added, as the table says it.
const MANUAL: &str = "manual";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: sqlite:PATH or postgres://…
    #[arg(long, env = "DATABASE_URL", value_name = "URL", default_value = DEFAULT_DATABASE_URL, hide_env_values = true)]
    database_url: String,
    #[command(subcommand)]
    command: Suppressions,
}

#[derive(Debug, Subcommand)]
enum Suppressions {
    /// All of them, with the reason of each
    List {
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Write to this address no more
    Add {
        address: String,
        /// Why; kept with it
        #[arg(long, default_value = "")]
        because: String,
    },
    /// Write to this address again
    Remove { address: String },
}

#[derive(Debug, thiserror::Error)]
enum SuppressionsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    #[error("`{0}` is no mail address; write name@domain")]
    BadAddress(String),
    #[error("{0} is not suppressed; `postroom suppressions list` shows who is")]
    NotListed(String),
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    must_exist(&args.database_url)?;
    let store = Store::open(&args.database_url).await.map_err(CliError::wrong)?;
    let mut out = io::stdout().lock();
    let done = match args.command {
        Suppressions::List { json } => list(&store, json, &mut out).await,
        Suppressions::Add { address, because } => add(&store, &address, &because, &mut out).await,
        Suppressions::Remove { address } => remove(&store, &address, &mut out).await,
    };
    store.close().await;
    match done {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(SuppressionsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ (SuppressionsError::BadAddress(_) | SuppressionsError::NotListed(_))) => {
            Err(CliError::wrong(error))
        }
        other => other.map_err(CliError::failed),
    }
}

async fn list(store: &Store, as_json: bool, out: &mut impl Write) -> Result<(), SuppressionsError> {
    let mut after = String::new();
    loop {
        let mut tx = store.read().await?;
        let page = suppressions::list(&mut tx, &after, PAGE).await?;
        tx.rollback().await?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.address);
        for row in &page {
            write_row(row, as_json, out)?;
        }
    }
}

fn write_row(row: &Suppression, as_json: bool, out: &mut impl Write) -> io::Result<()> {
    let Suppression {
        address,
        cause,
        detail,
        source,
        created,
    } = row;
    if as_json {
        let row = json!({
            "address": address, "cause": cause, "detail": detail, "source": source, "created_ms": created,
        });
        return writeln!(out, "{row}");
    }
    writeln!(out, "{}  {cause}  {}", printable(address), printable(detail))
}

async fn add(
    store: &Store,
    address: &str,
    because: &str,
    out: &mut impl Write,
) -> Result<(), SuppressionsError> {
    if address.parse::<lettre::Address>().is_err() {
        return Err(SuppressionsError::BadAddress(address.to_owned()));
    }
    let mut tx = store.begin().await?;
    let added = suppressions::add(&mut tx, address, MANUAL, because, &by()).await?;
    tx.commit().await?;
    let what = if added {
        "is written to no more"
    } else {
        "was suppressed already"
    };
    writeln!(out, "{address} {what}")?;
    Ok(())
}

async fn remove(store: &Store, address: &str, out: &mut impl Write) -> Result<(), SuppressionsError> {
    let mut tx = store.begin().await?;
    let removed = suppressions::remove(&mut tx, address).await?;
    tx.commit().await?;
    if !removed {
        return Err(SuppressionsError::NotListed(address.to_owned()));
    }
    writeln!(
        out,
        "{address} may be written to again; replay what died meanwhile: postroom dlq list"
    )?;
    Ok(())
}
