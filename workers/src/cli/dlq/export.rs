//! `postroom dlq export`: whole letters with their trails as JSON lines, however many there are.

use std::io::Write;

use postroom::Store;
use postroom::store::dead_letters;

use super::DlqError;
use super::letter::with_story;
use super::select::FilterArgs;

/// Letters in memory at a time; each may be as large as a message can be, some 1 MiB.
const PAGE: u32 = 32;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// One JSON object a line, as it is in any case
    #[arg(long, hide = true)]
    json: bool,
}

pub(super) async fn run(store: &Store, args: &Args, out: &mut impl Write) -> Result<(), DlqError> {
    let filter = args.filter.filter();
    let mut tx = store.read().await?;
    let extent = dead_letters::extent(&mut tx, &filter).await?;
    tx.rollback().await?;
    let mut after = String::new();
    loop {
        // A transaction for each page: a slow reader must not keep the database from cleaning up.
        let mut tx = store.read().await?;
        let page = dead_letters::page(&mut tx, &filter, &extent, &after, PAGE).await?;
        let mut lines = Vec::with_capacity(page.len());
        for letter in &page {
            let trail = dead_letters::trail(&mut tx, &letter.id).await?;
            let rounds = dead_letters::rounds(&mut tx, &letter.id).await?;
            lines.push(with_story(letter, &rounds, &trail));
        }
        tx.rollback().await?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
}
