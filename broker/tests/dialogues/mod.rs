//! Two servers that are told the same, and what they say to it in a form that can be compared.

pub(crate) mod accepted;
pub(crate) mod grammar;
pub(crate) mod recorded;
pub(crate) mod requests;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::suite::server::{Server, ours, reference};

/// How long either server may take to end a dialogue.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Pair([(Server, TempDir); 2]);

pub(crate) struct Said {
    pub(crate) ours: Words,
    pub(crate) theirs: Words,
}

/// What a server said: what is not a message, in its order, and the messages of each subscription in theirs.
///
/// How the two mix is up to each server: a delivery to oneself may come before or after the `+OK` for its publish.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Words {
    control: Vec<String>,
    messages: BTreeMap<String, Vec<String>>,
}

impl Pair {
    /// Both with `config`, JetStream, and a port of their own.
    pub(crate) fn start(config: &str) -> Pair {
        Pair([ours(), reference()].map(|program| {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("server.conf");
            let store = folder.path().join("store");
            let text = format!("listen: '127.0.0.1:-1', jetstream {{ store_dir: {store:?} }}\n{config}");
            fs::write(&path, text).unwrap();
            let mut command = Command::new(program);
            command.arg("-c").arg(path);
            (Server::spawn(command), folder)
        }))
    }

    pub(crate) fn ours(&self) -> SocketAddr {
        self.0[0].0.address
    }

    pub(crate) fn theirs(&self) -> SocketAddr {
        self.0[1].0.address
    }

    /// Says `bytes` to both, cut into the same pieces.
    pub(crate) fn say(&self, bytes: &[u8], cut: Cut) -> Said {
        Said {
            ours: say(self.ours(), bytes, cut),
            theirs: say(self.theirs(), bytes, cut),
        }
    }
}

/// How what is said is cut into pieces, each a write of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Nowhere,
    AfterEachByte,
    /// Anywhere, from this seed.
    AtRandom(u64),
}

pub(crate) fn say(address: SocketAddr, bytes: &[u8], cut: Cut) -> Words {
    let mut random = StdRng::seed_from_u64(if let Cut::AtRandom(seed) = cut { seed } else { 0 });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = match cut {
            Cut::Nowhere => rest.len(),
            Cut::AfterEachByte => 1,
            Cut::AtRandom(_) => random.random_range(1..=rest.len()),
        };
        let (part, tail) = rest.split_at(len);
        // Closed in our face, after a mistake.
        if stream.write_all(part).is_err() {
            break;
        }
        rest = tail;
    }
    // Who has said everything leaves; the server does, too, once it has answered all of it.
    let _ = stream.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&heard)),
        }
    }
    Words::read(&String::from_utf8_lossy(&heard), &members(bytes))
}

/// Subscriptions to a queue group, each with its group: which of them a message goes to is up to chance.
fn members(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let words = text
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let members = words.filter_map(|words| match words[..] {
        [verb, _, queue, sid] if verb.eq_ignore_ascii_case("sub") => Some((sid.to_owned(), queue.to_owned())),
        _ => None,
    });
    members.collect()
}

impl Words {
    fn read(mut text: &str, members: &BTreeMap<String, String>) -> Words {
        let mut words = Words::default();
        while let Some((line, rest)) = text.split_once("\r\n") {
            text = rest;
            let parts: Vec<&str> = line.split(' ').collect();
            match parts[0] {
                "MSG" | "HMSG" => {
                    let len: usize = parts[parts.len() - 1].parse().unwrap();
                    let (body, rest) = text.split_at(len);
                    text = rest.strip_prefix("\r\n").unwrap();
                    // Whoever has two subscriptions to the reply subject is told on either.
                    let sid = if body.contains("\r\nNats-Subject: ") {
                        "any"
                    } else {
                        parts[2]
                    };
                    let to = members
                        .get(sid)
                        .map_or(sid.to_owned(), |queue| format!("a member of {queue}"));
                    let without_sid: Vec<&str> = parts
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| *at != 2)
                        .map(|(_, part)| *part)
                        .collect();
                    words
                        .messages
                        .entry(to)
                        .or_default()
                        .push(format!("{} {body:?}", without_sid.join(" ")));
                }
                // Keep-alive follows the clock.
                "PING" => {}
                "INFO" if line.contains(r#""connect_info":true"#) => {
                    words.control.push("INFO again".to_owned());
                }
                "INFO" => {}
                // nats-server tells it once more for each piece that such a message comes in.
                "-ERR"
                    if line.ends_with("'Invalid Publish Subject'")
                        && words.control.last().is_some_and(|last| last == line) => {}
                _ => words.control.push(line.to_owned()),
            }
        }
        if !text.is_empty() {
            words.control.push(format!("half a line: {text:?}"));
        }
        words
    }
}
