//! A client that knows nothing: bytes out, bytes in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an expected answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw {
            stream,
            read: Vec::new(),
        }
    }

    /// A connection that has read INFO and said CONNECT with `options`.
    pub(crate) fn ready(address: SocketAddr, options: &str) -> Raw {
        let mut raw = Raw::connect(address);
        raw.expect_start("INFO {");
        raw.send(format!("CONNECT {options}\r\n").as_bytes());
        raw
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads one line that starts with `start`; the line without its end.
    pub(crate) fn expect_start(&mut self, start: &str) -> String {
        let line = self.line();
        assert!(line.starts_with(start), "wanted {start:?}, got {line:?}");
        line
    }

    /// Reads exactly `text`.
    pub(crate) fn expect(&mut self, text: &str) {
        while self.read.len() < text.len() && self.fill() {}
        let got = String::from_utf8_lossy(&self.read[..self.read.len().min(text.len())]).into_owned();
        assert_eq!(got, text);
        self.read.drain(..text.len());
    }

    /// Whether the server closed the connection without another word.
    pub(crate) fn expect_close(&mut self) {
        while self.fill() {}
        assert_eq!(String::from_utf8_lossy(&self.read), "", "before the close");
    }

    /// Reads whatever comes until the server closes.
    pub(crate) fn drain(&mut self) -> usize {
        while self.fill() {}
        self.read.len()
    }

    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8_lossy(&line).trim_end().to_owned();
            }
            assert!(
                self.fill(),
                "closed in the middle of a line: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    /// Publishes a request and reads the payload of the answer.
    pub(crate) fn request(&mut self, subject: &str, body: &str) -> String {
        self.send(format!("PUB {subject} _INBOX.raw {}\r\n{body}\r\n", body.len()).as_bytes());
        loop {
            let line = self.line();
            if line == "PING" {
                self.send(b"PONG\r\n");
                continue;
            }
            let len: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
            return self.take(len + 2).trim_end().to_owned();
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> String {
        while self.read.len() < len {
            assert!(self.fill(), "closed");
        }
        String::from_utf8_lossy(&self.read.drain(..len).collect::<Vec<u8>>()).into_owned()
    }

    /// False once the server has closed.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(len) => {
                self.read.extend_from_slice(&chunk[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&self.read)),
        }
    }
}
