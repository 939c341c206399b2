//! Subject transforms: a filter, and the name that what it matches gets instead. Pure.
//!
//! Tokens of the destination may be `$1` or `{{wildcard(1)}}`, `{{partition(10,1,2)}}`, `{{split(1,-)}}`,
//! `{{splitfromleft(1,3)}}`, `{{splitfromright(1,3)}}`, `{{slicefromleft(1,3)}}`, `{{slicefromright(1,3)}}`,
//! `{{left(1,3)}}`, `{{right(1,3)}}` and `{{random(10)}}`, counting the `*` of the source from 1.

use thiserror::Error;

use crate::subject::{Filter, is_valid, tokens};

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransformError {
    #[error("invalid subject")]
    BadSubject,
    #[error("invalid mapping destination: wildcard index out of range in {token}: [{index}]")]
    IndexOutOfRange { token: String, index: usize },
    #[error("invalid mapping destination: unknown function in {0}")]
    UnknownFunction(String),
    #[error("invalid mapping destination: not enough arguments passed to the function in {0}")]
    WrongArguments(String),
}

#[derive(Debug, Clone)]
pub struct Transform {
    filter: Filter,
    parts: Vec<Part>,
}

/// One token of the destination. Wildcards are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Wildcard(usize),
    /// Everything that the `>` of the source stands for.
    Tail,
    /// Of no wildcard: of the whole subject.
    Partition {
        count: u32,
        of: Vec<usize>,
    },
    Random {
        count: u32,
    },
    Split {
        of: usize,
        by: String,
    },
    Cut {
        of: usize,
        at: usize,
        from: Side,
    },
    Slice {
        of: usize,
        len: usize,
        from: Side,
    },
    Keep {
        of: usize,
        len: usize,
        from: Side,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Transform {
    /// An empty source stands for every subject.
    pub fn parse(source: &str, destination: &str) -> Result<Transform, TransformError> {
        let source = if source.is_empty() { ">" } else { source };
        let filter = Filter::parse(source.as_bytes()).ok_or(TransformError::BadSubject)?;
        if !is_valid(destination.as_bytes()) {
            return Err(TransformError::BadSubject);
        }
        let ends_open = |subject: &str| subject == ">" || subject.ends_with(".>");
        let has_star = destination.split('.').any(|token| token == "*");
        if has_star || ends_open(source) != ends_open(destination) {
            return Err(TransformError::BadSubject);
        }
        let wildcards = source.split('.').filter(|token| *token == "*").count();
        let parts = split_destination(destination)
            .map(|token| Part::parse(token, wildcards))
            .collect::<Result<_, _>>()?;
        Ok(Transform { filter, parts })
    }

    /// What `subject` becomes; `None` if it is not meant.
    pub fn apply(&self, subject: &[u8]) -> Option<Vec<u8>> {
        if !self.filter.matches(subject) {
            return None;
        }
        let given: Vec<&[u8]> = tokens(subject).collect();
        let mut stars = Vec::new();
        let mut tail: &[&[u8]] = &[];
        for (at, wanted) in tokens(self.filter.as_bytes()).enumerate() {
            match wanted {
                b"*" => stars.push(String::from_utf8_lossy(given[at]).into_owned()),
                b">" => tail = &given[at..],
                _ => {}
            }
        }
        let mut out = Vec::with_capacity(subject.len());
        for part in &self.parts {
            if !out.is_empty() {
                out.push(b'.');
            }
            match part {
                Part::Tail => out.extend_from_slice(&tail.join(&b'.')),
                part => out.extend_from_slice(part.fill(&stars, subject).as_bytes()),
            }
        }
        Some(out)
    }
}

/// Dots inside `{{…}}` do not separate.
fn split_destination(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == '.' && depth == 0
    })
}

impl Part {
    fn parse(token: &str, wildcards: usize) -> Result<Part, TransformError> {
        let checked = |index: usize| match index {
            1.. if index <= wildcards => Ok(index - 1),
            _ => Err(TransformError::IndexOutOfRange {
                token: token.to_owned(),
                index,
            }),
        };
        if token == ">" {
            return Ok(Part::Tail);
        }
        if let Some(index) = token.strip_prefix('$').and_then(|digits| digits.parse().ok()) {
            return checked(index).map(Part::Wildcard);
        }
        let Some(call) = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else {
            return Ok(Part::Literal(token.to_owned()));
        };
        let wrong = || TransformError::WrongArguments(token.to_owned());
        let (name, arguments) = call.trim().split_once('(').ok_or_else(wrong)?;
        let arguments = arguments.strip_suffix(')').ok_or_else(wrong)?;
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        let number = |at: usize| -> Result<usize, TransformError> {
            arguments
                .get(at)
                .and_then(|text| text.parse().ok())
                .ok_or_else(wrong)
        };
        let count = || number(0).and_then(|count| u32::try_from(count.max(1)).map_err(|_| wrong()));
        Ok(match name.trim().to_lowercase().as_str() {
            "wildcard" => Part::Wildcard(checked(number(0)?)?),
            "partition" => Part::Partition {
                count: count()?,
                of: (1..arguments.len())
                    .map(|at| number(at).and_then(checked))
                    .collect::<Result<_, _>>()?,
            },
            "random" => Part::Random { count: count()? },
            "split" => Part::Split {
                of: checked(number(0)?)?,
                by: (*arguments.get(1).filter(|by| !by.is_empty()).ok_or_else(wrong)?).to_owned(),
            },
            function => {
                let (of, len) = (checked(number(0)?)?, number(1)?);
                let (at, from) = (
                    len,
                    if function.ends_with("right") {
                        Side::Right
                    } else {
                        Side::Left
                    },
                );
                match function {
                    "splitfromleft" | "splitfromright" => Part::Cut { of, at, from },
                    "slicefromleft" | "slicefromright" => Part::Slice { of, len, from },
                    "left" | "right" => Part::Keep { of, len, from },
                    _ => return Err(TransformError::UnknownFunction(token.to_owned())),
                }
            }
        })
    }

