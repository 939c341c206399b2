//! Header fields as text: charset repair, look-up, and the ids inside them.

use std::borrow::Cow;

use encoding_rs::{Encoding, WINDOWS_1252};
use mail_parser::Message;

use super::outline::header_len;
use super::text;

/// Real ids have a hundred characters at most.
const MAX_ID_CHARS: usize = 500;
/// A thread longer than this keeps its root and its newest members.
const MAX_REFERENCES: usize = 50;

/// Rewrites header lines that are neither ASCII nor UTF-8, which the standard forbids and old mailers send.
///
/// The charset is the one that the message names for its text, else windows-1252, which web and mail use for
/// unlabelled Western text. Lines that are UTF-8 already stay as they are.
pub(super) fn repair(raw: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let end = header_len(&raw);
    if str::from_utf8(&raw[..end]).is_ok() {
        return raw;
    }
    let charset = named_charset(&raw[..end]).unwrap_or(WINDOWS_1252);
    let mut repaired = Vec::with_capacity(raw.len() + 64);
    for line in raw[..end].split_inclusive(|&b| b == b'\n') {
        match str::from_utf8(line) {
            Ok(_) => repaired.extend_from_slice(line),
            Err(_) => repaired.extend_from_slice(charset.decode_without_bom_handling(line).0.as_bytes()),
        }
    }
    repaired.extend_from_slice(&raw[end..]);
    Cow::Owned(repaired)
}

fn named_charset(header: &[u8]) -> Option<&'static Encoding> {
    const KEY: &[u8] = b"charset=";
    let at = header
        .windows(KEY.len())
        .position(|w| w.eq_ignore_ascii_case(KEY))?
        + KEY.len();
    let label: Vec<u8> = header[at..]
        .iter()
        .copied()
        .skip_while(|&b| b == b'"')
        .take_while(|b| b.is_ascii_alphanumeric() || b"-_:.".contains(b))
        .take(40)
        .collect();
    // UTF-8 would not have brought us here, and UTF-16 cannot be what a header is in.
    Encoding::for_label(&label).filter(|e| e.is_ascii_compatible() && *e != encoding_rs::UTF_8)
}

/// The fields of the message's own header: lower-case names, unfolded values.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn of(message: &Message<'_>) -> Self {
        Self(
            message
                .headers_raw()
                .map(|(name, value)| (name.trim().to_ascii_lowercase(), text::unfold(value)))
                .filter(|(name, _)| !name.is_empty())
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order, from the top.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

/// The first id of a Message-ID or In-Reply-To field, without brackets.
pub(super) fn message_id(value: &str) -> Option<String> {
    ids(value).into_iter().next()
}

/// All ids of a References field, oldest first, without repeats.
pub(super) fn references(value: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for id in ids(value) {
        if !found.contains(&id) {
            found.push(id);
        }
        if found.len() > MAX_REFERENCES {
            found.remove(1);
        }
    }
    found
}

/// Ids in brackets where there are any; else whatever is separated by white space or commas, as some mailers write.
fn ids(value: &str) -> Vec<String> {
    let bracketed: Vec<String> = value
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>'))
        .filter_map(|(id, _)| clean_id(id))
        .collect();
    if !bracketed.is_empty() {
        return bracketed;
    }
    value
        .split(|c: char| c.is_whitespace() || c == ',')
        .map(|word| word.trim_matches(['<', '>', '"', ';']))
        .filter(|word| word.contains('@'))
        .filter_map(clean_id)
        .collect()
}

fn clean_id(id: &str) -> Option<String> {
    let id: String = id
        .chars()
        .filter(|c| !c.is_whitespace() && !c.is_control())
        .take(MAX_ID_CHARS)
        .collect();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_every_shape_they_come_in() {
        let check = |value: &str, expect: &[&str]| assert_eq!(references(value), expect, "{value:?}");
        check("<a@x> <b@y>", &["a@x", "b@y"]);
        check("<a@x>\t<b@y>,<a@x>", &["a@x", "b@y"]);
        check("1@x, 2@x", &["1@x", "2@x"]);
        check("Your message of Tuesday <a@x> \"hello\"", &["a@x"]);
        check("<a b@x>", &["ab@x"]);
        check("<unclosed@x", &["unclosed@x"]);
        check("", &[]);
        check("nothing here", &[]);
    }

    #[test]
    fn a_long_thread_keeps_its_root_and_its_newest() {
        let value: String = (0..500).map(|n| format!("<{n}@x> ")).collect();
        let kept = references(&value);
        assert_eq!(kept.len(), MAX_REFERENCES);
        assert_eq!(kept[0], "0@x");
        assert_eq!(kept[1], "451@x");
        assert_eq!(kept[49], "499@x");
    }

    #[test]
    fn raw_eight_bit_headers_become_utf8() {
        let check = |raw: &[u8], expect: &str| {
            assert_eq!(String::from_utf8_lossy(&repair(Cow::Borrowed(raw))), expect);
        };
        check(
            b"Subject: Gr\xfc\xdfe\r\n\r\n\xfc",
            "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{fffd}",
        );
        check(
            b"Subject: \xcf\xf0\xe8\xe2\xe5\xf2\r\nContent-Type: text/plain; charset=\"windows-1251\"\r\n\r\n",
            "Subject: Привет\r\nContent-Type: text/plain; charset=\"windows-1251\"\r\n\r\n",
        );
        check("Subject: Grüße\r\n\r\n".as_bytes(), "Subject: Grüße\r\n\r\n");
    }
}
