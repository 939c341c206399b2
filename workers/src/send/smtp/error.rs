//! What an SMTP transaction can end with, short of success, and the questions that callers ask about it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use crate::login::OAuthError;
use crate::tls::TlsError;

/// Where in the transaction something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    Greeting,
    Auth,
    Mail,
    Rcpt,
    Data,
    Content,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Content => "the content",
        })
    }
}

/// The mail was not accepted, or nobody can tell.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The server said no. It does not have the mail.
    #[error("the relay answered {phase} with {code} {text}")]
    Refused {
        phase: Phase,
        code: u16,
        enhanced: Option<String>,
        text: String,
    },
    /// The connection failed before the final dot was written. The server does not have the mail.
    #[error("the connection failed at {phase}: {what}")]
    Lost { phase: Phase, what: String },
    /// The connection failed after the final dot. The server may have the mail.
    #[error("no answer after the final dot: {what}")]
    Unknown { what: String },
    /// The server lacks something this mail cannot do without.
    #[error("the relay does not offer {0}")]
    NotOffered(&'static str),
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no token to log in with.
    #[error(transparent)]
    Token(#[from] OAuthError),
}

impl SmtpError {
    /// The mail itself was refused for good; the next try would end the same.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                (500..600).contains(code) && !self.is_account_trouble() && *code != 503
            }
            Self::NotOffered(what) => *what == SMTPUTF8,
            Self::Lost { .. } | Self::Unknown { .. } | Self::Tls(_) | Self::Token(_) => false,
        }
    }

    /// The server may or may not have the mail.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// The account is not let in: nothing is wrong with the mail, and no mail of this account will get through.
    pub fn is_account_trouble(&self) -> bool {
        match self {
            Self::Refused { phase, code, .. } => {
                *phase == Phase::Auth || matches!(code, 530 | 534 | 535 | 538)
            }
            Self::NotOffered(what) => *what != SMTPUTF8,
            Self::Token(error) => error.is_refused(),
            _ => false,
        }
    }

    /// The server is away or busy: it did not come to speak of this mail or account, and others would fare no better.
    pub fn is_host_trouble(&self) -> bool {
        match self {
            Self::Refused { phase, code, .. } => *phase == Phase::Greeting || *code == 421,
            Self::Lost { phase, .. } => matches!(phase, Phase::Connect | Phase::Greeting | Phase::Auth),
            Self::Tls(_) => true,
            Self::Token(error) => !error.is_refused(),
            Self::Unknown { .. } | Self::NotOffered(_) => false,
        }
    }

    /// What a connection that has waited too long says to its next mail.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Lost { phase, .. } => *phase == Phase::Mail,
            Self::Refused { phase, code, .. } => *phase == Phase::Mail && *code == 421,
            _ => false,
        }
    }

    /// The server answered with a code that speaks of this mail or account, rather than of itself or of the line.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// How long the server asks to wait, where it says so: greylisting does.
    pub fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Refused {
                code: 400..500, text, ..
            } => wait_in(text),
            _ => None,
        }
    }

    /// The enhanced status code (RFC 3463), where the server gave one.
    pub fn enhanced(&self) -> Option<&str> {
        match self {
            Self::Refused { enhanced, .. } => enhanced.as_deref(),
            _ => None,
        }
    }
}

/// The extension without which an international address cannot be sent to.
pub(super) const SMTPUTF8: &str = "SMTPUTF8";

/// The server's own negative reply, if that is what failed.
pub(super) fn refusal(phase: Phase, error: &lettre::transport::smtp::Error) -> Option<SmtpError> {
    let code = u16::from(error.status()?);
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    Some(SmtpError::Refused {
        phase,
        code,
        enhanced: enhanced(code, &text),
        text: clip(&text),
    })
}

/// Reads code and enhanced status back out of a refusal's own words, for where only those were kept.
pub fn refusal_in(text: &str) -> Option<(u16, Option<String>)> {
    let (_, reply) = text.split_once("the relay answered ")?;
    let (_, reply) = reply.split_once(" with ")?;
    let code = reply.get(..3)?.parse().ok()?;
    Some((code, enhanced(code, reply.get(4..).unwrap_or_default())))
}

/// `5.1.1` at the beginning of the text, of the same class as the code (RFC 3463, RFC 2034).
pub(super) fn enhanced(code: u16, text: &str) -> Option<String> {
    let status = text.split_whitespace().next()?;
    let mut numbers = status.split('.');
    let class = numbers.next()?.parse::<u16>().ok()?;
    let rest: Vec<&str> = numbers.collect();
    let is_status = class == code / 100
        && rest.len() == 2
        && rest
            .iter()
            .all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
    is_status.then(|| status.to_owned())
}

