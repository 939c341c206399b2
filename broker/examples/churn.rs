//! Connections that come and go, ten thousand at once: does the server give back what it took for them?
//!
//! `churn SERVER SECONDS CONNECTIONS` starts the server, goes round until the time is over, and prints after each round what
//! the server has left: connections, subscriptions, file descriptors, memory. Ends with 1 if something is left over.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for a person, who sees how it ends"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

/// How many try to get in at the same moment: more would only fill the queue in front of accept.
const AT_THE_DOOR: usize = 256;
/// How long the server may take to let go of the connections of a round, and one of them for its answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Memory that an allocator keeps is counted from the second round on; after it there is room for this much more.
const GROWTH_MAX: f64 = 1.1;
const GROWTH_BYTES: u64 = 8 * 1024 * 1024;

struct Server {
    child: Child,
    clients: SocketAddr,
    monitoring: SocketAddr,
    folder: tempfile::TempDir,
}

/// What a server holds.
#[derive(Clone, Copy)]
struct Held {
    files: usize,
    memory: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, seconds, connections] = arguments.as_slice() else {
        println!("usage: churn SERVER SECONDS CONNECTIONS");
        return ExitCode::from(2);
    };
    let (seconds, connections) = (seconds.parse().unwrap(), connections.parse().unwrap());
    let server = Server::start(program);
    server.wait_until_empty().await;
    let at_rest = server.held();
    println!("churn: at rest: {at_rest}");
    let begun = Instant::now();
    let mut after: Vec<Held> = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) || after.len() < 3 {
        round(server.clients, connections, after.len()).await;
        server.wait_until_empty().await;
        after.push(server.held_at_last(at_rest));
        println!(
            "churn: after round {} of {connections}: {}",
            after.len(),
            after[after.len() - 1]
        );
    }
    verdict(at_rest, &after)
}

fn verdict(at_rest: Held, after: &[Held]) -> ExitCode {
    let last = after[after.len() - 1];
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let growth = last.memory as f64 / after[1].memory as f64;
    let has_grown = growth > GROWTH_MAX && last.memory > after[1].memory + GROWTH_BYTES;
    if last.files > at_rest.files || has_grown {
        println!(
            "churn: failed: something is left over after {} rounds",
            after.len()
        );
        return ExitCode::FAILURE;
    }
    println!(
        "churn: passed: {} rounds, memory {growth:.2} times that after the second",
        after.len()
    );
    ExitCode::SUCCESS
}

/// Everybody comes, subscribes, hears what it publishes, waits for all the others, and goes.
async fn round(server: SocketAddr, connections: usize, number: usize) {
    let (door, all_are_in) = (
        Arc::new(Semaphore::new(AT_THE_DOOR)),
        Arc::new(Barrier::new(connections)),
    );
    let mut everybody = JoinSet::new();
    for id in 0..connections {
        let (door, all_are_in) = (Arc::clone(&door), Arc::clone(&all_are_in));
        everybody.spawn(async move {
            let permit = door.acquire().await.unwrap();
            let mut stream = come_in(server, id, number).await;
            drop(permit);
            all_are_in.wait().await;
            // Half of them say goodbye; the others are gone in the middle of a message.
            let last_words: &[u8] = if id % 2 == 0 {
                b"UNSUB 1\r\n"
            } else {
                b"PUB a 100\r\nhalf"
            };
            // The server may have gone first only if it failed, which the next round notices.
            let _ = stream.write_all(last_words).await;
        });
    }
    while let Some(done) = everybody.join_next().await {
        done.unwrap();
    }
}

async fn come_in(server: SocketAddr, id: usize, round: usize) -> BufReader<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    // An address for each round, or the ports of those that have just gone would be missing.
    let last = 2 + u8::try_from(round % 200).unwrap();
    socket
        .bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into())
        .unwrap();
    let stream = tokio::time::timeout(PATIENCE, socket.connect(server))
        .await
        .unwrap()
        .unwrap();
    let mut stream = BufReader::new(stream);
    let text = format!("CONNECT {{\"verbose\":false}}\r\nSUB churn.{id} 1\r\nPUB churn.{id} 5\r\nhello\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let heard = async {
        let mut line = String::new();
        while line.trim_end() != "hello" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0, "closed");
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    stream
}

impl Server {
    fn start(program: &str) -> Server {
        let folder = tempfile::TempDir::new().unwrap();
        let child = Command::new(program)
            .args([
                "-js",
                "-a",
                "127.0.0.1",
                "-p",
                "-1",
                "-m",
                "-1",
                "--ports_file_dir",
            ])
            .arg(folder.path())
            .arg("-sd")
            .arg(folder.path().join("store"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let ports: serde_json::Value = loop {
            assert!(begun.elapsed() < PATIENCE, "the server does not start");
            let files = std::fs::read_dir(folder.path()).unwrap().flatten();
            let mut ports = files.filter(|file| file.path().extension().is_some_and(|it| it == "ports"));
            let text = ports
                .next()
                .and_then(|file| std::fs::read(file.path()).ok())
                .unwrap_or_default();
            if let Ok(ports) = serde_json::from_slice(&text) {
                break ports;
            }
        };
        let address = |kind: &str| {
            let url = ports[kind][0].as_str().unwrap();
            url.rsplit('/').next().unwrap().parse().unwrap()
        };
        Server {
            child,
            clients: address("nats"),
            monitoring: address("monitoring"),
            folder,
        }
    }

    async fn wait_until_empty(&self) {
        let begun = Instant::now();
        loop {
            let varz = self.varz().await;
            if ["connections", "subscriptions", "pending_bytes"]
                .iter()
                .all(|key| varz[key] == 0)
            {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not let go: {varz}");
        }
    }

    async fn varz(&self) -> serde_json::Value {
        let mut stream = TcpStream::connect(self.monitoring).await.unwrap();
        stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Connections to the pages end a moment after they were answered.
    fn held_at_last(&self, at_rest: Held) -> Held {
        let begun = Instant::now();
        loop {
            let held = self.held();
            if held.files <= at_rest.files || begun.elapsed() > PATIENCE {
                return held;
            }
        }
    }

    fn held(&self) -> Held {
        let process = format!("/proc/{}", self.child.id());
        let names = std::fs::read_dir(format!("{process}/fd")).unwrap().flatten();
        let files = names.filter(|file| file.path().read_link().is_ok()).count();
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Held {
            files,
            memory: kilobytes * 1024,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(self.folder.path());
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} file descriptors, {} MiB",
            self.files,
            self.memory / 1024 / 1024
        )
    }
}
