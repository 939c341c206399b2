//! Bytes to command lines. Only CRLF ends a line: a lone CR or LF is how mail is smuggled (RFC 5321 2.3.8).

/// RFC 4954 4.5.3.1 lets an AUTH line be this long; every other command line is far shorter.
const MAX_LINE: usize = 12_288;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its CRLF.
    Whole(Vec<u8>),
    /// Longer than the limit; its bytes were thrown away up to the CRLF.
    TooLong,
    /// Holds a CR or LF on its own.
    BareCrOrLf,
}

/// Collects one line at a time.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    line: Vec<u8>,
    is_too_long: bool,
    is_bare: bool,
    after_cr: bool,
}

impl LineReader {
    /// Takes bytes up to the end of a line. Returns how many it took, and the line once it is whole.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        for (index, &byte) in bytes.iter().enumerate() {
            match (self.after_cr, byte) {
                (true, b'\n') => return (index + 1, Some(self.finish())),
                (true, _) | (false, b'\n') => self.is_bare = true,
                (false, _) => {}
            }
            self.after_cr = byte == b'\r';
            if byte != b'\r' && byte != b'\n' {
                self.push(byte);
            }
        }
        (bytes.len(), None)
    }

    fn push(&mut self, byte: u8) {
        if self.line.len() == MAX_LINE {
            self.is_too_long = true;
            return;
        }
        self.line.push(byte);
    }

    fn finish(&mut self) -> Line {
        let done = std::mem::take(self);
        match done {
            Self { is_bare: true, .. } => Line::BareCrOrLf,
            Self {
                is_too_long: true, ..
            } => Line::TooLong,
            Self { line, .. } => Line::Whole(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Line> {
        let (mut reader, mut lines) = (LineReader::default(), Vec::new());
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let (taken, line) = reader.feed(rest);
                lines.extend(line);
                rest = &rest[taken..];
            }
        }
        lines
    }

    #[test]
    fn however_the_bytes_are_split() {
        let input = b"EHLO x\r\nbad\nline\r\nbare\rcr\r\n\r\n";
        let whole = lines(&[input]);
        let expect = [
            Line::Whole(b"EHLO x".to_vec()),
            Line::BareCrOrLf,
            Line::BareCrOrLf,
            Line::Whole(Vec::new()),
        ];
        assert_eq!(whole, expect);
        for at in 0..input.len() {
            let (head, tail) = input.split_at(at);
            assert_eq!(lines(&[head, tail]), whole, "split at {at}");
        }
    }

    #[test]
    fn the_limit_is_exact_and_the_next_line_is_clean() {
        let longest = [vec![b'a'; MAX_LINE], b"\r\n".to_vec()].concat();
        assert_eq!(lines(&[&longest]), [Line::Whole(vec![b'a'; MAX_LINE])]);
        let longer = [vec![b'a'; MAX_LINE + 1], b"\r\nNOOP\r\n".to_vec()].concat();
        assert_eq!(lines(&[&longer]), [Line::TooLong, Line::Whole(b"NOOP".to_vec())]);
    }
}
