//! Faults on demand, and their one-line text form.
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

/// Long enough for any reply worth sending; RFC 5321 4.5.3.1.5 ends a reply line at 512 octets.
const MAX_TEXT: usize = 400;

const KINDS: &str = "rcpt, data, drop-after-dot, login, imap-no or imap-drop";

#[derive(Debug, thiserror::Error)]
#[error("fault {fault:?}: {field} {value:?} {expected}")]
pub struct FaultError {
    fault: String,
    field: &'static str,
    value: String,
    expected: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// How often it strikes before it is spent; `None` is for ever.
    pub times: Option<NonZeroU32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Refuse the recipient.
    Rcpt { who: Who, refusal: Refusal },
    /// Refuse the message after its final dot, if any of its recipients match.
    Data { who: Who, refusal: Refusal },
    /// Close the connection after the final dot without a word, having kept the mail or not.
    DropAfterDot { who: Who, accepted: bool },
    /// Refuse the right password.
    Login { user: String },
    /// Answer an IMAP command with NO.
    ImapNo { command: String, text: String },
    /// Close the IMAP connection at every n-th command, counted over all connections.
    ImapDrop { every: NonZeroU32 },
}

/// An SMTP refusal: a 4xx or 5xx code and what follows it on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub text: String,
}

/// Whose mail: one address, `*@domain` or `*`. Case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Anyone,
    Domain(String),
    Address(String),
}

impl Who {
    fn matches(&self, address: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Domain(domain) => address
                .rsplit_once('@')
                .is_some_and(|(_, of)| of.eq_ignore_ascii_case(domain)),
            Self::Address(own) => own.eq_ignore_ascii_case(address),
        }
    }
}

