//! What can be told from the bytes before a parser sees them.

use std::borrow::Cow;

/// Length of the header: all before the first empty line, or everything.
pub(super) fn header_len(raw: &[u8]) -> usize {
    let mut at = 0;
    for line in raw.split_inclusive(|&b| b == b'\n') {
        if is_blank(line) {
            return at;
        }
        at += line.len();
    }
    raw.len()
}

/// Counts lines that could start a Content-Type field, in the header and everywhere below it. No level of nesting
/// comes without one, so this bounds depth before anything is parsed.
pub(crate) fn count_content_types(raw: &[u8]) -> usize {
    lines(raw)
        .filter(|(_, line)| starts_field(line, b"content-type"))
        .count()
}

/// Makes the parser leave base64 and quoted-printable `message/*` parts undecoded.
///
/// RFC 2046 forbids such encoding of `message/rfc822`, and what hides inside would escape every cap above. One byte
/// of the encoding's field name is changed, so that the part is listed as the attachment that it is.
pub(crate) fn mask_encoded_messages(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut masked = Cow::Borrowed(raw);
    let mut block = Block::default();
    for (at, line) in lines(raw) {
        if is_blank(line) {
            if let Some(field) = block.encoded_message(raw, at) {
                masked.to_mut()[field] = b'X';
            }
            block = Block::default();
        } else if starts_field(line, b"content-type") {
            block.content_type = Some(at);
        } else if starts_field(line, b"content-transfer-encoding") {
            block.encoding = Some(at + indent(line));
        }
    }
    if let Some(field) = block.encoded_message(raw, raw.len()) {
        masked.to_mut()[field] = b'X';
    }
    masked
}

/// Where the interesting fields of a run of lines between two empty ones begin.
#[derive(Default)]
struct Block {
    content_type: Option<usize>,
    encoding: Option<usize>,
}

impl Block {
    fn encoded_message(&self, raw: &[u8], end: usize) -> Option<usize> {
        let field = self.encoding?;
        let encoding = value(raw, field, end);
        if !encoding.contains("base64") && !encoding.contains("quoted-printable") {
            return None;
        }
        let is_message = match self.content_type {
            Some(at) => value(raw, at, end).starts_with("message"),
            // Inside a digest a part without a type is a message; elsewhere nothing is lost that reads as text.
            None => contains_digest(raw),
        };
        is_message.then_some(field)
    }
}

/// A field's value up to the next field, in lower case, without white space and comments.
fn value(raw: &[u8], field: usize, end: usize) -> String {
    /// Type and subtype come first; no parameter matters here.
    const ENOUGH: usize = 400;
    let text = &raw[field..end.min(field + ENOUGH)];
    let colon = text
        .iter()
        .position(|&b| b == b':')
        .map_or(text.len(), |at| at + 1);
    let mut depth = 0_usize;
    let mut found = String::new();
    for &byte in &text[colon..] {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && !byte.is_ascii_whitespace() => found.push(byte.to_ascii_lowercase() as char),
            _ => {}
        }
    }
    found
}

fn contains_digest(raw: &[u8]) -> bool {
    raw.windows(6)
        .any(|window| window.eq_ignore_ascii_case(b"digest"))
}

fn lines(raw: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    raw.split_inclusive(|&b| b == b'\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|&b| b == b'\r' || b == b'\n')
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|b| b.is_ascii_whitespace()).count()
}

fn starts_field(line: &[u8], name: &[u8]) -> bool {
    let line = &line[indent(line)..];
    line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_at_the_first_empty_line() {
        for (raw, expect) in [
            ("a: b\r\n\r\nbody", 6),
            ("a: b\n\nbody", 5),
            ("a: b", 4),
            ("\r\nbody", 0),
            ("", 0),
        ] {
            assert_eq!(header_len(raw.as_bytes()), expect, "{raw:?}");
        }
    }

    #[test]
    fn only_encoded_messages_are_masked() {
        let check = |header: &str, expect: bool| {
            let raw = format!("{header}\r\n\r\nContent-Type: x\r\n");
            let masked = mask_encoded_messages(raw.as_bytes());
            assert_eq!(matches!(masked, Cow::Owned(_)), expect, "{header:?}");
            assert_eq!(masked.len(), raw.len());
        };
        check(
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
            true,
        );
        check(
            "content-transfer-encoding: BASE64\r\ncontent-type: (c) Message / rfc822; name=x",
            true,
        );
        check(
            "Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable",
            true,
        );
        check(
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit",
            false,
        );
        check(
            "Content-Type: text/plain; name=\"message\"\r\nContent-Transfer-Encoding: base64",
            false,
        );
        check("Content-Transfer-Encoding: base64", false);
        check("X-Kind: digest\r\nContent-Transfer-Encoding: base64", true);
    }
}
