//! What reads bytes from outside, as entry points for the fuzz targets in `broker/fuzz`: each panics where a promise is broken.

use crate::config::{ConfigFile, Unsupported};
use crate::protocol::{ParseLimits, headers, parse};
use crate::router::Trie;
use crate::subject::{self, Filter};

const LIMITS: ParseLimits = ParseLimits {
    max_control_line: 64,
    max_payload: 32,
};

/// Bytes of a client mean the same in whatever pieces they come. The first byte says where they are cut.
pub fn parser(input: &[u8]) {
    let Some((first, text)) = input.split_first() else {
        return;
    };
    let cut = usize::from(*first) % (text.len() + 1);
    assert_eq!(heard(text, text.len()), heard(text, cut), "cut at {cut}");
}

/// The operations in `text`, of which a part that ends at `cut` is there first; and the error that ends it.
fn heard(text: &[u8], cut: usize) -> (Vec<String>, Option<crate::protocol::ClientError>) {
    let (mut said, mut at) = (Vec::new(), 0);
    for end in [cut, text.len()] {
        loop {
            match parse(&text[at..end], LIMITS) {
                Ok(Some((op, len))) => {
                    assert!(
                        len > 0 && len <= end - at,
                        "{op:?} takes {len} bytes of {}",
                        end - at
                    );
                    said.push(format!("{op:?}"));
                    at += len;
                }
                Ok(None) => break,
                Err(error) => return (said, Some(error)),
            }
        }
    }
    (said, None)
}

/// A configuration file is read or refused, and each mistake is told with a place that is in it.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    // Whatever is on this machine is no part of the input.
    if text.contains("include") || text.contains('$') {
        return;
    }
    let lines = text.split('\n').count();
    for unsupported in [Unsupported::Refuse, Unsupported::Ignore] {
        if let Err(error) = ConfigFile::parse(text, "file", unsupported) {
            let told = error.to_string();
            let place = told.strip_prefix("file:").and_then(|rest| rest.split(':').next());
            let line = place.and_then(|line| line.parse::<usize>().ok());
            assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{told}");
        }
    }
}

/// What is put into a header block is found in it, and what is taken out is not.
pub fn headers(block: &[u8]) {
    let _ = headers::value(block, b"Nats-Msg-Id");
    let more = headers::with_lines(block, "Nats-Fuzz: 1\r\n");
    assert!(
        headers::value(&more, b"Nats-Fuzz").is_some() || !block.ends_with(b"\r\n"),
        "{block:?}"
    );
    let without = headers::without(&more, &[b"Nats-Fuzz"]);
    assert_eq!(headers::value(&without, b"Nats-Fuzz"), None);
    let replaced = headers::replace(&more, b"Nats-Fuzz", b"2");
    assert_eq!(
        headers::value(&replaced, b"Nats-Fuzz").is_some(),
        headers::value(&more, b"Nats-Fuzz").is_some()
    );
}

/// Lines of subjects: relations of filters agree with each other, and the tree with the filters.
pub fn subjects(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').take(8).collect();
    let filters: Vec<Filter> = lines.iter().filter_map(|line| Filter::parse(line)).collect();
    let mut tree = Trie::default();
    for (at, filter) in filters.iter().enumerate() {
        tree.insert(filter, at);
    }
    for left in &filters {
        assert!(left.covers(left) && left.overlaps(left), "{left} and itself");
        for right in &filters {
            assert_eq!(left.overlaps(right), right.overlaps(left), "{left} and {right}");
            assert!(
                !left.covers(right) || left.overlaps(right),
                "{left} covers {right}"
            );
        }
    }
    for line in lines.into_iter().filter(|line| subject::is_literal(line)) {
        let mut found = Vec::new();
        tree.for_each_match(line, |at| found.push(*at));
        found.sort_unstable();
        let matching = filters
            .iter()
            .enumerate()
            .filter(|(_, filter)| filter.matches(line));
        assert_eq!(found, matching.map(|(at, _)| at).collect::<Vec<_>>(), "{line:?}");
        for left in filters.iter().filter(|filter| !filter.matches(line)) {
            let covered = filters
                .iter()
                .find(|right| left.covers(right) && right.matches(line));
            assert_eq!(covered, None, "{left} covers it and does not match {line:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that mean something to one of the readers, so that some of what is put together gets far.
    const PIECES: [&str; 32] = [
        "PUB ",
        "HPUB ",
        "SUB ",
        "UNSUB ",
        "PING",
        "CONNECT {}",
        "\r\n",
        "\n",
        " ",
        "\t",
        ".",
        "a",
        "bc",
        "*",
        ">",
        "1",
        "12",
        "NATS/1.0\r\n",
        "Nats-Fuzz",
        ": ",
        "\r\n\r\n",
        "authorization ",
        "{",
        "}",
        "[",
        "]",
        "users",
        "listen",
        "=",
        "\"",
        "#",
        "max_payload: 1MB",
    ];

    proptest! {
        #[test]
        fn no_promise_is_broken(pieces in proptest::collection::vec(0..PIECES.len(), 0..24), first in any::<u8>()) {
            let text: String = pieces.iter().map(|at| PIECES[*at]).collect();
            parser(&[&[first], text.as_bytes()].concat());
            config(text.as_bytes());
            headers(text.as_bytes());
            subjects(text.as_bytes());
        }
    }
}
