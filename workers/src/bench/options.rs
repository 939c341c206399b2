//! What is asked of a benchmark, and within which bounds.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// A count for each is kept in memory.
pub(super) const MAX_MESSAGES: usize = 10_000_000;
/// Each run adds to the time; a median of more says nothing new.
pub(super) const MAX_RUNS: usize = 100;
/// A copy needs an original in the half before it.
pub(super) const MAX_DUPLICATES: u8 = 50;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Deliveries of each run, copies included.
    pub messages: usize,
    /// How many of a hundred are copies of an earlier one.
    pub duplicates: Percent,
    /// What the handler does.
    pub work: Work,
    /// Messages at a time.
    pub concurrency: u16,
    /// How often; the report tells the median.
    pub runs: usize,
    /// Messages a second while the latency is taken; by default half of what the drain did.
    pub rate: Option<u32>,
    /// Where a fresh folder for broker and SQLite is made, and removed.
    pub dir: PathBuf,
    /// Somebody else's broker instead of an own one.
    pub nats_url: Option<String>,
    /// Somebody else's database instead of SQLite in the folder.
    pub database_url: Option<String>,
    /// The report as JSON.
    pub json: bool,
}

/// What the handler does with each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Nothing: what is measured is everything around it.
    Noop,
    /// Waits a millisecond, as for somebody else's answer.
    #[serde(rename = "1ms")]
    Millisecond,
}

impl Work {
    pub(super) async fn perform(self) {
        match self {
            Self::Noop => {}
            Self::Millisecond => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// A share, such as `10%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Percent(u8);

impl Percent {
    /// So many of `whole`, rounded down.
    #[must_use]
    pub const fn of(self, whole: usize) -> usize {
        whole * self.0 as usize / 100
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not a share, or too large a one.
    #[error("`{0}` is no share of copies; give 0% to {MAX_DUPLICATES}%, such as 10%")]
    Percent(String),
    /// A number is out of range.
    #[error("--{field} is {value}; give 1 to {most}")]
    Number {
        /// The flag.
        field: &'static str,
        /// What it holds.
        value: usize,
        /// The most that it may hold.
        most: usize,
    },
}

impl FromStr for Percent {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let number = text.strip_suffix('%').unwrap_or(text).parse();
        match number {
            Ok(percent) if percent <= MAX_DUPLICATES => Ok(Self(percent)),
            _ => Err(OptionsError::Percent(text.to_owned())),
        }
    }
}

impl BenchOptions {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Names the flag, its value, and what would be right.
    pub fn check(&self) -> Result<(), OptionsError> {
        let within = |field, value, most| {
            let is_right = (1..=most).contains(&value);
            is_right
                .then_some(())
                .ok_or(OptionsError::Number { field, value, most })
        };
        within("messages", self.messages, MAX_MESSAGES)?;
        within(
            "concurrency",
            usize::from(self.concurrency),
            usize::from(u16::MAX),
        )?;
        within("runs", self.runs, MAX_RUNS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_up_to_its_limit() {
        let check = |text: &str, expect: Option<u8>| {
            assert_eq!(text.parse().ok(), expect.map(Percent), "{text}");
        };
        check("10%", Some(10));
        check("0", Some(0));
        check("50%", Some(50));
        check("51%", None);
        check("many", None);
        assert_eq!(Percent(10).of(999), 99);
    }

    #[test]
    fn numbers_are_held_at_their_limits() {
        let options = |messages, runs| BenchOptions {
            messages,
            duplicates: Percent(0),
            work: Work::Noop,
            concurrency: 1,
            runs,
            rate: None,
            dir: PathBuf::new(),
            nats_url: None,
            database_url: None,
            json: false,
        };
        assert_eq!(options(MAX_MESSAGES, MAX_RUNS).check(), Ok(()));
        for (wrong, field) in [
            (options(MAX_MESSAGES + 1, 1), "messages"),
            (options(0, 1), "messages"),
            (options(1, MAX_RUNS + 1), "runs"),
        ] {
            let said = wrong.check().unwrap_err().to_string();
            assert!(said.starts_with(&format!("--{field} is ")), "{said}");
        }
    }
}
