//! Idempotency keys: what makes two deliveries the same piece of work.

use std::fmt::{self, Display};

use uuid::Uuid;

use crate::fingerprint;

/// An idempotency key, as kept in `deliveries.key`: its parts in order, joined so that no two lists of parts meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The key of these parts.
    ///
    /// ```
    /// use postroom::Key;
    /// assert_eq!(Key::of(&[&"desk", &7_u32]).as_str(), "desk/7");
    /// assert_ne!(Key::of(&[&"a/b", &"c"]), Key::of(&[&"a", &"b/c"]));
    /// ```
    #[must_use]
    pub fn of(parts: &[&dyn KeyPart]) -> Self {
        let mut text = String::new();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                text.push('/');
            }
            for character in part.key_part().chars() {
                match character {
                    '/' => text.push_str("%2F"),
                    '%' => text.push_str("%25"),
                    // Postgres keeps no NUL in TEXT.
                    '\0' => text.push_str("%00"),
                    other => text.push(other),
                }
            }
        }
        Self(bounded(text))
    }

    /// A key that is already in its stored form.
    pub(crate) fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key is indexed, and Postgres indexes no more than 2.7 kB; a Message-ID can be as long as its sender likes.
const MAX_LEN: usize = 512;
/// Of a longer key, this much stays readable before its hash.
const READABLE_LEN: usize = 256;

fn bounded(text: String) -> String {
    if text.len() <= MAX_LEN {
        return text;
    }
    let hash = fingerprint::of_payload(text.as_bytes(), &[]);
    format!("{}~{hash}", &text[..text.floor_char_boundary(READABLE_LEN)])
}

/// What may be part of a key: values whose text is one for equal values. Floats and maps are not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be part of an idempotency key",
    note = "keys are made of strings, integers, bools and UUIDs, whose text is one for equal values"
)]
pub trait KeyPart {
    /// The part as text.
    fn key_part(&self) -> String;
}

macro_rules! key_part {
    ($($part:ty),+) => { $(
        impl KeyPart for $part {
            fn key_part(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}

key_part!(
    str, &str, String, bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, Uuid
);

impl<P: KeyPart> KeyPart for Option<P> {
    fn key_part(&self) -> String {
        self.as_ref()
            .map_or_else(|| "-".to_owned(), |part| format!("+{}", part.key_part()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_all_lists_of_parts_apart() {
        let check = |parts: &[&dyn KeyPart], text: &str| assert_eq!(Key::of(parts).as_str(), text);
        check(&[&"desk", &"<1@x>"], "desk/<1@x>");
        check(&[&"a/b"], "a%2Fb");
        check(&[&"50%"], "50%25");
        check(&[&"a\0b"], "a%00b");
        check(&[&Some("x"), &None::<u8>], "+x/-");
        check(&[&-3_i64, &true], "-3/true");
    }

    #[test]
    fn a_long_key_is_hashed_and_still_tells_apart() {
        let at = "x".repeat(MAX_LEN);
        assert_eq!(Key::of(&[&at]).as_str(), at);
        let (one, two) = (format!("{at}1"), format!("{at}2"));
        assert_ne!(Key::of(&[&one]), Key::of(&[&two]));
        let wide = "é".repeat(MAX_LEN);
        assert!(Key::of(&[&one]).as_str().len() <= MAX_LEN && Key::of(&[&wide]).as_str().len() <= MAX_LEN);
    }
}
