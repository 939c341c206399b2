//! What each way to fail means for the mail.

use std::time::Duration;

use postroom::store::dead_letters::{DeadLetter, Letter, Reason};
use postroom::{CxError, HandlerError, Verdict};

use super::press::PressError;
use super::smtp::SmtpError;
use crate::ingest::imap::ImapError;

/// A relay that broke off is asked again after this; the mail waits, and is not given up for it.
pub(super) const TROUBLE_PAUSE: Duration = Duration::from_secs(60);

/// Why a mail was not sent, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Press(#[from] PressError),
    #[error("no account is called {0:?} here; add it to the configuration, then replay")]
    UnknownAccount(String),
    #[error("{trouble}{}", and_earlier(*.earlier))]
    Smtp {
        #[source]
        trouble: SmtpError,
        /// An earlier try ended without an answer after the final dot.
        earlier: bool,
        /// How long to wait, where the mail is not to blame.
        pause: Duration,
    },
    /// Another mail of the account found the server shut, and this one did not even knock.
    #[error("the mail waits, since the account's server lets nobody in: {why}{}", and_earlier(*.earlier))]
    Shut {
        wait: Duration,
        why: String,
        earlier: bool,
    },
    /// The account sends no faster than it was told to.
    #[error("the mail waits for its turn: {why}")]
    Paced { wait: Duration, why: &'static str },
    /// The recipient is on the list of those that are not written to.
    #[error(
        "{address} is suppressed ({cause}: {detail}); to write to it again run `postroom suppressions remove {address}`, \
         then replay{}", and_earlier(*.earlier)
    )]
    Suppressed {
        address: String,
        cause: String,
        detail: String,
        earlier: bool,
    },
    /// The relay has the mail, and nothing says so: it may go out once more.
    #[error("the relay took the mail, but that could not be written down: {0}")]
    Untold(#[source] CxError),
    /// The folder that may know what became of an earlier try can't be looked into.
    #[error(
        "a try ended without an answer after the final dot, and the folder of what was sent can't be looked into: {trouble}"
    )]
    Unseen { trouble: ImapError },
    /// The policy of the account is to leave this to a person.
    #[error("the relay may have the mail: a try ended without an answer after the final dot")]
    Held,
    #[error("given up after five days: {why}{}", and_earlier(*.earlier))]
    Expired { why: String, earlier: bool },
    #[error(transparent)]
    Cx(#[from] CxError),
}

fn and_earlier(earlier: bool) -> &'static str {
    if earlier {
        "; an earlier try ended without an answer, so the mail may have arrived"
    } else {
        ""
    }
}

const HELD: &str = "held";
const UNKNOWN: &str = "unknown";
const AFTER_UNKNOWN: &str = "after_unknown";
pub(super) const REFUSED: &str = "refused";

impl SendError {
    pub(super) fn of(trouble: SmtpError) -> Self {
        Self::Smtp {
            trouble,
            earlier: false,
            pause: TROUBLE_PAUSE,
        }
    }
}

impl HandlerError for SendError {
    const CAN_BE_AMBIGUOUS: bool = true;

    fn verdict(&self) -> Verdict {
        match self {
            Self::Press(PressError::Cx(error)) => error.verdict(),
            Self::Press(error) if error.is_transient() => Verdict::Retry { after: None },
            Self::Press(_) | Self::Held | Self::Expired { .. } | Self::Suppressed { .. } => {
                Verdict::DeadLetter
            }
            Self::UnknownAccount(_) => Verdict::Retry { after: None },
            Self::Untold(_) => Verdict::Ambiguous,
            Self::Smtp { trouble, .. } if trouble.is_unknown() => Verdict::Ambiguous,
            Self::Smtp { trouble, .. } if trouble.is_permanent() => Verdict::DeadLetter,
            Self::Smtp { trouble, pause, .. } if waits_for_ever(trouble) => Verdict::Snooze(*pause),
            Self::Shut { wait, .. } => Verdict::Snooze(*wait),
            Self::Unseen { .. } => Verdict::Snooze(TROUBLE_PAUSE),
            Self::Smtp { trouble, .. } => Verdict::Retry {
                after: trouble.asked_wait(),
            },
            Self::Paced { wait, .. } => Verdict::Snooze(*wait),
            Self::Cx(error) => error.verdict(),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Press(PressError::Message(_)) => "message",
            Self::Press(PressError::Template(_)) => "template",
            Self::Press(PressError::File { .. }) => "attachment",
            Self::Press(PressError::Dkim(_)) => "dkim",
            Self::Press(PressError::Cx(error)) => error.class(),
            Self::UnknownAccount(_) => "unknown_account",
            Self::Smtp { trouble, .. } if trouble.is_unknown() => UNKNOWN,
            Self::Smtp { earlier: true, .. }
            | Self::Shut { earlier: true, .. }
            | Self::Suppressed { earlier: true, .. }
            | Self::Expired { earlier: true, .. } => AFTER_UNKNOWN,
            Self::Smtp { trouble, .. } if trouble.is_account_trouble() => "account",
            Self::Smtp { trouble, .. } if trouble.is_permanent() => REFUSED,
            Self::Smtp { trouble, .. } if trouble.code().is_some() => "deferred",
            Self::Smtp { .. } => "relay",
            Self::Shut { .. } => "shut",
            Self::Paced { .. } => "paced",
            Self::Untold(_) => UNKNOWN,
            Self::Unseen { .. } => AFTER_UNKNOWN,
            Self::Held => HELD,
            Self::Suppressed { .. } => "suppressed",
            Self::Expired { .. } => "expired",
            Self::Cx(error) => error.class(),
        }
    }
}

