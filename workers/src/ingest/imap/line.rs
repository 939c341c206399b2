//! What a server says, reduced to what ingest asks for. The only file that knows the parser's types.

use async_imap::imap_proto::{
    AttributeValue, Capability, MailboxDatum, Outcome, Response, ResponseCode, Status,
};
use jiff::Timestamp;

/// One response line, literals included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The end of a command.
    Tagged {
        tag: String,
        status: TaggedStatus,
        state: State,
    },
    /// `+`: go on.
    GoAhead,
    /// `* OK` and its like: a greeting, or state of the mailbox in a response code.
    State(State),
    /// `* PREAUTH`.
    PreAuth,
    /// `* BYE`: the server is about to close.
    Bye(String),
    Capabilities(Vec<String>),
    Exists(u32),
    Recent,
    Search(Vec<u32>),
    Fetch(FetchLine),
    /// Valid, and of no concern here.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaggedStatus {
    Ok,
    No,
    Bad,
    /// PREAUTH or BYE with a tag, which no server may send.
    Nonsense,
}

/// Text of a status line, and the response codes that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub text: String,
    pub uidvalidity: Option<u32>,
    pub uidnext: Option<u32>,
    /// The flags that the mailbox keeps.
    pub permanent_flags: Option<Vec<String>>,
    pub is_read_only: bool,
}

/// One FETCH response. It need not be the answer to what was asked: flag changes of other mails come like this too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchLine {
    pub uid: Option<u32>,
    pub internal_date: Option<Timestamp>,
    pub flags: Vec<String>,
    /// RFC822.SIZE, which need not be the size of what is fetched.
    pub size: Option<u32>,
    /// `None` for NIL as well, which is how servers answer for a mail that is gone.
    pub body: Option<Vec<u8>>,
    /// Gmail's names for the mail and for its thread, the same under every label.
    pub gmail: (Option<u64>, Option<u64>),
    /// The header fields that were asked for.
    pub header: Option<Vec<u8>>,
}

impl Line {
    pub(super) fn of(response: &Response<'_>) -> Self {
        match response {
            Response::Done { tag, status, outcome } => {
                let status = match status {
                    Status::Ok => TaggedStatus::Ok,
                    Status::No => TaggedStatus::No,
                    Status::Bad => TaggedStatus::Bad,
                    Status::PreAuth | Status::Bye => TaggedStatus::Nonsense,
                };
                Self::Tagged {
                    tag: tag.0.clone(),
                    status,
                    state: state(outcome),
                }
            }
            Response::Continue(_) => Self::GoAhead,
            Response::Data {
                status: Status::Bye,
                outcome,
            } => Self::Bye(state(outcome).text),
            Response::Data {
                status: Status::PreAuth,
                ..
            } => Self::PreAuth,
            Response::Data {
                status: Status::Ok,
                outcome,
            } => Self::State(state(outcome)),
            Response::Capabilities(offered) => Self::Capabilities(offered.iter().map(capability).collect()),
            Response::MailboxData(MailboxDatum::Exists(count)) => Self::Exists(*count),
            Response::MailboxData(MailboxDatum::Recent(_)) => Self::Recent,
            Response::MailboxData(MailboxDatum::Search(uids)) => Self::Search(uids.clone()),
            Response::Fetch(_, attributes) => Self::Fetch(fetch(attributes)),
            _ => Self::Other,
        }
    }
}

fn state(outcome: &Outcome<'_>) -> State {
    let text = outcome.information.as_deref().unwrap_or_default();
    let mut state = State {
        text: clip(text),
        ..State::default()
    };
    match &outcome.code {
        Some(ResponseCode::UidValidity(value)) => state.uidvalidity = Some(*value),
        Some(ResponseCode::UidNext(value)) => state.uidnext = Some(*value),
        Some(ResponseCode::ReadOnly) => state.is_read_only = true,
        Some(ResponseCode::PermanentFlags(flags)) => {
            state.permanent_flags = Some(flags.iter().map(ToString::to_string).collect());
        }
        _ => {}
    }
    state
}

