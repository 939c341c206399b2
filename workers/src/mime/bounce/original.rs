//! The mail that a report is about, as far as it was sent back.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::super::{address, header};

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Original {
    pub(super) message_id: Option<String>,
    /// Whom it was for.
    pub(super) recipients: Vec<String>,
}

/// Lines that end the report proper: what follows is the mail that was sent back.
const MARKERS: [&str; 16] = [
    "below this line is a copy",
    "this is a copy of the message",
    "this is a copy of your message",
    "original message follows",
    "original message headers",
    "text of the original message",
    "unsent message follows",
    "unsent message below",
    "your original message",
    "your message begins",
    "returned message follows",
    "the original message",
    "----- original message",
    "message header follows",
    "headers follow",
    "included below",
];

/// The report's own words, and those that were sent back with them.
pub(super) fn split(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.trim().to_ascii_lowercase();
        let is_marker = MARKERS.iter().any(|marker| lower.contains(marker)) && at > 0;
        let is_header = lower.starts_with("received: ") || lower.starts_with("return-path:");
        if is_marker || is_header {
            return text.split_at(at);
        }
        at += line.len();
    }
    (text, "")
}

/// Looks in the attached mail, the attached header, and in what the text quotes.
pub(super) fn find(message: &Message<'_>, quoted: &str) -> Original {
    message
        .parts
        .iter()
        .find_map(|part| match &part.body {
            PartType::Message(nested) => Some(of(nested)),
            _ if is_headers(part) => parsed(part.contents()),
            _ => None,
        })
        .or_else(|| parsed(from_first_field(quoted).as_bytes()))
        .unwrap_or_default()
}

fn is_headers(part: &mail_parser::MessagePart<'_>) -> bool {
    part.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("text")
            && kind
                .subtype()
                .is_some_and(|subtype| subtype.eq_ignore_ascii_case("rfc822-headers"))
    })
}

fn parsed(raw: &[u8]) -> Option<Original> {
    let original = of(&MessageParser::default().parse_headers(raw)?);
    (original.message_id.is_some() || !original.recipients.is_empty()).then_some(original)
}

fn of(message: &Message<'_>) -> Original {
    Original {
        message_id: message
            .message_id()
            .and_then(|id| header::message_id(&format!("<{id}>"))),
        recipients: address::all(message.to())
            .into_iter()
            .map(|mailbox| mailbox.address)
            .collect(),
    }
}

/// Skips to the first line that looks like a header field; quotation marks are taken off.
fn from_first_field(quoted: &str) -> String {
    let fields = [
        "received:",
        "return-path:",
        "message-id:",
        "from:",
        "date:",
        "to:",
    ];
    let plain = |line: &str| line.trim_start_matches(['>', '|', ' ']).to_owned();
    let mut lines = quoted.lines().map(plain).skip_while(|line| {
        let lower = line.to_ascii_lowercase();
        !fields.iter().any(|field| lower.starts_with(field))
    });
    let header: Vec<String> = lines
        .by_ref()
        .take_while(|line| !line.trim().is_empty())
        .collect();
    header.join("\r\n") + "\r\n\r\n"
}
