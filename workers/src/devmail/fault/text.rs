//! The one-line text form of a fault.
//!
//! ```text
//! rcpt gone@example.test 550 5.1.1 No such user
//! rcpt busy@example.test 451 4.7.1 try again, 2 times
//! data *@slow.test 452 4.3.1 out of space, 1 times
//! drop-after-dot carol@example.test accepted        the mail is kept, its 250 is never sent
//! drop-after-dot carol@example.test lost, 1 times   the mail is thrown away, and no reply is sent
//! login alice, 3 times                              IMAP and SMTP refuse the password
//! imap-no FETCH [UNAVAILABLE] backend is down, 2 times
//! imap-drop 10                                      every tenth IMAP command ends its connection, unanswered
//! ```
//!
//! Without `, N times` a fault strikes for as long as it is armed.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::{Fault, FaultKind, Refusal, Who};

/// Long enough for any reply worth sending; RFC 5321 4.5.3.1.5 ends a reply line at 512 octets.
const MAX_TEXT: usize = 400;

#[derive(Debug, thiserror::Error)]
#[error("fault {fault:?}: {field} {value:?} {expected}")]
pub struct FaultError {
    fault: String,
    field: &'static str,
    value: String,
    expected: &'static str,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(fault: &str) -> Result<Self, FaultError> {
        Parser { fault }.fault()
    }
}

/// Knows the whole line, so that every error can quote it.
#[derive(Clone, Copy)]
struct Parser<'f> {
    fault: &'f str,
}

impl<'f> Parser<'f> {
    fn fault(self) -> Result<Fault, FaultError> {
        if let Some(at) = self.fault.find(|c: char| c.is_control() || !c.is_ascii()) {
            return Err(self.wrong(
                "character",
                &self.fault[at..],
                "is not printable ASCII; replies are",
            ));
        }
        let (rest, times) = self.split_times()?;
        let (verb, rest) = first_word(rest);
        let (subject, tail) = first_word(rest);
        let kind = match verb.to_ascii_lowercase().as_str() {
            "rcpt" => FaultKind::Rcpt {
                who: self.who(subject)?,
                refusal: self.refusal(tail)?,
            },
            "data" => FaultKind::Data {
                who: self.who(subject)?,
                refusal: self.refusal(tail)?,
            },
            "drop-after-dot" => FaultKind::DropAfterDot {
                who: self.who(subject)?,
                accepted: self.outcome(tail)?,
            },
            "login" if !subject.is_empty() && tail.is_empty() => FaultKind::Login {
                user: subject.to_owned(),
            },
            "login" => return Err(self.wrong("user", rest, "must be one user name")),
            "imap-no" => FaultKind::ImapNo {
                command: self.command(subject)?,
                text: self.text(tail)?,
            },
            "imap-drop" => FaultKind::ImapDrop {
                every: self.interval(rest)?,
            },
            _ => return Err(self.wrong("kind", verb, KINDS)),
        };
        Ok(Fault { kind, times })
    }

    fn wrong(self, field: &'static str, value: &str, expected: &'static str) -> FaultError {
        FaultError {
            fault: self.fault.to_owned(),
            field,
            value: value.to_owned(),
            expected,
        }
    }

    /// Splits off `, N times`.
    fn split_times(self) -> Result<(&'f str, Option<NonZeroU32>), FaultError> {
        let line = self.fault.trim_end();
        let counted = line.strip_suffix("times").or_else(|| line.strip_suffix("time"));
        let Some((rest, count)) = counted.and_then(|text| text.rsplit_once(',')) else {
            return Ok((line, None));
        };
        let expected = "is not a number of times; end the fault with \", 2 times\"";
        let times = count
            .trim()
            .parse()
            .map_err(|_| self.wrong("count", count.trim(), expected))?;
        Ok((rest, Some(times)))
    }

