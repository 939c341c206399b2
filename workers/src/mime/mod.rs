//! Raw bytes to the summary that events carry. Pure: no socket, no file, no clock.
//!
//! Mail comes from anyone, so every size is capped before memory or stack is spent on it, and a parser that panics
//! is contained. A mail beyond a cap is not lost: its raw bytes are stored already and [`Unreadable`] says by name
//! why there is no summary.

mod address;
pub(crate) mod authentication;
mod automatic;
pub(crate) mod bounce;
mod header;
mod html;
pub(crate) mod outline;
mod quote;
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use postroom::explain::panic_text;

use authentication::Claim;

use crate::messages::{Attachment, Automatic, Bounce, Mailbox};

/// Gmail takes 50 MB in and Exchange 36 MB by default, encoding included; memory is a small multiple of it.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Postfix cuts a header at 100 KiB, Exchange refuses at 128 KiB; several times that is no honest mail.
pub const MAX_HEADER_BYTES: usize = 512 * 1024;
/// The largest digests have a few hundred parts.
pub const MAX_PARTS: usize = 1_000;
/// Forwarded mails nest a handful of times. The parser's own data nests with them, and so does its stack.
pub const MAX_NESTING: usize = 50;
/// Enough for rules and for quoting, while a page of events still fits one broker message.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Longer lists of addresses or attachments are cut in the summary; the raw message has them all.
pub const MAX_LISTED: usize = 50;

/// What an event tells about a mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub message_id: String,
    pub from: Option<Mailbox>,
    pub reply_to: Vec<Mailbox>,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub subject: String,
    pub date: Option<Timestamp>,
    pub in_reply_to: Option<String>,
    pub references: Vec<String>,
    pub text: String,
    pub text_truncated: bool,
    pub reply_text: String,
    /// The HTML made harmless, or why there is none to show; absent where the mail has none.
    pub html: Option<Result<String, String>>,
    pub attachments: Vec<Attachment>,
    /// The decoded bytes of each attachment, in the same order.
    pub files: Vec<Vec<u8>>,
    pub automatic: Option<Automatic>,
    /// Whatever anybody says in `Authentication-Results`, true or not.
    pub claims: Vec<Claim>,
    /// The mail is a report about one that was sent.
    pub bounce: Option<Bounce>,
}

/// Why a mail has no summary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the mail has {0} bytes, more than {MAX_MESSAGE_BYTES}")]
    TooLarge(usize),
    #[error("the mail's header has {0} bytes, more than {MAX_HEADER_BYTES}")]
    HeaderTooLarge(usize),
    #[error("the mail has {0} parts, more than {MAX_PARTS}")]
    TooManyParts(usize),
    #[error("the mail's parts are nested {0} deep, more than {MAX_NESTING}")]
    TooDeep(usize),
    #[error("the mail has no header")]
    NoHeader,
    #[error("the parser gave up on the mail: {0}")]
    ParserPanicked(String),
}

/// Summarises one raw message. `sha256` is its content hash; it names a mail that came without a Message-ID.
pub fn parse(raw: &[u8], sha256: &str) -> Result<Summary, Unreadable> {
    if raw.len() > MAX_MESSAGE_BYTES {
        return Err(Unreadable::TooLarge(raw.len()));
    }
    let header_bytes = outline::header_len(raw);
    if header_bytes > MAX_HEADER_BYTES {
        return Err(Unreadable::HeaderTooLarge(header_bytes));
    }
    // Before the parser runs: its data is dropped recursively, so depth must be bounded in the bytes already.
    let fields = outline::count_content_types(raw);
    if fields > MAX_PARTS {
        return Err(Unreadable::TooManyParts(fields));
    }
    // AssertUnwindSafe: only borrowed bytes go in, and nothing of a failed run is looked at again.
    catch_unwind(AssertUnwindSafe(|| summarise(raw, sha256))).unwrap_or_else(|panic| {
        Err(Unreadable::ParserPanicked(text::line(&panic_text(
            panic.as_ref(),
        ))))
    })
}