/// A moment at which a fault may strike.
#[derive(Debug, Clone)]
pub(super) enum Occasion {
    Rcpt(String),
    Data(Vec<String>),
    AfterDot(Vec<String>),
    Login(String),
    /// The name of the command and its number, counted over all connections from 1.
    ImapCommand(&'static str, u64),
}

impl FaultKind {
    pub(super) fn strikes(&self, occasion: &Occasion) -> bool {
        match (self, occasion) {
            (Self::Rcpt { who, .. }, Occasion::Rcpt(address)) => who.matches(address),
            (Self::Data { who, .. }, Occasion::Data(addresses))
            | (Self::DropAfterDot { who, .. }, Occasion::AfterDot(addresses)) => {
                addresses.iter().any(|address| who.matches(address))
            }
            (Self::Login { user }, Occasion::Login(name)) => user == name,
            (Self::ImapNo { command, .. }, Occasion::ImapCommand(name, _)) => {
                command.eq_ignore_ascii_case(name)
            }
            (Self::ImapDrop { every }, Occasion::ImapCommand(_, number)) => {
                number.is_multiple_of(u64::from(every.get()))
            }
            _ => false,
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(fault: &str) -> Result<Self, FaultError> {
        let wrong = |field, value: &str, expected: String| FaultError {
            fault: fault.to_owned(),
            field,
            value: value.to_owned(),
            expected,
        };
        if let Some(at) = fault.find(|c: char| c.is_control() || !c.is_ascii()) {
            return Err(wrong(
                "character",
                &fault[at..],
                "is not printable ASCII; replies are".into(),
            ));
        }
        let (rest, times) = split_times(fault).map_err(|value| {
            wrong(
                "count",
                value,
                "is not a number of times; end the fault with \", 2 times\"".into(),
            )
        })?;
        let (verb, rest) = first_word(rest);
        let (subject, tail) = first_word(rest);
        let kind = match verb.to_ascii_lowercase().as_str() {
            "rcpt" => FaultKind::Rcpt {
                who: who(subject, &wrong)?,
                refusal: refusal(tail, &wrong)?,
            },
            "data" => FaultKind::Data {
                who: who(subject, &wrong)?,
                refusal: refusal(tail, &wrong)?,
            },
            "drop-after-dot" => {
                let accepted = match tail {
                    "accepted" => true,
                    "lost" => false,
                    other => return Err(wrong("outcome", other, "must be accepted or lost".into())),
                };
                FaultKind::DropAfterDot {
                    who: who(subject, &wrong)?,
                    accepted,
                }
            }
            "login" if !subject.is_empty() && tail.is_empty() => FaultKind::Login {
                user: subject.to_owned(),
            },
            "login" => return Err(wrong("user", rest, "must be one user name".into())),
            "imap-no" if !subject.is_empty() => FaultKind::ImapNo {
                command: subject.to_ascii_uppercase(),
                text: if tail.is_empty() {
                    "refused on demand".into()
                } else {
                    text(tail, &wrong)?
                },
            },
            "imap-no" => {
                return Err(wrong(
                    "command",
                    "",
                    "is missing; name one, for example FETCH".into(),
                ));
            }
            "imap-drop" => {
                let every = rest.parse().map_err(|_| {
                    wrong(
                        "interval",
                        rest,
                        "must be a number of commands, for example 10".into(),
                    )
                })?;
                FaultKind::ImapDrop { every }
            }
            _ => return Err(wrong("kind", verb, format!("is unknown; write {KINDS}"))),
        };
        Ok(Self { kind, times })
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(' ')
        .map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

/// Splits off `, N times`; the error is the count that could not be read.
fn split_times(fault: &str) -> Result<(&str, Option<NonZeroU32>), &str> {
    let counted = fault
        .trim_end()
        .strip_suffix("times")
        .or_else(|| fault.trim_end().strip_suffix("time"));
    let Some((rest, count)) = counted.and_then(|text| text.rsplit_once(',')) else {
        return Ok((fault, None));
    };
    let count = count.trim();
    count.parse().map(|times| (rest, Some(times))).map_err(|_| count)
}

fn who(text: &str, wrong: &impl Fn(&'static str, &str, String) -> FaultError) -> Result<Who, FaultError> {
    if text == "*" {
        return Ok(Who::Anyone);
    }
    match text.rsplit_once('@') {
        Some(("*", domain)) if !domain.is_empty() => Ok(Who::Domain(domain.to_owned())),
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(Who::Address(text.to_owned())),
        _ => Err(wrong("address", text, "must be an address, *@domain or *".into())),
    }
}

fn refusal(
    rest: &str,
    wrong: &impl Fn(&'static str, &str, String) -> FaultError,
) -> Result<Refusal, FaultError> {
    let (code, tail) = first_word(rest);
    match code.parse() {
        Ok(code @ 400..=599) => Ok(Refusal {
            code,
            text: text(tail, wrong)?,
        }),
        _ => Err(wrong(
            "reply code",
            code,
            "must be 4xx (try again) or 5xx (never), for example 550".into(),
        )),
    }
}

fn text(text: &str, wrong: &impl Fn(&'static str, &str, String) -> FaultError) -> Result<String, FaultError> {
    match text.len() {
        0 => Err(wrong(
            "reply text",
            "",
            "is missing; write what the server says, for example 5.1.1 No such user".into(),
        )),
        1..=MAX_TEXT => Ok(text.to_owned()),
        _ => Err(wrong(
            "reply text",
            text,
            format!("is longer than {MAX_TEXT} characters"),
        )),
    }
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

    #[test]
    fn strikes_whom_it_names() {
        let rcpt = |who: &str, address: &str| {
            let fault: Fault = format!("rcpt {who} 550 no").parse().unwrap();
            fault.kind.strikes(&Occasion::Rcpt(address.into()))
        };
        assert!(rcpt("a@b.test", "A@B.test"));
        assert!(rcpt("*@b.test", "x@B.TEST"));
        assert!(rcpt("*", "x@y"));
        assert!(!rcpt("*@b.test", "x@c.test"));
        assert!(!rcpt("a@b.test", "aa@b.test"));
    }
}
