//! Clients that mean no good, or no longer can: silent, half there, flooding, stalled, too many.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use suite::raw::Raw;
use suite::server::{Server, ours};
use tempfile::TempDir;

const QUIET: &str = r#"{"verbose":false}"#;
/// How long anything may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our binary with `config`.
fn configured(config: &str) -> (Server, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.conf");
    fs::write(&path, format!("listen: '127.0.0.1:-1'\n{config}")).unwrap();
    let mut command = Command::new(ours());
    command.arg("-c").arg(path);
    (Server::spawn(command), folder)
}

fn settled(raw: &mut Raw) {
    raw.send(b"PING\r\n");
    raw.expect("PONG\r\n");
}

#[test]
fn who_stops_in_the_middle_is_given_up() {
    let (server, _folder) = configured("ping_interval: '50ms', ping_max: 2");
    for half in ["PU", "PUB a 10\r\nhalf", "CONNECT {\"verb", "SUB a"] {
        let mut raw = Raw::ready(server.address, QUIET);
        raw.send(half.as_bytes());
        raw.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
        raw.expect_close();
    }
}

#[test]
fn who_says_who_it_is_too_slowly_is_cut_off() {
    let (server, _folder) = configured("authorization { user: ann, password: a, timeout: 0.5 }");
    let mut stream = TcpStream::connect(server.address).unwrap();
    // One byte whenever nothing has been said for this long: the connection is never idle.
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut heard, mut chunk) = (Vec::new(), [0; 4096]);
    let begun = Instant::now();
    for byte in b"CONNECT {\"user\":\"ann\""
        .iter()
        .chain(std::iter::repeat(&b' '))
    {
        assert!(begun.elapsed() < PATIENCE, "it is still there");
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
    }
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.ends_with("-ERR 'Authentication Timeout'\r\n"), "{heard}");
}

#[test]
fn who_is_nobody_yet_gets_nothing_kept() {
    let (server, _folder) = configured("authorization { user: ann, password: a }");
    let refused = |bytes: &[u8], text: &str| {
        let mut raw = Raw::connect(server.address);
        raw.expect_start("INFO {");
        raw.send(bytes);
        raw.expect(text);
        raw.expect_close();
    };
    // A payload is refused by its size, before any of it has come.
    refused(b"PUB a 1000000\r\n", "-ERR 'Authorization Violation'\r\n");
    let endless = [b"CONNECT {\"user\":\"".as_slice(), &[b'a'; 8192]].concat();
    refused(&endless, "-ERR 'maximum control line exceeded'\r\n");
}

#[test]
fn as_many_connections_as_allowed_and_not_one_more() {
    let (server, _folder) = configured("max_connections: 3");
    let mut inside: Vec<Raw> = (0..3).map(|_| Raw::ready(server.address, QUIET)).collect();
    inside.iter_mut().for_each(settled);
    // A flood of them changes nothing for those who are there.
    for _ in 0..200 {
        let mut outside = Raw::connect(server.address);
        outside.expect("-ERR 'maximum connections exceeded'\r\n");
        outside.expect_close();
    }
    inside.iter_mut().for_each(settled);
    inside.pop();
    let begun = Instant::now();
    loop {
        assert!(
            begun.elapsed() < PATIENCE,
            "the place of one that left stays taken"
        );
        if Raw::connect(server.address).line().starts_with("INFO ") {
            break;
        }
    }
}

#[test]
fn as_many_subscriptions_as_allowed_and_not_one_more() {
    let (server, _folder) = configured("max_subscriptions: 2");
    let mut raw = Raw::ready(server.address, QUIET);
    raw.send(b"SUB a 1\r\nSUB b 2\r\nPING\r\n");
    raw.expect("PONG\r\n");
    raw.send(b"SUB c 3\r\nPUB c 1\r\nx\r\nPUB b 1\r\ny\r\n");
    raw.expect("-ERR 'maximum subscriptions exceeded'\r\nMSG b 2 1\r\ny\r\n");
    raw.send(b"UNSUB 1\r\nSUB c 3\r\nPUB c 1\r\nx\r\n");
    raw.expect("MSG c 3 1\r\nx\r\n");
}

#[test]
fn who_asks_without_ever_reading_is_cut_off() {
    let (server, _folder) = configured("max_pending: 65536");
    let mut flood = TcpStream::connect(server.address).unwrap();
    flood.set_write_timeout(Some(PATIENCE)).unwrap();
    let questions = b"PING\r\n".repeat(10_000);
    // What the kernel holds of the answers is some megabytes; this would be hundreds.
    let is_cut_off = (0..5000).any(|_| {
        flood
            .write_all(&questions)
            .is_err_and(|error| !is_timeout(&error))
    });
    assert!(is_cut_off);
    settled(&mut Raw::ready(server.address, QUIET));
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Ten who do not read beside one who does: it hears everything, they are cut off, and little is kept for them.
#[test]
fn the_stalled_are_cut_off_and_the_healthy_one_is_not() {
    const STALLED: usize = 10;
    const ROUNDS: usize = 40;
    const PER_ROUND: usize = 16;
    const PAYLOAD: usize = 65_536;
    /// Ten times `max_pending`, and what a server takes that has nothing to do.
    const MEMORY_MAX: u64 = 10 * 2 * 1024 * 1024 + 64 * 1024 * 1024;
    let (server, _folder) = configured(
        "max_pending: 2MB
         accounts { A { users: [{user: ann, password: a}] }, SYS { users: [{user: sys, password: s}] } }
         system_account: SYS",
    );
    let mut system = Raw::ready(server.address, r#"{"verbose":false,"user":"sys","pass":"s"}"#);
    system.send(b"SUB $SYS.ACCOUNT.A.DISCONNECT 1\r\nSUB _INBOX.> 2\r\n");
    settled(&mut system);
    let mut stalled: Vec<Raw> = (0..STALLED).map(|_| listener(server.address)).collect();
    let mut healthy = listener(server.address);
    let mut publisher = Raw::ready(server.address, r#"{"verbose":false,"user":"ann","pass":"a"}"#);
    let message = [b"PUB flood 65536\r\n".as_slice(), &[b'x'; PAYLOAD], b"\r\n"].concat();
    for _ in 0..ROUNDS {
        publisher.send(&message.repeat(PER_ROUND));
        for _ in 0..PER_ROUND {
            assert_eq!(healthy.message().payload.len(), PAYLOAD);
        }
    }
    settled(&mut publisher);
    for _ in 0..STALLED {
        let event = system.message();
        assert!(
            event
                .payload
                .contains(r#""reason":"slow consumer: pending bytes over max_pending""#),
            "{event:?}"
        );
    }
    system.publish("$SYS.REQ.SERVER.PING.VARZ", "_INBOX.varz", &[], "");
    let varz: serde_json::Value = serde_json::from_str(&system.message().payload).unwrap();
    assert_eq!(varz["data"]["slow_consumers"], STALLED, "{varz}");
    assert!(varz["data"]["mem"].as_u64().unwrap() < MEMORY_MAX, "{varz}");
    for stalled in &mut stalled {
        assert!(
            stalled.drain() < ROUNDS * PER_ROUND * PAYLOAD,
            "it was sent everything"
        );
    }
}

fn listener(address: SocketAddr) -> Raw {
    let mut raw = Raw::ready(address, r#"{"verbose":false,"user":"ann","pass":"a"}"#);
    raw.send(b"SUB flood 1\r\n");
    settled(&mut raw);
    raw
}
