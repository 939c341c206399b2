//! `postroom dlq purge`: the retention of letters that were dealt with.

use std::io::Write;
use std::time::{Duration, SystemTime};

use postroom::Store;
use postroom::store::dead_letters;
use serde_json::json;

use super::DlqError;

/// Letters in one transaction: few enough that a worker never waits long for its turn to write.
const BATCH: u32 = 500;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Letters that were replayed or discarded longer ago than this, such as `90d`
    #[arg(long, env = "POSTROOM_DLQ_RETENTION", value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Duration,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(store: &Store, args: &Args, out: &mut impl Write) -> Result<(), DlqError> {
    let before = SystemTime::now()
        .checked_sub(args.older_than)
        .filter(|time| *time >= SystemTime::UNIX_EPOCH)
        .ok_or_else(|| DlqError::Wrong("--older-than reaches back past 1970".to_owned()))?;
    let mut purged = 0;
    loop {
        let letters = dead_letters::purge(store, before, BATCH).await?;
        purged += letters;
        if letters < u64::from(BATCH) {
            break;
        }
    }
    if args.json {
        writeln!(out, "{}", json!({ "purged": purged }))?;
    } else {
        writeln!(out, "{purged} letters purged")?;
    }
    Ok(())
}
