//! `postroom dlq edit`: another payload for a letter, and the difference shown.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use postroom::Store;
use postroom::store::dead_letters::{self, Edit};
use serde::de::IgnoredAny;
use serde_json::json;
use similar::TextDiff;

use super::letter::readable;
use super::{DlqError, by, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As `dlq list` prints it
    id: String,
    /// The new payload, which must be JSON; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Only show the difference
    #[arg(long)]
    dry_run: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(store: &Store, args: &Args, out: &mut impl Write) -> Result<(), DlqError> {
    let id = &args.id;
    let mut tx = store.read().await?;
    let found = dead_letters::find(&mut tx, id).await?;
    tx.rollback().await?;
    let letter = found.ok_or_else(|| DlqError::NotFound(id.clone()))?;
    let payload = read(&args.file)?;
    serde_json::from_slice::<IgnoredAny>(&payload)
        .map_err(|error| DlqError::Wrong(format!("the new payload is no JSON: {error}")))?;
    let diff = difference(&letter.payload, &payload);
    let changed = payload.trim_ascii() != letter.payload.trim_ascii();
    let edited = if changed && !args.dry_run {
        let wrong = |text: String| Err(DlqError::Wrong(text));
        match dead_letters::edit(store, &letter, &payload, &by()).await? {
            Edit::Edited => true,
            Edit::NotFound => return Err(DlqError::NotFound(id.clone())),
            Edit::Not(state) => {
                let id = id.clone();
                return Err(DlqError::NotDead {
                    id,
                    state,
                    act: "edit",
                });
            }
            Edit::Stale => {
                return wrong(format!(
                    "somebody else has edited {id} just now; look at it again"
                ));
            }
            Edit::NotJson(error) => return wrong(format!("the new payload is no JSON: {error}")),
            Edit::TooLarge(size) => {
                return wrong(format!("the new payload has {size} bytes; no broker takes that"));
            }
        }
    } else {
        false
    };
    if args.json {
        writeln!(out, "{}", json!({ "id": id, "edited": edited, "diff": diff }))?;
        return Ok(());
    }
    for line in diff.lines() {
        writeln!(out, "{}", printable(line))?;
    }
    match (changed, edited) {
        (false, _) => writeln!(out, "nothing differs; nothing was done")?,
        (true, false) => writeln!(out, "\nnothing was done; without --dry-run it is")?,
        (true, true) => writeln!(out, "\n{id}  edited; send it on with: postroom dlq replay {id}")?,
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, DlqError> {
    let mut payload = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut payload).map(|_| ())
    } else {
        std::fs::read(file).map(|bytes| payload = bytes)
    };
    read.map_err(|error| {
        DlqError::Wrong(format!(
            "the new payload {} can't be read: {error}",
            file.display()
        ))
    })?;
    Ok(payload)
}

/// Line by line, both laid out alike, so that only what matters differs.
fn difference(old: &[u8], new: &[u8]) -> String {
    TextDiff::from_lines(readable(old), readable(new))
        .unified_diff()
        .header("payload", "edited")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_about_content() {
        let diff = difference(br#"{"to":"ann","n":1}"#, b"{\"n\": 1,\n\"to\": \"bob\"}\n");
        assert_eq!(
            diff,
            "--- payload\n+++ edited\n@@ -1,4 +1,4 @@\n {\n   \"n\": 1,\n-  \"to\": \"ann\"\n+  \"to\": \"bob\"\n }\n"
        );
        assert_eq!(difference(b"{\"a\":1}", b"{ \"a\": 1 }"), "");
        assert!(difference(b"\xff\n", b"{}").contains("-\\xff\\n\n+{}"));
    }
}
