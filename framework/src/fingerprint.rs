//! Fingerprints: of a payload, to catch a key that is used for something else; of an error, to group dead letters.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// SHA-256 of the payload as received, in hex. Where fields are `incidental`, of the other fields' own bytes, in the
/// order of their names.
pub(crate) fn of_payload(payload: &[u8], incidental: &[&str]) -> String {
    if incidental.is_empty() {
        return hex(&Sha256::digest(payload));
    }
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(payload) else {
        return hex(&Sha256::digest(payload));
    };
    fields.retain(|name, _| !incidental.contains(&name.as_str()));
    let mut digest = Sha256::new();
    for (name, value) in fields {
        digest.update(name.len().to_be_bytes());
        digest.update(name);
        digest.update(value.get().len().to_be_bytes());
        digest.update(value.get());
    }
    hex(&digest.finalize())
}

/// The same for errors that differ only in numbers, addresses and quoted texts: 16 hex digits.
pub(crate) fn of_error(class: &str, text: &str) -> String {
    let mut shape = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let variable = word.contains('@')
            || word.chars().any(|c| c.is_ascii_digit())
            || word.starts_with(['"', '`', '<']);
        shape.push_str(if variable { "_" } else { word });
        shape.push(' ');
    }
    let mut digest = Sha256::new();
    digest.update(class);
    digest.update([0]);
    digest.update(&shape);
    hex(&digest.finalize())[..16].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incidental_fields_do_not_count() {
        let one = of_payload(br#"{"subject":"hi","uid":1}"#, &["uid"]);
        let two = of_payload(br#"{"uid":2,"subject":"hi"}"#, &["uid"]);
        let other = of_payload(br#"{"uid":2,"subject":"ho"}"#, &["uid"]);
        assert_eq!(one, two);
        assert_ne!(one, other);
    }

    #[test]
    fn a_payload_that_is_no_object_counts_whole() {
        assert_ne!(
            of_payload(b"\xff\x00", &["uid"]),
            of_payload(b"\xff\x01", &["uid"])
        );
        assert_ne!(of_payload(b"a", &[]), of_payload(b"b", &[]));
    }

    #[test]
    fn errors_group_by_their_shape() {
        let check = |a: &str, b: &str, same: bool| {
            assert_eq!(of_error("c", a) == of_error("c", b), same, "{a} / {b}");
        };
        check("550 no such user ann@x.test", "551 no such user bob@y.test", true);
        check("no such user", "mailbox full", false);
        assert_ne!(of_error("a", "x"), of_error("b", "x"));
    }
}
