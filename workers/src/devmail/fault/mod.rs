//! Faults on demand: what can go wrong, and when it strikes.

mod text;

use std::num::NonZeroU32;

pub use text::FaultError;

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

#[cfg(test)]
mod tests {
    use super::*;

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
