//! The header block of a message: `NATS/1.0\r\nName: value\r\n…\r\n\r\n`.
//!
//! Blocks are stored and forwarded verbatim; this only looks values up.

/// The trimmed value of the first line named `name`, compared case-sensitively as nats-server does.
pub fn value<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines(block).skip(1).find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(b":")?;
        Some(rest.trim_ascii())
    })
}

/// The block without the blank line that closes it, so that more lines can follow. Clients may have sent none.
pub fn open_block(block: &[u8]) -> &[u8] {
    match block.strip_suffix(b"\r\n") {
        Some(open) if open.ends_with(b"\r\n") => open,
        _ => block,
    }
}

/// The block, which may be empty, with `lines` at its end; each of them ends with CRLF.
pub fn with_lines(block: &[u8], lines: &str) -> Vec<u8> {
    let open = if block.is_empty() {
        b"NATS/1.0\r\n"
    } else {
        open_block(block)
    };
    [open, lines.as_bytes(), b"\r\n"].concat()
}

/// The block without the lines whose name starts with one of `prefixes`.
pub fn without(block: &[u8], prefixes: &[&[u8]]) -> Vec<u8> {
    let kept = block
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !prefixes.iter().any(|prefix| line.starts_with(prefix)));
    kept.collect::<Vec<_>>().concat()
}

/// The block with another value in its first line named `name`.
pub fn replace(block: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + value.len());
    let mut is_done = false;
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        let is_it = !is_done && line.strip_prefix(name).is_some_and(|rest| rest.starts_with(b":"));
        if is_it {
            is_done = true;
            out.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
        } else {
            out.extend_from_slice(line);
        }
    }
    out
}

/// A block that is a status and nothing else: `NATS/1.0 404 No Messages`, then `fields` line by line.
pub fn status(code: u16, text: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = format!("NATS/1.0 {code}");
    for part in [" ", text].iter().filter(|_| !text.is_empty()) {
        block.push_str(part);
    }
    block.push_str("\r\n");
    for (name, value) in fields {
        for part in [name, ": ", value, "\r\n"] {
            block.push_str(part);
        }
    }
    block.push_str("\r\n");
    block.into_bytes()
}

/// Nobody listens on `subject`.
pub fn no_responders(subject: &[u8]) -> Vec<u8> {
    [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat()
}

fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_a_block() {
        let check = |block: &str, expect: &str| assert_eq!(open_block(block.as_bytes()), expect.as_bytes());
        check("NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nA: b\r\n");
        check("NATS/1.0\r\n", "NATS/1.0\r\n");
        check("N", "N");
    }

    #[test]
    fn without_some() {
        let block = b"NATS/1.0\r\nA-1: 1\r\nB: 1\r\nA-2: 2\r\n\r\n";
        assert_eq!(without(block, &[b"A-"]), b"NATS/1.0\r\nB: 1\r\n\r\n");
        assert_eq!(without(b"", &[b"A-"]), b"");
    }

    #[test]
    fn another_value() {
        let block = b"NATS/1.0\r\nA: 1\r\nAB: 1\r\nA: 2\r\n\r\n";
        assert_eq!(
            replace(block, b"AB", b"x"),
            b"NATS/1.0\r\nA: 1\r\nAB: x\r\nA: 2\r\n\r\n"
        );
        assert_eq!(
            replace(block, b"A", b""),
            b"NATS/1.0\r\nA: \r\nAB: 1\r\nA: 2\r\n\r\n"
        );
    }

    #[test]
    fn lookup() {
        let block = b"NATS/1.0\r\nNats-Msg-Id: abc \r\nX:1\r\nNats-Msg-Id-Not: no\r\nEmpty:\r\n\r\n";
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(value(block, name.as_bytes()), expect.map(str::as_bytes), "{name}");
        };
        check("Nats-Msg-Id", Some("abc"));
        check("X", Some("1"));
        check("Empty", Some(""));
        check("nats-msg-id", None);
        check("Y", None);
        assert_eq!(value(b"", b"X"), None);
    }
}
