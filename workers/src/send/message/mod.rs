//! From payload to bytes. Pure, and the same payload always gives the same bytes: a mail that must be sent again is
//! sent again unchanged.
//!
//! ```text
//! header  what may stand in a header, field by field
//! part    text, HTML, files, and how they stand inside each other
//! ```
//!
//! What comes from a payload may come from a stranger's mail. A line end or NUL in a header value is refused with the
//! field's name; it is neither folded nor encoded away, because whoever put it there meant harm.

mod header;
mod part;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use lettre::message::{Message, MessageBuilder};

pub use self::header::is_message_id;
use self::header::{date, header, https, id, mailbox, marker};
use self::part::{Parts, parts, wire_form};
use crate::messages::Send;

/// RFC 5322 section 2.1.1.
const MAX_LINE: usize = 998;
/// RFC 5322 recommends it, and quoted-printable keeps to it.
const COMFORTABLE_LINE: usize = 78;
/// Few relays take more, and those that refuse it do so after all of it has been sent.
pub const MAX_MAIL: usize = 35 * 1024 * 1024;

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
    #[error("attachments[{index}]: {mistake}")]
    Attachment {
        index: usize,
        mistake: Box<MessageError>,
    },
    #[error(
        "content_type {0:?} can't be attached; write type/subtype, such as application/pdf, neither multipart nor message"
    )]
    BadContentType(String),
    #[error("content_id is for pictures inside the HTML, and the mail has no html; leave it out")]
    NowhereInline,
    #[error("the mail is {0} bytes; at most {MAX_MAIL} are sent: give a link to what is larger")]
    TooLarge(usize),
    #[error("the mail could not be built: {0}")]
    Build(String),
}

/// A mail ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Return path; `None` is the null one.
    pub sender: Option<lettre::Address>,
    pub recipient: lettre::Address,
    /// Without angle brackets.
    pub message_id: String,
    /// CRLF line ends only, with one at the end.
    pub bytes: Vec<u8>,
}

/// What the mail says, whoever wrote it: the payload itself or a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub subject: String,
    pub text: String,
    pub html: Option<String>,
}

impl Content {
    /// As it stands in the payload.
    pub fn of(send: &Send) -> Self {
        Self {
            subject: send.subject.clone(),
            text: send.text.clone(),
            html: send.html.clone(),
        }
    }
}

/// From whom, to whom: the part of a mail that is not among its bytes. The null sender is `None`.
pub fn envelope(send: &Send) -> Result<(Option<lettre::Address>, lettre::Address), MessageError> {
    let (from, to) = (mailbox("from", &send.from)?, mailbox("to", &send.to)?);
    // RFC 3834 section 3.3: automatic replies carry the null return path, so that nothing answers them.
    Ok(((!send.auto_submitted).then_some(from.email), to.email))
}

/// Builds the mail of this payload. `files` are the bytes of its attachments, in their order.
pub fn build(send: &Send, content: &Content, files: &[Vec<u8>]) -> Result<Outgoing, MessageError> {
    let (sender, recipient) = envelope(send)?;
    let builder = headers(send, content)?;
    let message = match parts(send, content, files)? {
        Parts::Single(part) => builder.singlepart(part),
        Parts::Multi(parts) => builder.multipart(parts),
    };
    let message = message.map_err(|error| MessageError::Build(error.to_string()))?;
    let bytes = wire_form(&message.formatted());
    if bytes.len() > MAX_MAIL {
        return Err(MessageError::TooLarge(bytes.len()));
    }
    Ok(Outgoing {
        sender,
        recipient,
        message_id: send.message_id.clone(),
        bytes,
    })
}

fn headers(send: &Send, content: &Content) -> Result<MessageBuilder, MessageError> {
    let from = mailbox("from", &send.from)?;
    let to = mailbox("to", &send.to)?;
    let envelope = lettre::address::Envelope::new(Some(from.email.clone()), vec![to.email.clone()])
        .map_err(|error| MessageError::Build(error.to_string()))?;
    let mut builder = Message::builder()
        .envelope(envelope)
        .from(from)
        .to(to)
        .subject(header("subject", &content.subject)?)
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
    Ok(builder)
}
