//! `postroom dlq list` and `groups`: letters, or their causes, one line each.

use std::io::Write;

use postroom::Store;
use postroom::store::dead_letters;
use serde_json::json;

use super::letter::as_json;
use super::select::FilterArgs;
use super::{DlqError, hints, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(store: &Store, args: &Args, out: &mut impl Write) -> Result<(), DlqError> {
    let mut tx = store.read().await?;
    let letters = dead_letters::newest(&mut tx, &args.filter.filter(), args.limit).await?;
    if args.json {
        for letter in &letters {
            writeln!(out, "{}", as_json(letter))?;
        }
        return Ok(());
    }
    if letters.is_empty() {
        writeln!(out, "No dead letters.")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:36}  {:24}  {:9}  {:14}  {:16}  ERROR",
        "ID", "DIED AT", "STATE", "REASON", "HANDLER"
    )?;
    for letter in &letters {
        writeln!(
            out,
            "{:36}  {:24}  {:9}  {:14}  {:16}  {}",
            letter.id,
            letter.died_at,
            letter.state,
            letter.reason,
            letter.handler,
            printable(&letter.error)
        )?;
    }
    hints(
        out,
        &[
            ("show ID", "the whole letter"),
            ("replay ID", "send it once more"),
        ],
    )
}

pub(super) async fn groups(store: &Store, args: &Args, out: &mut impl Write) -> Result<(), DlqError> {
    let mut tx = store.read().await?;
    let groups = dead_letters::groups(&mut tx, &args.filter.filter(), args.limit).await?;
    if args.json {
        for group in &groups {
            writeln!(out, "{}", json!(group))?;
        }
        return Ok(());
    }
    if groups.is_empty() {
        writeln!(out, "No dead letters.")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:16}  {:>7}  {:14}  {:16}  {:24}  {:24}  {:36}  ERROR",
        "GROUP", "LETTERS", "REASON", "HANDLER", "OLDEST", "NEWEST", "EXAMPLE"
    )?;
    for group in &groups {
        writeln!(
            out,
            "{:16}  {:>7}  {:14}  {:16}  {:24}  {:24}  {:36}  {}",
            group.error_fingerprint,
            group.letters,
            group.reason,
            group.handler,
            group.oldest,
            group.newest,
            group.example,
            printable(&group.error)
        )?;
    }
    hints(
        out,
        &[
            ("show EXAMPLE", "one letter of the group"),
            ("replay --group GROUP", "send all of it once more"),
        ],
    )
}