    fn fill(&self, stars: &[String], subject: &[u8]) -> String {
        match self {
            Part::Literal(text) => text.clone(),
            Part::Wildcard(at) => stars[*at].clone(),
            Part::Tail => String::new(),
            Part::Partition { count, of } => {
                let named: Vec<u8> = of.iter().flat_map(|&at| stars[at].bytes()).collect();
                let hashed = if of.is_empty() { subject } else { &named };
                (fnv1a(hashed) % count).to_string()
            }
            Part::Random { count } => rand::random_range(0..*count).to_string(),
            Part::Split { of, by } => {
                let pieces = stars[*of].split(by.as_str()).filter(|piece| !piece.is_empty());
                pieces.collect::<Vec<_>>().join(".")
            }
            Part::Cut { of, at, from } => {
                let text = &stars[*of];
                match position(text, *at, *from) {
                    Some(at) if at > 0 && at < text.len() => format!("{}.{}", &text[..at], &text[at..]),
                    _ => text.clone(),
                }
            }
            Part::Slice { of, len, from } => slice(&stars[*of], *len, *from),
            Part::Keep { of, len, from } => {
                let text = &stars[*of];
                match (position(text, *len, *from), from) {
                    (Some(at), Side::Left) => text[..at].to_owned(),
                    (Some(at), Side::Right) => text[at..].to_owned(),
                    (None, _) => text.clone(),
                }
            }
        }
    }
}

/// The byte index `count` bytes from one end, if the text is that long and does not break there.
fn position(text: &str, count: usize, from: Side) -> Option<usize> {
    let at = match from {
        Side::Left => Some(count).filter(|&at| at <= text.len()),
        Side::Right => text.len().checked_sub(count),
    };
    at.filter(|&at| text.is_char_boundary(at))
}

/// Pieces of `len`; what does not fill one is at the other end.
fn slice(text: &str, len: usize, from: Side) -> String {
    if len == 0 || len >= text.len() || !text.is_ascii() {
        return text.to_owned();
    }
    let first = match from {
        Side::Left => len,
        Side::Right if text.len().is_multiple_of(len) => len,
        Side::Right => text.len() % len,
    };
    let (head, rest) = text.split_at(first);
    let pieces = rest.as_bytes().chunks(len).map(String::from_utf8_lossy);
    std::iter::once(head.into())
        .chain(pieces)
        .collect::<Vec<_>>()
        .join(".")
}

/// FNV-1a with 32 bits, so that partitions agree with nats-server's.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change() {
        let check = |source: &str, destination: &str, subject: &str, expect: Option<&str>| {
            let transform = Transform::parse(source, destination).unwrap();
            let became = transform.apply(subject.as_bytes());
            let became = became.map(|name| String::from_utf8(name).unwrap());
            assert_eq!(became.as_deref(), expect, "{source} → {destination}: {subject}");
        };
        check("a", "b", "a", Some("b"));
        check("a", "b", "c", None);
        check("a.>", "b.>", "a.x.y", Some("b.x.y"));
        check("", "all.>", "x.y", Some("all.x.y"));
        check("a.*.*", "b.$2.{{wildcard(1)}}", "a.1.2", Some("b.2.1"));
        check("a.*.>", "b.>", "a.1.2.3", Some("b.2.3"));
        check("*", "{{left(1,2)}}.{{right(1,2)}}", "abcdef", Some("ab.ef"));
        check("*", "{{split(1,-)}}", "-a-b--c-", Some("a.b.c"));
        check("*", "{{splitfromleft(1,3)}}", "1234567", Some("123.4567"));
        check("*", "{{splitfromright(1,3)}}", "1234567", Some("1234.567"));
        check("*", "{{slicefromleft(1,3)}}", "1234567890", Some("123.456.789.0"));
        check(
            "*",
            "{{slicefromright(1,3)}}",
            "1234567890",
            Some("1.234.567.890"),
        );
        check("*.*", "p.{{partition(10,1,2)}}", "foo.bar", Some("p.0"));
    }

    #[test]
    fn refusals() {
        let check = |source: &str, destination: &str, text: &str| {
            let error = Transform::parse(source, destination).unwrap_err();
            assert_eq!(error.to_string(), text, "{source} → {destination}");
        };
        check("a.*", "b.*", "invalid subject");
        check("a.>", "b", "invalid subject");
        check(
            "a.*",
            "b.$2",
            "invalid mapping destination: wildcard index out of range in $2: [2]",
        );
        check(
            "a.*",
            "{{what(1,2)}}",
            "invalid mapping destination: unknown function in {{what(1,2)}}",
        );
        check(
            "a.*",
            "{{split(1)}}",
            "invalid mapping destination: not enough arguments passed to the function in {{split(1)}}",
        );
    }
}
