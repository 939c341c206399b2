//! Bounds on what a server may say, enforced before the parser sees a byte of it.
//!
//! The parser recurses with each parenthesis: some hundreds of them overflow its stack, and that ends the process. Its
//! buffer grows to whatever a literal announces. So depth, line length and literals are bounded here, on the raw bytes,
//! and a server that goes beyond is cut off like one that closes the connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::mime::MAX_MESSAGE_BYTES;

/// FLAGS inside a FETCH are two deep; body structures, which are never asked for, seldom ten.
const MAX_DEPTH: usize = 50;
/// A SEARCH answer with two million UIDs.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// The server said more than any honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Depth,
    Line,
    Literal(u64),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth => write!(f, "more than {MAX_DEPTH} open parentheses"),
            Self::Line => write!(f, "a line of more than {MAX_LINE} bytes"),
            Self::Literal(size) => write!(
                f,
                "a literal of {size} bytes; at most {MAX_MESSAGE_BYTES} are taken"
            ),
        }
    }
}

impl std::error::Error for Excess {}

/// A stream whose incoming bytes are bounded.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    scan: Scan,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            scan: Scan::default(),
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let result = this.scan.feed(&buf.filled()[before..]);
        if result.is_err() {
            buf.set_filled(before);
        }
        Poll::Ready(result.map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Follows the stream just far enough to tell structure from content. Bytes may come in any portions.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes of the current literal that are still to come: content, whatever it looks like.
    literal: u64,
    /// Of the current response, which goes on after a literal.
    depth: usize,
    line: usize,
    size: Size,
}

/// The announcement of a literal at the end of a line: `{123}`, or `{123+}`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Size {
    #[default]
    None,
    Digits(u64),
    Closed(u64),
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.literal > 0 {
                let skipped = usize::try_from(self.literal)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.literal -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.take(byte)?;
            bytes = rest;
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) -> Result<(), Excess> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(Excess::Line);
        }
        if byte == b'\n' {
            return self.end_line();
        }
        self.size = match (self.size, byte) {
            (_, b'{') => Size::Digits(0),
            (Size::Digits(size), b'0'..=b'9') => {
                Size::Digits(size.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (Size::Digits(size), b'+') => Size::Digits(size),
            (Size::Digits(size), b'}') => Size::Closed(size),
            (Size::Closed(size), b'\r') => Size::Closed(size),
            _ => Size::None,
        };
        // Parentheses inside quotes are counted too: text may hold a lone quote, which must not hide what follows.
        match byte {
            b'(' => self.depth += 1,
            b')' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > MAX_DEPTH {
            Err(Excess::Depth)
        } else {
            Ok(())
        }
    }

    fn end_line(&mut self) -> Result<(), Excess> {
        let size = std::mem::take(&mut self.size);
        self.line = 0;
        match size {
            Size::Closed(size) if size > MAX_MESSAGE_BYTES as u64 => return Err(Excess::Literal(size)),
            Size::Closed(size) => self.literal = size,
            Size::None | Size::Digits(_) => self.depth = 0,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, expect: Result<(), Excess>) {
        assert_eq!(Scan::default().feed(said.as_bytes()), expect, "at once");
        let mut scan = Scan::default();
        let bytewise = said.as_bytes().iter().try_for_each(|&byte| scan.feed(&[byte]));
        assert_eq!(bytewise, expect, "byte by byte");
    }

    #[test]
    fn honest_answers_pass() {
        check("* 1 FETCH (FLAGS (\\Seen) BODY[] {5}\r\n((((()\r\n", Ok(()));
        check(&"* OK (ready (for you\r\n".repeat(1_000), Ok(()));
        let deep_content = format!(
            "* 1 FETCH (BODY[] {{{0}}}\r\n{1})\r\n",
            10_000,
            "(".repeat(10_000)
        );
        check(&deep_content, Ok(()));
        check(
            &format!("* OK literal {{{}}} in the middle\r\n", u64::MAX),
            Ok(()),
        );
    }

    #[test]
    fn excess_is_cut_off() {
        let nested = |depth| format!("* 1 FETCH ({}\r\n", "(".repeat(depth));
        check(&nested(MAX_DEPTH - 1), Ok(()));
        check(&nested(MAX_DEPTH), Err(Excess::Depth));
        check(&format!("* OK \"{}\r\n", "(".repeat(400)), Err(Excess::Depth));
        check(
            "* 1 FETCH (BODY[] {550000000}\r\n",
            Err(Excess::Literal(550_000_000)),
        );
        check(
            "* 1 FETCH (BODY[] {99999999999999999999999}\r\n",
            Err(Excess::Literal(u64::MAX)),
        );
        check(
            &format!("* SEARCH {}", "1 ".repeat(MAX_LINE / 2)),
            Err(Excess::Line),
        );
    }

    #[test]
    fn depth_goes_on_after_a_literal_and_ends_with_the_response() {
        let part = format!("{} {{1}}\r\nx", "(".repeat(30));
        check(&format!("* 1 FETCH {part}{part}"), Err(Excess::Depth));
        check(&format!("* 1 FETCH {part}\r\n* 2 FETCH {part}\r\n"), Ok(()));
    }
}