    fn who(self, text: &str) -> Result<Who, FaultError> {
        match text.rsplit_once('@') {
            None if text == "*" => Ok(Who::Anyone),
            Some(("*", domain)) if !domain.is_empty() => Ok(Who::Domain(domain.to_owned())),
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                Ok(Who::Address(text.to_owned()))
            }
            _ => Err(self.wrong("address", text, "must be an address, *@domain or *")),
        }
    }

    fn refusal(self, rest: &str) -> Result<Refusal, FaultError> {
        let (code, tail) = first_word(rest);
        match code.parse() {
            Ok(code @ 400..=599) => Ok(Refusal {
                code,
                text: self.text(tail)?,
            }),
            _ => Err(self.wrong(
                "reply code",
                code,
                "must be 4xx (try again) or 5xx (never), for example 550",
            )),
        }
    }

    fn text(self, text: &str) -> Result<String, FaultError> {
        match text.len() {
            0 => Err(self.wrong(
                "reply text",
                "",
                "is missing; write what the server says, for example 5.1.1 No such user",
            )),
            1..=MAX_TEXT => Ok(text.to_owned()),
            _ => Err(self.wrong("reply text", text, "is longer than 400 characters")),
        }
    }

    fn outcome(self, text: &str) -> Result<bool, FaultError> {
        match text {
            "accepted" => Ok(true),
            "lost" => Ok(false),
            _ => Err(self.wrong("outcome", text, "must be accepted or lost")),
        }
    }

    fn command(self, text: &str) -> Result<String, FaultError> {
        if text.is_empty() {
            return Err(self.wrong("command", "", "is missing; name one, for example FETCH"));
        }
        Ok(text.to_ascii_uppercase())
    }

    fn interval(self, text: &str) -> Result<NonZeroU32, FaultError> {
        text.parse()
            .map_err(|_| self.wrong("interval", text, "must be a number of commands, for example 10"))
    }
}

const KINDS: &str = "is unknown; write rcpt, data, drop-after-dot, login, imap-no or imap-drop";

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(' ')
        .map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Rcpt { who, refusal } => write!(f, "rcpt {who} {} {}", refusal.code, refusal.text),
            FaultKind::Data { who, refusal } => write!(f, "data {who} {} {}", refusal.code, refusal.text),
            FaultKind::DropAfterDot { who, accepted: true } => write!(f, "drop-after-dot {who} accepted"),
            FaultKind::DropAfterDot { who, accepted: false } => write!(f, "drop-after-dot {who} lost"),
            FaultKind::Login { user } => write!(f, "login {user}"),
            FaultKind::ImapNo { command, text } => write!(f, "imap-no {command} {text}"),
            FaultKind::ImapDrop { every } => write!(f, "imap-drop {every}"),
        }?;
        self.times.map_or(Ok(()), |times| write!(f, ", {times} times"))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_fault_round_trip() {
        for text in [
            "rcpt gone@example.test 550 5.1.1 No such user",
            "rcpt busy@example.test 451 4.7.1 try again, 2 times",
            "data *@slow.test 452 4.3.1 out of space, sorry, 1 times",
            "drop-after-dot * accepted",
            "drop-after-dot carol@example.test lost, 1 times",
            "login alice, 3 times",
            "imap-no FETCH [UNAVAILABLE] backend is down",
            "imap-drop 10",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn errors_name_field_value_and_remedy() {
        for (text, expect) in [
            (
                "rcpt gone 550 no",
                r#"address "gone" must be an address, *@domain or *"#,
            ),
            (
                "rcpt a@b 250 ok",
                r#"reply code "250" must be 4xx (try again) or 5xx (never), for example 550"#,
            ),
            ("rcpt a@b 550", r#"reply text "" is missing"#),
            (
                "rcpt a@b 450 x, two times",
                r#"count "two" is not a number of times"#,
            ),
            ("rcpt a@b 450 x, 0 times", r#"count "0" is not a number of times"#),
            (
                "drop-after-dot a@b kept",
                r#"outcome "kept" must be accepted or lost"#,
            ),
            (
                "imap-drop often",
                r#"interval "often" must be a number of commands"#,
            ),
            ("imap-no", r#"command "" is missing"#),
            ("login", r#"user "" must be one user name"#),
            ("rpct a@b 550 no", r#"kind "rpct" is unknown; write rcpt, data"#),
            ("rcpt a@b 550 a\r\n250 b", "is not printable ASCII"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.starts_with("fault ") && error.contains(expect), "{error}");
        }
    }
}
