//! The summary of a run, read from the database: so a second run on the same data tells the same story.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use postroom::store::dead_letters;
use postroom::store::deliveries::{self, Tally};
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};
use serde::Serialize;

use crate::store::mails;

/// The demo has a handful; a data folder that was worked in may have more.
const MAX_LETTERS: u32 = 1000;

/// What became of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Mails found in the mailbox, counting those that a changed UIDVALIDITY brought up again once.
    pub mails_seen: i64,
    /// Of these, announced as `inbox.new`.
    pub events_published: i64,
    /// Of these, dead letters, since nothing can read them.
    pub mails_dead_lettered: i64,
    /// Of these, gone before they could be fetched.
    pub mails_gone: i64,
    /// Still to be read; not zero only when the run was cut short.
    pub mails_waiting: i64,
    /// Replies that the SMTP server took.
    pub replies_sent: i64,
    /// Attempts beyond the first of each piece of work.
    pub retries: i64,
    /// Copies of work that was done before.
    pub duplicates_suppressed: i64,
    /// Announced mails that no machine may answer: lists, bounces, out-of-office, our own.
    pub left_unanswered: i64,
    /// The rows of the table, newest first.
    pub dead_letters: Vec<DeadLetterLine>,
    /// The messages on `emails.dlq`.
    pub dead_letters_on_stream: u64,
    /// How long this run took.
    pub millis: u64,
}

/// One dead letter, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetterLine {
    /// Its id, for `postroom dlq show`.
    pub id: String,
    /// `dead`, or what has become of it since.
    pub state: String,
    /// The handler it died in.
    pub handler: String,
    /// One word.
    pub reason: String,
    /// The last error.
    pub error: String,
}

impl Report {
    /// Reads the database; the rest is told.
    pub(super) async fn read(store: &Store, on_stream: u64, took: Duration) -> Result<Self, StoreError> {
        let mut tx = store.read().await?;
        let mails = mails::count(&mut tx).await?;
        let tally = deliveries::tally(&mut tx).await?;
        let letters = dead_letters::list(&mut tx, None, MAX_LETTERS).await?;
        tx.rollback().await?;
        let dead_letters = letters
            .into_iter()
            .map(|row| DeadLetterLine {
                id: row.id,
                state: row.state,
                handler: row.handler,
                reason: row.reason,
                error: row.error,
            })
            .collect();
        Ok(Self::of(&mails, &tally, dead_letters, on_stream, took))
    }

    fn of(
        mails: &BTreeMap<String, i64>,
        tally: &[Tally],
        dead_letters: Vec<DeadLetterLine>,
        on_stream: u64,
        took: Duration,
    ) -> Self {
        let count = |state: &str| mails.get(state).copied().unwrap_or(0);
        let of = |scope: &str, state: &str| -> i64 {
            tally
                .iter()
                .filter(|t| t.scope == scope && (state == "*" || t.state == state))
                .map(|t| t.deliveries)
                .sum()
        };
        let answered = of("auto-reply", "*").min(of("compose-reply", "*"));
        Self {
            // A carried mail is one that was seen before, under another UID.
            mails_seen: mails.values().sum::<i64>() - count("carried"),
            events_published: count("published"),
            mails_dead_lettered: count("dead"),
            mails_gone: count("gone"),
            mails_waiting: count("discovered"),
            replies_sent: of("send", "done"),
            retries: tally.iter().map(|t| t.retries).sum(),
            duplicates_suppressed: tally.iter().map(|t| t.duplicates).sum(),
            left_unanswered: of("auto-reply", "done") - answered,
            dead_letters,
            dead_letters_on_stream: on_stream,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Whether every mail is accounted for, and every dead letter in both places.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let accounted = self.events_published + self.mails_dead_lettered + self.mails_gone;
        self.mails_waiting == 0
            && self.mails_seen == accounted
            && self.dead_letters_on_stream >= self.dead_letters.len() as u64
    }

    /// For a person who sees postroom for the first time. `database` is where to look next.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn print(&self, database: &str, out: &mut impl Write) -> io::Result<()> {
        let line = |out: &mut dyn Write, count: i64, what: &str| writeln!(out, "{count:6}  {what}");
        writeln!(
            out,
            "\nThe mailbox is empty of work after {:.1} s.\n",
            Duration::from_millis(self.millis).as_secs_f64()
        )?;
        line(out, self.mails_seen, "mails seen in the mailbox")?;
        line(out, self.events_published, "  published as events (inbox.new)")?;
        line(
            out,
            self.mails_dead_lettered,
            "  dead-lettered, since nothing can read them",
        )?;
        if self.mails_gone > 0 {
            line(out, self.mails_gone, "  gone before they could be fetched")?;
        }
        line(out, self.replies_sent, "replies sent, each once")?;
        line(
            out,
            self.left_unanswered,
            "mails left unanswered: lists, bounces, out-of-office, our own",
        )?;
        line(out, self.duplicates_suppressed, "duplicates suppressed")?;
        line(out, self.retries, "retries")?;
        line(
            out,
            i64::try_from(self.dead_letters.len()).unwrap_or(i64::MAX),
            "dead letters, in SQL and on emails.dlq:",
        )?;
        for letter in &self.dead_letters {
            let error: String = letter
                .error
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            writeln!(out, "        {} ({}): {error}", letter.handler, letter.reason)?;
        }
        next_steps(database, out)
    }
}

/// The lines to run next, as they work on this machine.
fn next_steps(database: &str, out: &mut impl Write) -> io::Result<()> {
    let select = "select id, handler, reason, error from dead_letters";
    let postroom = std::env::args().next().unwrap_or_else(|| "postroom".to_owned());
    let mut dlq = format!("{postroom} dlq");
    writeln!(out, "\nLook at them:")?;
    match database.strip_prefix("sqlite:") {
        Some(path) => {
            writeln!(out, "  sqlite3 {} '{select}'", path.trim_start_matches("//"))?;
            if database != DEFAULT_DATABASE_URL {
                dlq = format!("{dlq} --database-url {database}");
            }
        }
        // The URL may hold a password, and is in the environment or was typed just now.
        None => writeln!(out, "  psql \"$DATABASE_URL\" -c '{select}'")?,
    }
    writeln!(out, "  {dlq} list")?;
    writeln!(out, "Send one on, once it is mended:\n  {dlq} replay ID")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mails: &[(&str, i64)]) -> Report {
        let mails = mails
            .iter()
            .map(|(state, count)| ((*state).to_owned(), *count))
            .collect();
        Report::of(&mails, &[], Vec::new(), 0, Duration::ZERO)
    }

    #[test]
    fn a_run_adds_up_when_every_mail_has_one_end() {
        assert!(report(&[("published", 40), ("dead", 2), ("gone", 1)]).adds_up());
        assert!(report(&[("published", 40), ("carried", 40)]).adds_up());
        assert!(!report(&[("published", 40), ("discovered", 1)]).adds_up());
    }
}
