//! On what terms a message is published: when, and after which others.

use std::time::{Duration, SystemTime};

use crate::store::dead_letters::time_text;

/// How far ahead a message can be published. What is due later than in a year is business data, which belongs in a table
/// of its own and on a [schedule](crate::Cron): nobody would find it among the messages.
pub const MAX_AHEAD: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Bytes of an ordering key: it is part of an index, and longer ones say nothing more.
pub const MAX_ORDERED_BY: usize = 256;

/// When a message is published, and in which order. The default: at once, in no order.
///
/// ```no_run
/// # use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, postroom::Message)]
/// # #[message(subject = "invoices.remind", id = "invoices.remind.v1")]
/// # struct Remind { invoice: u64 }
/// # async fn example(cx: &mut postroom::Cx<'_>) -> Result<(), postroom::CxError> {
/// use postroom::Terms;
///
/// let terms = Terms::default().after(Duration::from_secs(3 * 24 * 3600)).ordered_by("invoice 17");
/// cx.publish_on(&terms, &Remind { invoice: 17 }).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    pub(crate) due: Option<Due>,
    pub(crate) ordered_by: Option<String>,
}

/// When a message is due. The database's clock decides when that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Then; at once if that is past.
    At(SystemTime),
    /// So long after the row was written, which a delivery does at its end.
    After(Duration),
}

/// Terms that can't be kept. Each says which of the terms, what it was given, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A time that is too far ahead.
    #[error("`at` is {at}, and now it is {now}: give a time that is at most 366 days ahead")]
    At {
        /// As given: RFC 3339, UTC, as far as that reaches.
        at: String,
        /// By this process's clock.
        now: String,
    },
    /// A delay that is too long.
    #[error("`after` is {0:?}: give a delay of at most 366 days")]
    After(Duration),
    /// An ordering key that is empty, too long, or holds a NUL, which no database keeps in a text.
    #[error("`ordered_by` is `{0}`: give a key of 1 to {MAX_ORDERED_BY} bytes without NUL")]
    OrderedBy(String),
}

impl Terms {
    /// Publishes it then, or at once if that is past.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.due = Some(Due::At(time));
        self
    }

    /// Publishes it so long after it was committed.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.due = Some(Due::After(delay));
        self
    }

    /// Of all messages with the same key, each reaches the broker after those whose transactions committed before its own.
    /// One that is due later takes its place when its time has come.
    #[must_use]
    pub fn ordered_by(mut self, key: impl Into<String>) -> Self {
        self.ordered_by = Some(key.into());
        self
    }

    pub(crate) fn check(&self, now: SystemTime) -> Result<(), TermsError> {
        match self.due {
            Some(Due::At(at)) if at.duration_since(now).is_ok_and(|ahead| ahead > MAX_AHEAD) => {
                return Err(TermsError::At {
                    at: far_text(at),
                    now: time_text(now),
                });
            }
            Some(Due::After(delay)) if delay > MAX_AHEAD => return Err(TermsError::After(delay)),
            _ => {}
        }
        match &self.ordered_by {
            Some(key) if key.is_empty() || key.len() > MAX_ORDERED_BY || key.contains('\0') => {
                let end = key.floor_char_boundary(MAX_ORDERED_BY + 1);
                Err(TermsError::OrderedBy(key[..end].replace('\0', "\u{fffd}")))
            }
            _ => Ok(()),
        }
    }
}

/// A text of any time: those after the year 9999 have none in RFC 3339.
fn far_text(time: SystemTime) -> String {
    const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
    if time < SystemTime::UNIX_EPOCH + YEAR_10000 {
        time_text(time)
    } else {
        "after the year 9999".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const MOMENT: Duration = Duration::from_millis(1);

    fn said(terms: &Terms) -> String {
        terms.check(NOW).expect_err("refused").to_string()
    }

    #[test]
    fn terms_are_kept_up_to_their_limits_and_refused_one_past_them() {
        let good = [
            Terms::default(),
            Terms::default().at(NOW + MAX_AHEAD),
            Terms::default().at(NOW - MAX_AHEAD * 20),
            Terms::default().after(MAX_AHEAD),
            Terms::default().ordered_by("k".repeat(MAX_ORDERED_BY)),
        ];
        for terms in good {
            assert_eq!(terms.check(NOW), Ok(()), "{terms:?}");
        }
        assert_eq!(
            said(&Terms::default().at(NOW + MAX_AHEAD + MOMENT)),
            "`at` is 1971-01-02T00:00:00.001Z, and now it is 1970-01-01T00:00:00.000Z: \
             give a time that is at most 366 days ahead"
        );
        assert!(said(&Terms::default().at(NOW + MAX_AHEAD * 10_000)).contains("after the year 9999"));
        assert_eq!(
            said(&Terms::default().after(MAX_AHEAD + MOMENT)),
            "`after` is 31622400.001s: give a delay of at most 366 days"
        );
        for key in [String::new(), "k".repeat(MAX_ORDERED_BY + 1), "a\0b".to_owned()] {
            let said = said(&Terms::default().ordered_by(key));
            assert!(
                said.ends_with("give a key of 1 to 256 bytes without NUL"),
                "{said}"
            );
        }
    }
}