fn capability(capability: &Capability<'_>) -> String {
    match capability {
        Capability::Imap4rev1 => "IMAP4REV1".to_owned(),
        Capability::Auth(mechanism) => format!("AUTH={}", mechanism.to_ascii_uppercase()),
        Capability::Atom(name) => name.to_ascii_uppercase(),
    }
}

fn fetch(attributes: &[AttributeValue<'_>]) -> FetchLine {
    let mut line = FetchLine::default();
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(uid) => line.uid = Some(*uid),
            AttributeValue::InternalDate(date) => line.internal_date = internal_date(date),
            AttributeValue::Flags(flags) => line.flags = flags.iter().map(ToString::to_string).collect(),
            AttributeValue::Rfc822Size(size) => line.size = Some(*size),
            AttributeValue::GmailMsgId(id) => line.gmail.0 = Some(*id),
            AttributeValue::GmailThrId(id) => line.gmail.1 = Some(*id),
            AttributeValue::BodySection {
                section: Some(_),
                data: Some(data),
                ..
            } => line.header = Some(data.to_vec()),
            AttributeValue::BodySection {
                section: None,
                data: Some(data),
                ..
            } => {
                line.body = Some(data.to_vec());
            }
            _ => {}
        }
    }
    line
}

fn internal_date(text: &str) -> Option<Timestamp> {
    Timestamp::strptime("%d-%b-%Y %H:%M:%S %z", text.trim()).ok()
}

/// Server text goes into logs and rows; a line of it is enough.
pub(super) fn clip(text: &str) -> String {
    const LINE: usize = 200;
    text.chars()
        .take(LINE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::of(&Response::parse(text.as_bytes()).unwrap().1)
    }

    #[test]
    fn lines_are_reduced_to_what_matters() {
        assert_eq!(line("* 23 EXISTS\r\n"), Line::Exists(23));
        assert_eq!(line("* SEARCH 3 1 2\r\n"), Line::Search(vec![3, 1, 2]));
        assert_eq!(line("* SEARCH\r\n"), Line::Search(vec![]));
        assert_eq!(line("+ idling\r\n"), Line::GoAhead);
        assert_eq!(line("* BYE too long\r\n"), Line::Bye("too long".into()));
        let Line::State(state) = line("* OK [UIDVALIDITY 7] yes\r\n") else {
            panic!()
        };
        assert_eq!(state.uidvalidity, Some(7));
        let Line::Tagged { tag, status, state } = line("p4 NO [LIMIT] later\r\n") else {
            panic!()
        };
        assert_eq!(
            (tag.as_str(), status, state.text.as_str()),
            ("p4", TaggedStatus::No, "[LIMIT] later")
        );
    }

    #[test]
    fn a_fetch_with_nil_has_no_body() {
        let Line::Fetch(full) = line(
            "* 1 FETCH (UID 9 FLAGS (\\Seen x) INTERNALDATE \" 3-Nov-2026 10:00:00 +0100\" RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\n",
        ) else {
            panic!()
        };
        assert_eq!(full.uid, Some(9));
        assert_eq!(full.flags, ["\\Seen", "x"]);
        assert_eq!(full.internal_date.unwrap().to_string(), "2026-11-03T09:00:00Z");
        assert_eq!(full.body.as_deref(), Some(&b"abc"[..]));
        let Line::Fetch(gone) = line("* 1 FETCH (UID 9 BODY[] NIL)\r\n") else {
            panic!()
        };
        assert_eq!(gone.body, None);
        let Line::Fetch(label) = line(
            "* 1 FETCH (UID 9 RFC822.SIZE 3 BODY[HEADER.FIELDS (MESSAGE-ID)] {21}\r\nMessage-ID: <a@b>\r\n\r\n)\r\n",
        ) else {
            panic!()
        };
        assert_eq!((label.size, label.body), (Some(3), None));
        assert_eq!(label.header.as_deref(), Some(&b"Message-ID: <a@b>\r\n\r\n"[..]));
    }

    #[test]
    fn dates_that_make_no_sense_are_absent() {
        assert!(internal_date("03-Nov-2026 10:00:00 +0100").is_some());
        assert_eq!(internal_date("not a date"), None);
    }
}
