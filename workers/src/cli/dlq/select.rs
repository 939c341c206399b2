//! Which letters a command is about: the filter that all share, and what acts on many of them.

use std::time::SystemTime;

use clap::ValueEnum;
use jiff::Timestamp;
use postroom::store::dead_letters::{Filter, Reason, time_text};

use super::DlqError;

#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Only letters in this state
    #[arg(long, value_enum, default_value_t = State::Dead)]
    state: State,
    /// Only letters that died in this handler
    #[arg(long, value_name = "ID")]
    handler: Option<String>,
    /// Only letters that died for this reason
    #[arg(long, value_name = "WORD", value_parser = Reason::ALL.map(Reason::as_str))]
    reason: Option<String>,
    /// Only letters of this error, as `dlq groups` prints it
    #[arg(long, value_name = "FINGERPRINT")]
    group: Option<String>,
    /// Only letters that came on this subject
    #[arg(long)]
    subject: Option<String>,
    /// Only letters that died then or later: an age such as `2h`, a date, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<String>,
    /// Only letters that died before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<String>,
    /// Only letters about this mail
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Dead,
    Replaying,
    Replayed,
    Discarded,
    All,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Filter {
        let state = match self.state {
            State::Dead => Some("dead"),
            State::Replaying => Some("replaying"),
            State::Replayed => Some("replayed"),
            State::Discarded => Some("discarded"),
            State::All => None,
        };
        Filter {
            state: state.map(str::to_owned),
            handler: self.handler.clone(),
            reason: self.reason.clone(),
            group: self.group.clone(),
            subject: self.subject.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            message_id: self.message_id.clone(),
        }
    }

    /// Whether it leaves any dead letter out.
    fn narrows(&self) -> bool {
        let all = Filter {
            state: self.filter().state,
            ..Filter::default()
        };
        self.filter() != all
    }
}

/// The letters that a command acts on.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// As `dlq list` prints them; or give a filter
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Every dead letter, or every one that the filter matches
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Only say how many letters it would be
    #[arg(long)]
    pub(super) dry_run: bool,
    /// At most so many letters, the oldest first
    #[arg(long, value_name = "N")]
    pub(super) cap: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    Ids(Vec<String>),
    Matching(Filter),
}

impl Selection {
    /// Nobody replays or discards everything by leaving something out.
    pub(super) fn chosen(&self) -> Result<Chosen, DlqError> {
        let wrong = |text: &str| Err(DlqError::Wrong(text.to_owned()));
        if self.filter.state != State::Dead {
            return wrong("only dead letters can be acted on; leave --state out");
        }
        match (self.ids.is_empty(), self.filter.narrows() || self.all) {
            (false, false) => Ok(Chosen::Ids(self.ids.clone())),
            (true, true) => Ok(Chosen::Matching(self.filter.filter())),
            (false, true) => wrong("give either ids or a filter, not both"),
            (true, false) => wrong(
                "say which letters: ids, a filter such as --group FINGERPRINT, or --all for everything that is dead",
            ),
        }
    }
}

/// An age, a date or a time, as the table tells it.
fn moment(text: &str) -> Result<String, String> {
    let age = humantime::parse_duration(text)
        .ok()
        .and_then(|age| SystemTime::now().checked_sub(age));
    // The table's own years have four digits.
    let time = || {
        let time: Timestamp = text
            .parse()
            .or_else(|_| format!("{text}T00:00:00Z").parse())
            .ok()?;
        (time >= Timestamp::UNIX_EPOCH).then(|| SystemTime::from(time))
    };
    age.filter(|age| *age >= SystemTime::UNIX_EPOCH)
        .or_else(time)
        .map(time_text)
        .ok_or_else(|| {
            "give an age such as `2h` or `7d`, a date such as `2026-11-23`, or a time such as `2026-11-23T08:00:00Z`"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_a_date_or_a_time() {
        let check = |text, expect: &str| assert_eq!(moment(text).as_deref(), Ok(expect), "{text}");
        check("2026-11-23", "2026-11-23T00:00:00.000Z");
        check("2026-11-23T08:00:00Z", "2026-11-23T08:00:00.000Z");
        check("2026-11-23T08:00:00.5+02:00", "2026-11-23T06:00:00.500Z");
        let hour_ago = moment("1h").expect("an age");
        assert!(hour_ago < time_text(SystemTime::now()) && hour_ago.len() == 24);
        for wrong in [
            "",
            "yesterday",
            "-5",
            "1000000000000y",
            "1969-12-31",
            "2026-13-01",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