/// Nothing is wrong with the mail, so it loses no attempt: the account is not let in, or nobody answered.
pub(super) fn waits_for_ever(trouble: &SmtpError) -> bool {
    let silent = trouble.code().is_none() && !trouble.is_unknown() && !trouble.is_permanent();
    silent || trouble.is_account_trouble() || trouble.is_host_trouble()
}

/// Whether a mail that is about to be dead-lettered may have arrived, so that nobody may call it failed.
pub(super) fn is_undecided(letter: &Letter) -> bool {
    matches!(
        letter.reason,
        Reason::UnknownEffect | Reason::KeyReused | Reason::Poison
    ) || [HELD, AFTER_UNKNOWN].contains(&letter.error_class.as_str())
}

/// Whether the mail of this letter may have arrived before it died. A replay of it is a second copy then, and has to
/// say so: the ledger of the replay begins anew and does not know.
pub(super) fn may_have_arrived(letter: &DeadLetter) -> bool {
    /// Failures that leave it open what the relay has; the framework's own words among them.
    const OPEN: [&str; 8] = [
        HELD,
        UNKNOWN,
        AFTER_UNKNOWN,
        "timeout",
        "panic",
        "crash",
        "lease",
        "store",
    ];
    let by_reason = [Reason::UnknownEffect, Reason::Poison]
        .iter()
        .any(|reason| letter.reason == reason.as_str());
    let by_class = OPEN.contains(&letter.error_class.as_str());
    // History is JSON of our own making: a class is a whole quoted word in it.
    let by_history = OPEN
        .iter()
        .any(|class| letter.history.contains(&format!("\"class\":\"{class}\"")));
    by_reason || by_class || by_history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::smtp::Phase;

    #[test]
    fn what_becomes_of_a_mail_that_was_not_sent() {
        let refused = |phase, code| {
            SendError::of(SmtpError::Refused {
                phase,
                code,
                enhanced: None,
                text: String::new(),
            })
        };
        let lost = |phase| {
            SendError::of(SmtpError::Lost {
                phase,
                what: String::new(),
            })
        };
        let after = |error| match error {
            SendError::Smtp { trouble, pause, .. } => SendError::Smtp {
                trouble,
                earlier: true,
                pause,
            },
            other => other,
        };
        let suppressed = |earlier| SendError::Suppressed {
            address: "a@example.org".into(),
            cause: "disabled".into(),
            detail: String::new(),
            earlier,
        };
        let retry = Verdict::Retry { after: None };
        let snooze = Verdict::Snooze(TROUBLE_PAUSE);
        for (error, verdict, class) in [
            (refused(Phase::Rcpt, 550), Verdict::DeadLetter, "refused"),
            (refused(Phase::Rcpt, 450), retry, "deferred"),
            (refused(Phase::Greeting, 421), snooze, "deferred"),
            (refused(Phase::Rcpt, 421), snooze, "deferred"),
            (refused(Phase::Auth, 535), snooze, "account"),
            (refused(Phase::Auth, 454), snooze, "account"),
            (lost(Phase::Connect), snooze, "relay"),
            (lost(Phase::Content), snooze, "relay"),
            (
                after(refused(Phase::Rcpt, 550)),
                Verdict::DeadLetter,
                "after_unknown",
            ),
            (after(lost(Phase::Connect)), snooze, "after_unknown"),
            (
                SendError::of(SmtpError::Unknown { what: String::new() }),
                Verdict::Ambiguous,
                "unknown",
            ),
            (
                SendError::Untold(CxError::LeaseLost),
                Verdict::Ambiguous,
                "unknown",
            ),
            (SendError::Held, Verdict::DeadLetter, "held"),
            (suppressed(false), Verdict::DeadLetter, "suppressed"),
            // A lost verdict, and then the report about that very mail: nobody may call it failed.
            (suppressed(true), Verdict::DeadLetter, "after_unknown"),
        ] {
            assert_eq!((error.verdict(), error.class()), (verdict, class), "{error}");
        }
    }
}
