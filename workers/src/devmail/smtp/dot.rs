//! The message after DATA, up to CRLF.CRLF, with its dots unstuffed (RFC 5321 4.5.2).
//!
//! Nothing but those five octets ends it: not `LF.LF`, not `CRLF.CRCRLF`. The first line may already be the dot, since
//! the CRLF of the DATA command counts as its line end.

/// RFC 5321 4.5.3.1.6: a text line is at most 998 octets and CRLF.
const MAX_TEXT_LINE: usize = 998;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Whole(Vec<u8>),
    TooBig,
    /// Holds a CR or LF on its own.
    BareCrOrLf,
    LineTooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Text,
    Cr,
    Dot,
    DotCr,
}

#[derive(Debug)]
pub(super) struct DotReader {
    state: State,
    body: Vec<u8>,
    limit: usize,
    line: usize,
    is_too_big: bool,
    is_bare: bool,
    is_line_too_long: bool,
}

impl DotReader {
    /// Keeps at most `limit` bytes; what is longer is read to its end and refused.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: State::LineStart,
            body: Vec::new(),
            limit,
            line: 0,
            is_too_big: false,
            is_bare: false,
            is_line_too_long: false,
        }
    }

    /// Takes bytes up to the end of the message. Returns how many it took, and the message once it is whole.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Body>) {
        for (index, &byte) in bytes.iter().enumerate() {
            self.state = match (self.state, byte) {
                (State::DotCr, b'\n') => return (index + 1, Some(self.finish())),
                (State::LineStart, b'.') => State::Dot,
                (State::Dot, b'\r') => State::DotCr,
                (State::DotCr, _) => {
                    // The dot was no end after all: it was stuffing before a line that starts with CR.
                    self.state = State::Cr;
                    self.push(b'\r');
                    self.text(byte)
                }
                _ => self.text(byte),
            };
        }
        (bytes.len(), None)
    }

    fn text(&mut self, byte: u8) -> State {
        let after_cr = self.state == State::Cr;
        self.is_bare |= after_cr != (byte == b'\n');
        self.push(byte);
        match byte {
            b'\r' => State::Cr,
            b'\n' if after_cr => {
                self.line = 0;
                State::LineStart
            }
            _ => {
                self.line += 1;
                self.is_line_too_long |= self.line > MAX_TEXT_LINE;
                State::Text
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if self.body.len() == self.limit {
            self.is_too_big = true;
            return;
        }
        self.body.push(byte);
    }

    fn finish(&mut self) -> Body {
        match std::mem::replace(self, Self::new(self.limit)) {
            Self { is_too_big: true, .. } => Body::TooBig,
            Self { is_bare: true, .. } => Body::BareCrOrLf,
            Self {
                is_line_too_long: true,
                ..
            } => Body::LineTooLong,
            Self { body, .. } => Body::Whole(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    /// The bodies read, and the bytes left over after the last of them.
    fn read(chunks: &[&[u8]]) -> (Option<Body>, Vec<u8>) {
        let (mut reader, mut body, mut rest) = (DotReader::new(LIMIT), None, Vec::new());
        for chunk in chunks {
            let mut bytes = *chunk;
            if body.is_none() {
                let (taken, done) = reader.feed(bytes);
                body = done;
                bytes = &bytes[taken..];
            }
            rest.extend_from_slice(bytes);
        }
        (body, rest)
    }

    #[test]
    fn however_the_bytes_are_split() {
        for (input, expect, left) in [
            (
                "hi\r\n.\r\nQUIT\r\n",
                Some(Body::Whole(b"hi\r\n".to_vec())),
                "QUIT\r\n",
            ),
            (".\r\n", Some(Body::Whole(Vec::new())), ""),
            (
                "..\r\n...\r\n.a\r\n.\r\n",
                Some(Body::Whole(b".\r\n..\r\na\r\n".to_vec())),
                "",
            ),
            (
                "a.\r\nb.c\r\n.\r\n",
                Some(Body::Whole(b"a.\r\nb.c\r\n".to_vec())),
                "",
            ),
            // Every known way to end a message early is no end, and makes the message unacceptable.
            ("a\n.\nMAIL\r\n.\r\n", Some(Body::BareCrOrLf), ""),
            ("a\n.\r\nMAIL\r\n.\r\n", Some(Body::BareCrOrLf), ""),
            ("a\r.\r\nMAIL\r\n.\r\n", Some(Body::BareCrOrLf), ""),
            ("a\r\n.\nMAIL\r\n.\r\n", Some(Body::BareCrOrLf), ""),
            ("a\r\n.\r\r\nMAIL\r\n.\r\n", Some(Body::BareCrOrLf), ""),
            ("a\r\n.\rMAIL\r\n.\r\n", Some(Body::BareCrOrLf), ""),
            ("a\r\n.", None, ""),
            ("a\r\n.\r", None, ""),
        ] {
            let whole = read(&[input.as_bytes()]);
            assert_eq!(whole, (expect, left.as_bytes().to_vec()), "{input:?}");
            for at in 0..input.len() {
                let (head, tail) = input.as_bytes().split_at(at);
                assert_eq!(read(&[head, tail]), whole, "{input:?} split at {at}");
            }
        }
    }

    #[test]
    fn limits_are_exact() {
        let check = |body: String, expect: fn(&Body) -> bool| {
            let (read, _) = read(&[format!("{body}\r\n.\r\n").as_bytes()]);
            assert!(expect(&read.unwrap()), "{} octets", body.len());
        };
        check("a".repeat(MAX_TEXT_LINE), |body| matches!(body, Body::Whole(_)));
        check("a".repeat(MAX_TEXT_LINE + 1), |body| *body == Body::LineTooLong);
        let lines = "123456\r\n".repeat(LIMIT / 8);
        check(
            lines[..LIMIT - 2].into(),
            |body| matches!(body, Body::Whole(body) if body.len() == LIMIT),
        );
        check(lines, |body| *body == Body::TooBig);
    }
}
