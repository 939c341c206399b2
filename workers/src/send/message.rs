//! From payload to bytes. Pure, and the same payload always gives the same bytes: a mail that must be sent again is
//! sent again unchanged.
//!
//! What comes from a payload may come from a stranger's mail. A line end or NUL in a header value is refused with the
//! field's name; it is neither folded nor encoded away, because whoever put it there meant harm.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox as LettreMailbox, Message, MultiPart, MultiPartKind, SinglePart};
use sha2::{Digest, Sha256};

use crate::messages::{Mailbox, Send};

/// RFC 5322 section 2.1.1.
const MAX_LINE: usize = 998;
/// RFC 5322 recommends it, and quoted-printable keeps to it.
const COMFORTABLE_LINE: usize = 78;

/// The payload cannot become a mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("{field} contains a line end, NUL or another control character")]
    ControlCharacter { field: &'static str },
    #[error("{field} is not an address: {address:?}")]
    BadAddress { field: &'static str, address: String },
    #[error("{field} is not a message id: {id:?}")]
    BadId { field: &'static str, id: String },
    #[error("{field} is no https:// URL: {url:?}")]
    BadUrl { field: &'static str, url: String },
    #[error("date {0} cannot be written in a header")]
    BadDate(Timestamp),
    #[error("the mail could not be built: {0}")]
    Build(String),
}

/// A mail ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Return path; `None` is the null one.
    pub sender: Option<lettre::Address>,
    pub recipient: lettre::Address,
    /// CRLF line ends only, with one at the end.
    pub bytes: Vec<u8>,
}

/// Builds the mail of this payload.
pub fn build(send: &Send) -> Result<Outgoing, MessageError> {
    let from = mailbox("from", &send.from)?;
    let to = mailbox("to", &send.to)?;
    let envelope = lettre::address::Envelope::new(Some(from.email.clone()), vec![to.email.clone()])
        .map_err(|error| MessageError::Build(error.to_string()))?;
    let mut builder = Message::builder()
        .envelope(envelope)
        .from(from.clone())
        .to(to.clone())
        .subject(header("subject", &send.subject)?)
        .date(date(send.date)?)
        .message_id(Some(format!("<{}>", id("message_id", &send.message_id)?)));
    if let Some(parent) = &send.in_reply_to {
        builder = builder.in_reply_to(format!("<{}>", id("in_reply_to", parent)?));
    }
    if !send.references.is_empty() {
        let ids: Result<Vec<String>, MessageError> = send
            .references
            .iter()
            .map(|r| Ok(format!("<{}>", id("references", r)?)))
            .collect();
        builder = builder.references(ids?.join(" "));
    }
    if send.auto_submitted {
        builder = builder
            .raw_header(marker("Auto-Submitted", "auto-replied"))
            .raw_header(marker("X-Auto-Response-Suppress", "All"));
    }
    if let Some(url) = &send.unsubscribe {
        builder = builder
            .raw_header(marker(
                "List-Unsubscribe",
                &format!("<{}>", https("unsubscribe", url)?),
            ))
            .raw_header(marker("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    let text = part(ContentType::TEXT_PLAIN, &send.text);
    let built = match &send.html {
        None => builder.singlepart(text),
        Some(html) => builder.multipart(
            MultiPart::builder()
                .kind(MultiPartKind::Alternative)
                .boundary(boundary(send, html))
                .singlepart(text)
                // The last one is what a client prefers (RFC 2046 section 5.1.4).
                .singlepart(part(ContentType::TEXT_HTML, html)),
        ),
    };
    let message = built.map_err(|error| MessageError::Build(error.to_string()))?;
    Ok(Outgoing {
        // RFC 3834 section 3.3: automatic replies carry the null return path, so that nothing answers them.
        sender: (!send.auto_submitted).then_some(from.email),
        recipient: to.email,
        bytes: wire_form(&message.formatted()),
    })
}

fn mailbox(field: &'static str, mailbox: &Mailbox) -> Result<LettreMailbox, MessageError> {
    header(field, &mailbox.address)?;
    let name = mailbox
        .name
        .as_deref()
        .map(|name| header(field, name))
        .transpose()?;
    let address = mailbox.address.parse().map_err(|_| MessageError::BadAddress {
        field,
        address: mailbox.address.clone(),
    })?;
    Ok(LettreMailbox::new(name.map(str::to_owned), address))
}

/// Checked before lettre sees the value: its formatting panics on a line end in a display name.
fn header<'a>(field: &'static str, value: &'a str) -> Result<&'a str, MessageError> {
    match value.chars().any(|c| c.is_control() && c != '\t') {
        true => Err(MessageError::ControlCharacter { field }),
        false => Ok(value),
    }
}

fn id<'a>(field: &'static str, id: &'a str) -> Result<&'a str, MessageError> {
    header(field, id)?;
    match is_message_id(id) {
        true => Ok(id),
        false => Err(MessageError::BadId {
            field,
            id: id.chars().take(100).collect(),
        }),
    }
}

/// What may stand between the angle brackets of an id and in a line of its own.
pub fn is_message_id(id: &str) -> bool {
    let fits = !id.is_empty() && id.len() <= MAX_LINE - 2 - "References: ".len();
    fits && id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
}

/// Header dates are written by a crate that panics outside of these years.
fn date(date: Timestamp) -> Result<SystemTime, MessageError> {
    const YEAR_9999: i64 = 253_370_764_800;
    match (0..YEAR_9999).contains(&date.as_second()) {
        true => Ok(SystemTime::from(date)),
        false => Err(MessageError::BadDate(date)),
    }
}

fn marker(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn https<'a>(field: &'static str, url: &'a str) -> Result<&'a str, MessageError> {
    header(field, url)?;
    let is_url = url.len() <= MAX_LINE - 2 - "List-Unsubscribe: ".len()
        && url
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
        && url
            .parse::<hyper::Uri>()
            .is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
    match is_url {
        true => Ok(url),
        false => Err(MessageError::BadUrl {
            field,
            url: url.chars().take(100).collect(),
        }),
    }
}

/// The same for the same payload, and nothing that its own text could hold: it is a hash of that text.
fn boundary(send: &Send, html: &str) -> String {
    let mut hash = Sha256::new();
    for text in [&send.message_id, &send.text, html] {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    let digest = hash.finalize();
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("=_{}", hex.collect::<String>())
}

fn part(kind: ContentType, text: &str) -> SinglePart {
    let text = normalised(text);
    let plain = text.lines().all(|line| line.len() <= COMFORTABLE_LINE)
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() || b" \t\r\n".contains(&b));
    let encoding = if plain {
        ContentTransferEncoding::SevenBit
    } else {
        ContentTransferEncoding::QuotedPrintable
    };
    // Quoted-printable holds anything, and what was just checked fits seven bits, so the fallback is never taken.
    let body = Body::new_with_encoding(text, encoding).unwrap_or_else(Body::new);
    SinglePart::builder().header(kind).body(body)
}

/// CRLF, CR and LF all become CRLF, and the last line ends with one.
fn normalised(text: &str) -> String {
    let mut lines: Vec<String> = text
        .replace("\r\n", "\n")
        .replace('\r', "\n")
        .split('\n')
        .map(str::to_owned)
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
        .into_iter()
        .fold(String::new(), |text, line| text + &line + "\r\n")
}

/// The last guard before the wire: whatever was built, a CR or LF that stands alone never leaves (SMTP smuggling).
fn wire_form(bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(bytes.len() + 2);
    let mut bytes = bytes.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                wire.extend_from_slice(b"\r\n");
            }
            b'\n' => wire.extend_from_slice(b"\r\n"),
            other => wire.push(other),
        }
    }
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send() -> Send {
        Send {
            id: "k".into(),
            account: "help".into(),
            from: Mailbox {
                name: Some("Help, Desk".into()),
                address: "help@example.test".into(),
            },
            to: Mailbox::bare("ada@example.org"),
            subject: "Re: Café".into(),
            text: "Hello\n.\nBye\r\n".into(),
            html: None,
            unsubscribe: None,
            in_reply_to: Some("1@example.org".into()),
            references: vec!["0@example.org".into(), "1@example.org".into()],
            message_id: "m@example.test".into(),
            date: "2026-11-03T09:00:00Z".parse().unwrap(),
            auto_submitted: true,
        }
    }

    #[test]
    fn the_whole_mail() {
        let mail = build(&send()).unwrap();
        assert_eq!(mail.sender, None);
        assert_eq!(mail.recipient.to_string(), "ada@example.org");
        let text = String::from_utf8(mail.bytes.clone()).unwrap();
        for line in [
            "From: =?utf-8?b?SGVscCwgRGVzaw==?= <help@example.test>\r\n",
            "To: ada@example.org\r\n",
            "Date: Tue, 03 Nov 2026 09:00:00 +0000\r\n",
            "Message-ID: <m@example.test>\r\n",
            "In-Reply-To: <1@example.org>\r\n",
            "References: <0@example.org> <1@example.org>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "\r\n\r\nHello\r\n.\r\nBye\r\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert!(mail.bytes.is_ascii());
        assert_eq!(build(&send()).unwrap(), mail, "the same payload, the same bytes");
    }

    #[test]
    fn html_stands_beside_the_text() {
        let newsletter = Send {
            html: Some("<p>Caf\u{e9} <b>opens</b></p>\n.\n".into()),
            unsubscribe: Some("https://shop.example/u?id=1".into()),
            auto_submitted: false,
            ..send()
        };
        let mail = build(&newsletter).unwrap();
        assert_eq!(
            build(&newsletter).unwrap(),
            mail,
            "the same payload, the same bytes"
        );
        let text = String::from_utf8(mail.bytes.clone()).unwrap();
        assert!(
            text.contains("List-Unsubscribe: <https://shop.example/u?id=1>\r\n"),
            "{text}"
        );
        assert!(
            text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
            "{text}"
        );
        let parsed = mail_parser::MessageParser::default().parse(&mail.bytes).unwrap();
        assert_eq!(parsed.body_text(0).unwrap(), "Hello\r\n.\r\nBye\r\n");
        assert_eq!(
            parsed.body_html(0).unwrap().trim_end(),
            "<p>Caf\u{e9} <b>opens</b></p>\r\n."
        );
        let other = build(&Send {
            html: Some("<p>other</p>".into()),
            ..send()
        });
        let boundary = |mail: &Outgoing| {
            let text = String::from_utf8(mail.bytes.clone()).unwrap();
            text.split_once("boundary=\"").unwrap().1[..34].to_owned()
        };
        assert_ne!(boundary(&mail), boundary(&other.unwrap()));
    }

    #[test]
    fn unsubscribing_takes_an_https_url() {
        for url in [
            "http://shop.example/u",
            "mailto:a@b",
            "https://",
            "https://a b/",
            "https://a/>,<x",
            "",
        ] {
            let wrong = Send {
                unsubscribe: Some(url.into()),
                ..send()
            };
            let field = "unsubscribe";
            assert_eq!(
                build(&wrong),
                Err(MessageError::BadUrl {
                    field,
                    url: url.into()
                }),
                "{url:?}"
            );
        }
    }

    #[test]
    fn the_subject_survives_the_way_through_a_parser() {
        for subject in [
            "plain",
            "Café ☕ and a very long subject that has to be folded somewhere "
                .repeat(8)
                .trim(),
            "",
        ] {
            let mail = build(&Send {
                subject: subject.to_owned(),
                ..send()
            })
            .unwrap();
            let back = crate::mime::parse(&mail.bytes, "0").unwrap();
            let expect: String = subject.chars().take(500).collect();
            assert_eq!(back.subject, expect.trim());
        }
    }

    #[test]
    fn any_text_survives_and_no_line_end_stands_alone() {
        for text in [
            "a\rb\nc\r\nd",
            "\n.\n",
            "..\r.\r\n",
            "é\0\u{7f}",
            &"long ".repeat(500),
            "",
            "x\n\n\n",
        ] {
            let mail = build(&Send {
                text: text.to_owned(),
                ..send()
            })
            .unwrap();
            let bare_cr = mail.bytes.windows(2).any(|w| w[0] == b'\r' && w[1] != b'\n');
            let bare_lf = mail.bytes.windows(2).any(|w| w[0] != b'\r' && w[1] == b'\n');
            assert!(!bare_cr && !bare_lf && mail.bytes.ends_with(b"\r\n"), "{text:?}");
            assert!(
                mail.bytes
                    .split(|&b| b == b'\n')
                    .all(|line| line.len() <= MAX_LINE),
                "{text:?}"
            );
        }
    }

    #[test]
    fn nothing_can_be_injected() {
        let check = |field: &'static str, change: &dyn Fn(&mut Send, &str)| {
            for evil in ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b"] {
                let mut send = send();
                change(&mut send, evil);
                assert_eq!(
                    build(&send),
                    Err(MessageError::ControlCharacter { field }),
                    "{field} {evil:?}"
                );
            }
        };
        check("from", &|s, evil| s.from.name = Some(evil.into()));
        check("from", &|s, evil| s.from.address = format!("{evil}@example.org"));
        check("to", &|s, evil| s.to.name = Some(evil.into()));
        check("to", &|s, evil| s.to.address = format!("\"{evil}\"@example.org"));
        check("subject", &|s, evil| s.subject = evil.into());
        check("message_id", &|s, evil| s.message_id = evil.into());
        check("in_reply_to", &|s, evil| s.in_reply_to = Some(evil.into()));
        check("references", &|s, evil| s.references.push(evil.into()));
        check("unsubscribe", &|s, evil| {
            s.unsubscribe = Some(format!("https://{evil}"));
        });
    }

    #[test]
    fn what_is_no_id_address_or_date_is_named() {
        let check = |change: &dyn Fn(&mut Send)| {
            let mut send = send();
            change(&mut send);
            build(&send).unwrap_err()
        };
        assert!(matches!(
            check(&|s| s.message_id = "a> <b".into()),
            MessageError::BadId { .. }
        ));
        assert!(matches!(
            check(&|s| s.message_id = "é@x".into()),
            MessageError::BadId { .. }
        ));
        assert!(matches!(
            check(&|s| s.to.address = "nobody".into()),
            MessageError::BadAddress { .. }
        ));
        assert!(matches!(
            check(&|s| s.date = Timestamp::MIN),
            MessageError::BadDate(_)
        ));
        assert!(matches!(
            check(&|s| s.date = Timestamp::MAX),
            MessageError::BadDate(_)
        ));
    }
}
