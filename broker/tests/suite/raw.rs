//! A client that knows nothing: bytes out, bytes in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an expected answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) subject: String,
    pub(crate) reply: String,
    pub(crate) headers: String,
    pub(crate) payload: String,
}

impl Received {
    /// The status line's code and text.
    pub(crate) fn status(&self) -> &str {
        self.headers
            .strip_prefix("NATS/1.0 ")
            .and_then(|rest| rest.split("\r\n").next())
            .unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.split("\r\n");
        lines
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
    /// Messages that came before the answer to a request.
    early: VecDeque<Received>,
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw {
            stream,
            read: Vec::new(),
            early: VecDeque::new(),
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

    #[track_caller]
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
    #[track_caller]
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

    /// A request to the API and its answer.
    #[track_caller]
    pub(crate) fn api(&mut self, subject: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.publish(&format!("$JS.API.{subject}"), "_INBOX.api", &[], &body);
        loop {
            // A consumer may have delivered something before its making is answered.
            match self.arrival() {
                answer if answer.subject == "_INBOX.api" => {
                    return serde_json::from_str(&answer.payload).unwrap();
                }
                other => self.early.push_back(other),
            }
        }
    }

    /// Publishes with headers, each `Name: value`.
    pub(crate) fn publish(&mut self, subject: &str, reply: &str, headers: &[&str], body: &str) {
        if headers.is_empty() {
            return self.send(format!("PUB {subject} {reply} {}\r\n{body}\r\n", body.len()).as_bytes());
        }
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let block = format!("NATS/1.0\r\n{lines}\r\n");
        let (head, total) = (block.len(), block.len() + body.len());
        self.send(format!("HPUB {subject} {reply} {head} {total}\r\n{block}{body}\r\n").as_bytes());
    }

    /// Publishes to a stream; its answer.
    #[track_caller]
    pub(crate) fn store(&mut self, subject: &str, headers: &[&str], body: &str) -> Value {
        self.publish(subject, "_INBOX.stored", headers, body);
        let answer = self.message();
        assert_eq!(answer.subject, "_INBOX.stored");
        serde_json::from_str(&answer.payload).unwrap()
    }

    /// As [`Raw::store`], for an answer that may be empty.
    #[track_caller]
    pub(crate) fn store_part(&mut self, subject: &str, headers: &[&str], body: &str) -> Option<Value> {
        self.publish(subject, "_INBOX.part", headers, body);
        let answer = self.message();
        assert_eq!(answer.subject, "_INBOX.part");
        (!answer.payload.is_empty()).then(|| serde_json::from_str(&answer.payload).unwrap())
    }

    /// The next message, whatever it is.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Received {
        match self.early.pop_front() {
            Some(message) => message,
            None => self.arrival(),
        }
    }

    #[track_caller]
    fn arrival(&mut self) -> Received {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            let sizes = match words[0] {
                "MSG" => 1,
                "HMSG" => 2,
                "PING" => {
                    self.send(b"PONG\r\n");
                    continue;
                }
                "PONG" | "INFO" => continue,
                _ => panic!("wanted a message, got {line:?}"),
            };
            let number = |back: usize| words[words.len() - back].parse::<usize>().unwrap();
            let head = if sizes == 2 { number(2) } else { 0 };
            let body = self.take(number(1) + 2);
            let reply = if words.len() == 4 + sizes { words[3] } else { "" };
            return Received {
                subject: words[1].to_owned(),
                reply: reply.to_owned(),
                headers: body[..head].to_owned(),
                payload: body[head..body.len() - 2].to_owned(),
            };
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> String {
        while self.read.len() < len {
            assert!(self.fill(), "closed");
        }
        String::from_utf8_lossy(&self.read.drain(..len).collect::<Vec<u8>>()).into_owned()
    }

    /// False once the server has closed.
    #[track_caller]
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