fn summarise(raw: &[u8], sha256: &str) -> Result<Summary, Unreadable> {
    let raw = header::repair(outline::mask_encoded_messages(raw));
    let message = MessageParser::default()
        .parse(raw.as_ref())
        .ok_or(Unreadable::NoHeader)?;
    check_shape(&message)?;
    let fields = header::Fields::of(&message);
    if fields.is_empty() {
        return Err(Unreadable::NoHeader);
    }
    let from = address::first(message.from());
    let reply_to = address::all(message.reply_to());
    let (text, text_truncated) = text::preview(&message);
    let bounce = bounce::recognise(&fields, &message, from.as_ref());
    let automatic = automatic::classify(&fields, &message, from.as_ref(), &reply_to)
        .or(bounce.as_ref().map(|_| Automatic::Bounce));
    let (attachments, files) = attachments(&message).into_iter().unzip();
    Ok(Summary {
        message_id: fields
            .first("message-id")
            .and_then(header::message_id)
            .unwrap_or_else(|| synthetic_message_id(sha256)),
        to: address::all(message.to()),
        cc: address::all(message.cc()),
        subject: text::line(message.subject().unwrap_or_default()),
        date: message
            .date()
            .filter(|date| date.is_valid())
            .and_then(|date| Timestamp::from_second(date.to_timestamp()).ok()),
        in_reply_to: fields.first("in-reply-to").and_then(header::message_id),
        references: fields
            .first("references")
            .map(header::references)
            .unwrap_or_default(),
        attachments,
        files,
        reply_text: quote::without_quote(&text),
        html: html::of(&message).map(|html| html.map_err(|withheld| withheld.to_string())),
        claims: authentication::claims(&fields),
        from,
        reply_to,
        text,
        text_truncated,
        automatic,
        bounce,
    })
}

/// The Message-ID in a header, or in a part of one; `None` where there is none.
pub fn message_id(header: &[u8]) -> Option<String> {
    let id = parse(header, "").ok()?.message_id;
    (id != synthetic_message_id("")).then_some(id)
}

/// The identity of a mail that has none: the same bytes always get the same one.
pub fn synthetic_message_id(sha256: &str) -> String {
    format!("{sha256}@content.invalid")
}

/// Walks the parts with a stack of its own: however deep they nest, the walk does not recurse.
fn check_shape(message: &Message<'_>) -> Result<(), Unreadable> {
    let mut parts = 0;
    let mut open = vec![(message, 1)];
    while let Some((message, depth)) = open.pop() {
        parts += message.parts.len();
        let depth = depth + multipart_depth(message);
        if depth > MAX_NESTING {
            return Err(Unreadable::TooDeep(depth));
        }
        if parts > MAX_PARTS {
            return Err(Unreadable::TooManyParts(parts));
        }
        open.extend(message.parts.iter().filter_map(|part| match &part.body {
            PartType::Message(nested) => Some((nested, depth + 1)),
            _ => None,
        }));
    }
    Ok(())
}

/// A part's children always come after it in the list, so one pass in order finds every depth.
fn multipart_depth(message: &Message<'_>) -> usize {
    let mut depths = vec![0_usize; message.parts.len()];
    for (at, part) in message.parts.iter().enumerate() {
        let PartType::Multipart(children) = &part.body else {
            continue;
        };
        let below = depths[at] + 1;
        for &child in children {
            if let Some(depth) = depths.get_mut(child as usize) {
                *depth = below;
            }
        }
    }
    depths.into_iter().max().unwrap_or_default()
}

fn attachments(message: &Message<'_>) -> Vec<(Attachment, Vec<u8>)> {
    message
        .attachments()
        .take(MAX_LISTED)
        .map(|part| {
            let content_type = part.content_type().map_or_else(
                || "application/octet-stream".to_owned(),
                |ct| format!("{}/{}", ct.ctype(), ct.subtype().unwrap_or("plain")),
            );
            let bytes = match &part.body {
                // A nested mail's own contents would be those of everything around it.
                PartType::Message(_) => message
                    .raw_message
                    .get(part.raw_body_offset() as usize..part.raw_end_offset() as usize)
                    .unwrap_or_default(),
                _ => part.contents(),
            };
            let attachment = Attachment {
                name: part
                    .attachment_name()
                    .map(|name| text::name(file_name(name)))
                    .filter(|name| !name.is_empty()),
                content_type: text::name(&content_type.to_ascii_lowercase()),
                content_id: part.content_id().map(text::name).filter(|id| !id.is_empty()),
                size: bytes.len() as u64,
                blob: None,
            };
            (attachment, bytes.to_vec())
        })
        .collect()
}

/// What comes after the folders, and nothing where that means a folder itself.
fn file_name(name: &str) -> &str {
    match name.rsplit(['/', '\\']).next().unwrap_or_default().trim() {
        "." | ".." => "",
        name => name,
    }
}

#[cfg(test)]
mod tests;
