//! The parts of a mail: text, HTML, files; and how they stand inside each other.
//!
//! ```text
//! multipart/mixed                 where there are attachments
//! ├─ multipart/related            where the HTML shows pictures of its own
//! │  ├─ multipart/alternative     where there is HTML
//! │  │  ├─ text/plain
//! │  │  └─ text/html
//! │  └─ image/…, with a Content-ID
//! └─ application/…
//! ```

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Attachment, Body, MultiPart, MultiPartKind, SinglePart};
use sha2::{Digest, Sha256};

use super::header::{header, id};
use super::{COMFORTABLE_LINE, Content, MessageError};
use crate::messages::{Enclosure, Send};

/// What a mail consists of, below its own headers.
pub(super) enum Parts {
    Single(SinglePart),
    Multi(MultiPart),
}

/// All of it, nested as the picture above says. `files` are the bytes of `send.attachments`, in their order.
pub(super) fn parts(send: &Send, content: &Content, files: &[Vec<u8>]) -> Result<Parts, MessageError> {
    let boundary = |level: &str| boundary(send, content, level);
    let text = part(ContentType::TEXT_PLAIN, &content.text);
    let mut whole = match &content.html {
        None => Parts::Single(text),
        Some(html) => Parts::Multi(
            MultiPart::builder()
                .kind(MultiPartKind::Alternative)
                .boundary(boundary("alternative"))
                .singlepart(text)
                // The last one is what a client prefers (RFC 2046 section 5.1.4).
                .singlepart(part(ContentType::TEXT_HTML, html)),
        ),
    };
    let (mut inline, mut attached) = (Vec::new(), Vec::new());
    for (index, (enclosure, bytes)) in send.attachments.iter().zip(files).enumerate() {
        let wrong = |mistake| MessageError::Attachment {
            index,
            mistake: Box::new(mistake),
        };
        if enclosure.content_id.is_some() && content.html.is_none() {
            return Err(wrong(MessageError::NowhereInline));
        }
        let file = file(enclosure, bytes).map_err(wrong)?;
        let kind = if enclosure.content_id.is_some() {
            &mut inline
        } else {
            &mut attached
        };
        kind.push(file);
    }
    for (kind, level, files) in [
        (MultiPartKind::Related, "related", inline),
        (MultiPartKind::Mixed, "mixed", attached),
    ] {
        if !files.is_empty() {
            let around = MultiPart::builder().kind(kind).boundary(boundary(level));
            let around = match whole {
                Parts::Single(part) => around.singlepart(part),
                Parts::Multi(parts) => around.multipart(parts),
            };
            whole = Parts::Multi(files.into_iter().fold(around, MultiPart::singlepart));
        }
    }
    Ok(whole)
}

fn file(enclosure: &Enclosure, bytes: &[u8]) -> Result<SinglePart, MessageError> {
    let name = header("name", &enclosure.name)?.to_owned();
    let kind = header("content_type", &enclosure.content_type)?;
    let content_type =
        content_type(kind).ok_or_else(|| MessageError::BadContentType(kind.chars().take(100).collect()))?;
    // Base64 holds anything.
    let body =
        Body::new_with_encoding(bytes.to_vec(), ContentTransferEncoding::Base64).unwrap_or_else(Body::new);
    let attachment = match &enclosure.content_id {
        Some(content_id) => Attachment::new_inline_with_name(id("content_id", content_id)?.to_owned(), name),
        None => Attachment::new(name),
    };
    Ok(attachment.body(body, content_type))
}

/// `type/subtype` and nothing else. What has parts of its own can't be in base64 (RFC 2045 section 6.4), and everything
/// attached here is.
fn content_type(kind: &str) -> Option<ContentType> {
    let (top, sub) = kind.split_once('/')?;
    let is_token = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let is_leaf = !["multipart", "message"]
        .iter()
        .any(|kind| top.eq_ignore_ascii_case(kind));
    (is_token(top) && is_token(sub) && is_leaf).then(|| ContentType::parse(kind).ok())?
}

/// The same for the same payload, and nothing that its own text could hold: it is a hash of that text.
fn boundary(send: &Send, content: &Content, level: &str) -> String {
    let mut hash = Sha256::new();
    let html = content.html.as_deref().unwrap_or_default();
    for text in [&send.message_id, &content.text, html, level] {
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
pub(super) fn wire_form(bytes: &[u8]) -> Vec<u8> {
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
