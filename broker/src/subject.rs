//! Subjects and filters: how names are cut into tokens and which filter covers which name.
//!
//! Rules as in nats-server's sublist: tokens are separated by dots and never empty, `*` and `>` are wildcards only
//! as whole tokens, `>` only as the last one, and whitespace is forbidden. A token such as `foo*` is literal.

use bytes::Bytes;

/// Filters are kept in trees whose depth is their length; far above any real one, far below a thread's stack.
const FILTER_TOKENS_MAX: usize = 1024;

/// What a subscriber, a stream or a consumer listens to; may hold wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Bytes);

impl Filter {
    /// The only subject that this matches, if it has no wildcards.
    pub fn literal(&self) -> Option<&[u8]> {
        (!tokens(&self.0).any(is_wildcard)).then_some(&self.0)
    }

    /// `None` when the text is no valid subscription subject.
    pub fn parse(text: &[u8]) -> Option<Filter> {
        let is_bounded = tokens(text).nth(FILTER_TOKENS_MAX).is_none();
        (is_bounded && is_valid(text)).then(|| Filter(Bytes::copy_from_slice(text)))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Does a message published on the literal `subject` reach this filter?
    pub fn matches(&self, subject: &[u8]) -> bool {
        let mut wanted = tokens(&self.0);
        let mut given = tokens(subject);
        loop {
            match (wanted.next(), given.next()) {
                (Some(b">"), Some(_)) | (None, None) => return true,
                (Some(b"*"), Some(_)) => {}
                (Some(want), Some(token)) if want == token => {}
                _ => return false,
            }
        }
    }

    /// Does this filter match every subject that `other` matches?
    pub fn covers(&self, other: &Filter) -> bool {
        let mut wanted = tokens(&self.0);
        let mut given = tokens(&other.0);
        loop {
            match (wanted.next(), given.next()) {
                (Some(b">"), Some(_)) | (None, None) => return true,
                (Some(b"*"), Some(token)) if token != b">" => {}
                (Some(want), Some(token)) if want == token => {}
                _ => return false,
            }
        }
    }

    /// Is there any literal subject that both filters match?
    pub fn overlaps(&self, other: &Filter) -> bool {
        let mut left = tokens(&self.0);
        let mut right = tokens(&other.0);
        loop {
            match (left.next(), right.next()) {
                (Some(b">"), Some(_)) | (Some(_), Some(b">")) | (None, None) => return true,
                (Some(a), Some(b)) if a == b || a == b"*" || b == b"*" => {}
                _ => return false,
            }
        }
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0))
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0))
    }
}

/// The dot-separated parts of a subject or filter.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|&byte| byte == b'.')
}

pub fn is_wildcard(token: &[u8]) -> bool {
    token == b"*" || token == b">"
}

/// A subject that may be subscribed to.
pub fn is_valid(subject: &[u8]) -> bool {
    let mut after_tail = false;
    for token in tokens(subject) {
        if token.is_empty() || after_tail || token.iter().any(|b| is_forbidden(*b)) {
            return false;
        }
        after_tail = token == b">";
    }
    true
}

/// A subject that a message may be published on: valid and without wildcards.
pub fn is_literal(subject: &[u8]) -> bool {
    is_valid(subject) && !tokens(subject).any(is_wildcard)
}

fn is_forbidden(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn validity() {
        for good in [
            "a",
            "a.b",
            "*",
            ">",
            "a.*.c",
            "a.>",
            "foo*",
            "a.b>c",
            "*a.b",
            "$JS.API.>",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "a.>.b", ">.a", "a b", "a\tb", "a\r", "\n",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        let deep = |tokens: usize| vec!["a"; tokens].join(".");
        assert!(Filter::parse(deep(FILTER_TOKENS_MAX).as_bytes()).is_some());
        assert!(Filter::parse(deep(FILTER_TOKENS_MAX + 1).as_bytes()).is_none());
        assert!(is_literal(b"foo*.b>"));
        assert!(!is_literal(b"foo.*"));
        assert!(!is_literal(b"foo.>"));
    }

    #[test]
    fn matching() {
        let check = |f: &str, subject: &str, expect: bool| {
            assert_eq!(filter(f).matches(subject.as_bytes()), expect, "{f} ~ {subject}");
        };
        check("a.b", "a.b", true);
        check("a.b", "a.c", false);
        check("a.*", "a.b", true);
        check("a.*", "a", false);
        check("a.*", "a.b.c", false);
        check("a.>", "a.b.c", true);
        check("a.>", "a", false);
        check(">", "a", true);
        check("*.b", "a.b", true);
        check("foo*", "foobar", false);
        check("foo*", "foo*", true);
    }

    #[test]
    fn coverage() {
        let check = |a: &str, b: &str, expect: bool| {
            assert_eq!(filter(a).covers(&filter(b)), expect, "{a} ⊇ {b}");
        };
        check("a.*", "a.b", true);
        check("a.b", "a.*", false);
        check("a.>", "a.*.c", true);
        check("a.*", "a.>", false);
        check("a.*", "*.b", false);
        check(">", ">", true);
    }

    #[test]
    fn overlap() {
        let check = |a: &str, b: &str, expect: bool| {
            assert_eq!(filter(a).overlaps(&filter(b)), expect, "{a} & {b}");
            assert_eq!(filter(b).overlaps(&filter(a)), expect, "{b} & {a}");
        };
        check("a.*", "*.b", true);
        check("a.b", "a.c", false);
        check("a.>", "a", false);
        check("a.>", "a.b.c", true);
        check(">", "x.y", true);
        check("a.*.c", "a.b.>", true);
        check("a.*", "a.b.c", false);
    }
}