/// `try again in 300 seconds`, `retry after 5 minutes`: a number and a unit of time behind a word that asks for patience.
fn wait_in(text: &str) -> Option<Duration> {
    /// A server that asks for more is asked again all the same, before the mail is old.
    const LONGEST: Duration = Duration::from_secs(4 * 3600);
    const ASKING: [&str; 6] = ["again", "retry", "wait", "greylist", "graylist", "defer"];
    let text = text.to_ascii_lowercase();
    let asking = ASKING.iter().filter_map(|word| text.find(word)).min()?;
    let is_no_part = |c: char| !c.is_ascii_alphanumeric();
    let words: Vec<&str> = text[asking..]
        .split(is_no_part)
        .filter(|word| !word.is_empty())
        .collect();
    let time = |(at, word): (usize, &&str)| {
        let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = word[..digits].parse().ok()?;
        let unit = if digits < word.len() {
            &word[digits..]
        } else {
            words.get(at + 1)?
        };
        let seconds = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
            _ => return None,
        };
        Some(Duration::from_secs(number.saturating_mul(seconds)).clamp(Duration::from_secs(1), LONGEST))
    };
    words.iter().enumerate().find_map(time)
}

/// Relays' text goes into events and rows.
pub(super) fn clip(text: &str) -> String {
    const ENOUGH: usize = 500;
    text.trim()
        .chars()
        .take(ENOUGH)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_status_codes() {
        let check =
            |code, text, expect: Option<&str>| assert_eq!(enhanced(code, text).as_deref(), expect, "{text}");
        check(550, "5.1.1 No such user", Some("5.1.1"));
        check(450, "4.2.0 <a@b>: Greylisted", Some("4.2.0"));
        check(550, "4.2.0 says one thing and means another", None);
        check(550, "No such user", None);
        check(550, "5.1 short", None);
        check(550, "5.1.1234 long", None);
        check(550, "", None);
    }

    #[test]
    fn servers_ask_for_patience_in_their_own_words() {
        let check = |text, expect: Option<u64>| {
            assert_eq!(wait_in(text), expect.map(Duration::from_secs), "{text}");
        };
        check(
            "4.2.0 <a@b>: Recipient address rejected: Greylisted, try again in 300 seconds",
            Some(300),
        );
        check(
            "4.7.1 Greylisting in action, please come back in 00:05:00 or 5 minutes",
            Some(300),
        );
        check("Please retry after 10 min.", Some(600));
        check("4.7.0 Try again in 1h", Some(3600));
        check("wait 60s please", Some(60));
        check("try again in 100 hours", Some(4 * 3600));
        check("try again in 0 seconds", Some(1));
        check("try again in 99999999999999999999 seconds", None);
        check("you sent 500 mails in 10 minutes", None);
        check("4.2.2 Mailbox full, try again later", None);
        check("retry in 5 mails", None);
        check("", None);
        let refused = |code| SmtpError::Refused {
            phase: Phase::Rcpt,
            code,
            enhanced: None,
            text: "try again in 9 s".into(),
        };
        assert_eq!(refused(450).asked_wait(), Some(Duration::from_secs(9)));
        assert_eq!(refused(550).asked_wait(), None);
    }

    #[test]
    fn a_refusal_can_be_read_back() {
        let refused = |code, text: &str| {
            let text = text.to_owned();
            SmtpError::Refused {
                phase: Phase::Content,
                code,
                enhanced: enhanced(code, &text),
                text,
            }
        };
        let check = |error: &dyn fmt::Display, expect| assert_eq!(refusal_in(&error.to_string()), expect);
        check(
            &refused(550, "5.1.1 no such user"),
            Some((550, Some("5.1.1".to_owned()))),
        );
        check(&refused(554, "with care"), Some((554, None)));
        check(&refused(421, ""), Some((421, None)));
        check(
            &format!("given up: {}", refused(451, "4.7.1 later")),
            Some((451, Some("4.7.1".to_owned()))),
        );
        check(&"no account", None);
    }

    #[test]
    fn refusals_are_told_apart_by_whom_they_concern() {
        let refused = |phase, code| SmtpError::Refused {
            phase,
            code,
            enhanced: None,
            text: String::new(),
        };
        let check = |error: SmtpError, permanent: bool, account: bool| {
            assert_eq!(
                (error.is_permanent(), error.is_account_trouble()),
                (permanent, account),
                "{error}"
            );
        };
        check(refused(Phase::Rcpt, 550), true, false);
        check(refused(Phase::Content, 554), true, false);
        check(refused(Phase::Rcpt, 450), false, false);
        check(refused(Phase::Greeting, 421), false, false);
        check(refused(Phase::Mail, 503), false, false);
        check(refused(Phase::Auth, 535), false, true);
        check(refused(Phase::Auth, 454), false, true);
        check(refused(Phase::Mail, 530), false, true);
        check(SmtpError::NotOffered(SMTPUTF8), true, false);
        check(SmtpError::NotOffered("STARTTLS"), false, true);
    }
}
