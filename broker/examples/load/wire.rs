//! A connection that speaks the client protocol and little else: what it costs should be the server's, not ours.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

/// What is gathered before it is written, and what is read at once.
const BUFFER: usize = 128 * 1024;

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    at: usize,
    end: usize,
    pub(crate) out: Vec<u8>,
}

/// A MSG or HMSG, by its place in the buffer.
pub(crate) struct Frame {
    reply: Range<usize>,
    body: Range<usize>,
}

enum Line {
    Message { frame: Frame, next: usize },
    Pong,
    Ping,
    Other,
}

impl Connection {
    pub(crate) fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream,
            received: vec![0; BUFFER],
            at: 0,
            end: 0,
            out: Vec::with_capacity(2 * BUFFER),
        };
        connection.out.extend_from_slice(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}\r\n",
        );
        connection.round_trip()?;
        Ok(connection)
    }

    pub(crate) fn subscribe(&mut self, subject: &str, queue: &str) -> io::Result<()> {
        let line = format!("SUB {subject} {queue} 1\r\n");
        self.out.extend_from_slice(line.as_bytes());
        self.round_trip()
    }

    /// Queues a publish; written when enough has gathered or on [`Connection::flush`].
    pub(crate) fn publish(&mut self, subject: &[u8], reply: &[u8], body: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(b"PUB ");
        self.put_address(subject, reply);
        self.put_body(body.len(), body)
    }

    pub(crate) fn publish_with_id(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        id: u64,
        body: &[u8],
    ) -> io::Result<()> {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id:016x}\r\n\r\n");
        self.out.extend_from_slice(b"HPUB ");
        self.put_address(subject, reply);
        let head = format!("{} {}\r\n{headers}", headers.len(), headers.len() + body.len());
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(body);
        self.out.extend_from_slice(b"\r\n");
        self.flush_if_full()
    }

    fn put_address(&mut self, subject: &[u8], reply: &[u8]) {
        self.out.extend_from_slice(subject);
        self.out.push(b' ');
        if !reply.is_empty() {
            self.out.extend_from_slice(reply);
            self.out.push(b' ');
        }
    }

    fn put_body(&mut self, len: usize, body: &[u8]) -> io::Result<()> {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = len;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        self.out.extend_from_slice(b"\r\n");
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.out.len() >= BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Returns once the server has taken everything before.
    pub(crate) fn round_trip(&mut self) -> io::Result<()> {
        self.out.extend_from_slice(b"PING\r\n");
        self.flush()?;
        loop {
            match self.line()? {
                Some(Line::Pong) => return Ok(()),
                Some(_) => {}
                None => self.fill()?,
            }
        }
    }

    /// The next message, waited for.
    pub(crate) fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill()?;
        }
    }

    /// The next message if it is here already.
    pub(crate) fn buffered(&mut self) -> io::Result<Option<Frame>> {
        loop {
            match self.line()? {
                Some(Line::Message { frame, .. }) => return Ok(Some(frame)),
                Some(Line::Ping) => {
                    self.out.extend_from_slice(b"PONG\r\n");
                    self.flush()?;
                }
                Some(Line::Pong | Line::Other) => {}
                None => return Ok(None),
            }
        }
    }

    pub(crate) fn body(&self, frame: &Frame) -> &[u8] {
        &self.received[frame.body.clone()]
    }

    pub(crate) fn reply(&self, frame: &Frame) -> Vec<u8> {
        self.received[frame.reply.clone()].to_vec()
    }

    /// Acknowledges a message, or answers it.
    pub(crate) fn answer(&mut self, frame: &Frame, body: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(b"PUB ");
        self.out.extend_from_slice(&self.received[frame.reply.clone()]);
        self.out.push(b' ');
        self.put_body(body.len(), body)
    }

    /// Asks, and returns the answer's body. Nothing else may be under way.
    pub(crate) fn request(&mut self, subject: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let inbox = format!("_R.{:016x}", rand::random::<u64>());
        self.out
            .extend_from_slice(format!("SUB {inbox} 9\r\nUNSUB 9 1\r\n").as_bytes());
        self.publish(subject.as_bytes(), inbox.as_bytes(), body)?;
        self.flush()?;
        let frame = self.next()?;
        Ok(self.body(&frame).to_vec())
    }

    /// Reads one line, and the message that it announces; `None` when it is not here yet.
    fn line(&mut self) -> io::Result<Option<Line>> {
        let bytes = &self.received[self.at..self.end];
        let Some(len) = bytes.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let line = bytes[..len].trim_ascii_end();
        let found = match line.first() {
            Some(b'M' | b'H') => match self.message(line, self.at + len + 1) {
                Some(message) => message,
                None => return Ok(None),
            },
            Some(b'-') => return Err(io::Error::other(String::from_utf8_lossy(line).into_owned())),
            _ if line == b"PONG" => Line::Pong,
            _ if line == b"PING" => Line::Ping,
            _ => Line::Other,
        };
        self.at = match &found {
            Line::Message { next, .. } => *next,
            _ => self.at + len + 1,
        };
        Ok(Some(found))
    }

    fn message(&self, line: &[u8], body_at: usize) -> Option<Line> {
        let mut numbers = [0..0, 0..0, 0..0, 0..0, 0..0, 0..0];
        let mut count = 0;
        let mut start = self.at;
        for (at, &byte) in line.iter().chain(b" ").enumerate() {
            if byte == b' ' && count < numbers.len() {
                numbers[count] = start..self.at + at;
                count += 1;
                start = self.at + at + 1;
            }
        }
        let number = |range: &Range<usize>| {
            let digits = &self.received[range.clone()];
            digits.iter().fold(0_usize, |sum, &digit| {
                sum * 10 + usize::from(digit.wrapping_sub(b'0'))
            })
        };
        let has_headers = line[0] == b'H';
        let sizes = if has_headers { 2 } else { 1 };
        let total = number(&numbers[count - 1]);
        let head = if has_headers {
            number(&numbers[count - 2])
        } else {
            0
        };
        let reply = if count == 3 + sizes + 1 {
            numbers[3].clone()
        } else {
            0..0
        };
        let next = body_at + total + 2;
        (next <= self.end).then_some(Line::Message {
            frame: Frame {
                reply,
                body: body_at + head..body_at + total,
            },
            next,
        })
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.at > 0 {
            self.received.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        if self.end == self.received.len() {
            self.received.resize(2 * self.end, 0);
        }
        let read = self.stream.read(&mut self.received[self.end..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end += read;
        Ok(())
    }
}
