//! The development mailbox over real sockets, by clients that were written elsewhere and by raw bytes.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod faults;
mod foreign_clients;
mod imap_client;
mod persistence;
mod process;
mod raw_bytes;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use postroom_workers::devmail::{DevMail, DevMailConfig, Fault, StartError, User};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn user(name: &str) -> User {
    User {
        name: name.into(),
        password: "s3cret".into(),
        address: format!("{name}@example.test"),
    }
}

fn config(dir: &Path, faults: &[&str]) -> DevMailConfig {
    let faults = faults
        .iter()
        .map(|fault| fault.parse::<Fault>().unwrap())
        .collect();
    DevMailConfig {
        imap: ANY_PORT,
        smtp: ANY_PORT,
        dir: dir.to_owned(),
        users: vec![user("alice"), user("bob")],
        faults,
    }
}

async fn start(dir: &Path, faults: &[&str]) -> DevMail {
    DevMail::start(config(dir, faults)).await.unwrap()
}

fn mail(subject: &str) -> Vec<u8> {
    format!("From: carol@elsewhere.test\r\nTo: alice@example.test\r\nMessage-ID: <{subject}@elsewhere.test>\r\nSubject: {subject}\r\n\r\nHello, {subject}.\r\n").into_bytes()
}

/// A client of raw lines, for either protocol.
struct Lines(BufReader<TcpStream>);

impl Lines {
    async fn connect(addr: SocketAddr) -> Self {
        let mut lines = Self(BufReader::new(TcpStream::connect(addr).await.unwrap()));
        lines.read().await;
        lines
    }

    /// Empty once the server has closed the connection.
    async fn read(&mut self) -> String {
        let mut line = String::new();
        // A server that closes without reading everything resets the connection: that is an end, too.
        let _ = self.0.read_line(&mut line).await;
        line.trim_end().to_owned()
    }

    async fn write(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).await.unwrap();
    }

    /// SMTP: sends a line, returns the last line of the reply.
    async fn smtp(&mut self, line: &str) -> String {
        self.write(&format!("{line}\r\n")).await;
        loop {
            let reply = self.read().await;
            if reply.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// The same where the server may be killed at any moment; empty once it is.
    async fn smtp_or_end(&mut self, line: &str) -> String {
        let sent = self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await;
        while sent.is_ok() {
            let reply = self.read().await;
            if reply.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
        String::new()
    }

    /// IMAP: sends a command, returns all lines up to the tagged one, or up to the end of the connection.
    async fn imap(&mut self, command: &str) -> Vec<String> {
        self.write(&format!("A1 {command}\r\n")).await;
        let mut lines = Vec::new();
        loop {
            let line = self.read().await;
            if line.is_empty() {
                return lines;
            }
            let is_last = line.starts_with("A1 ");
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    async fn imap_alice(devmail: &DevMail) -> Self {
        let mut lines = Self::connect(devmail.imap_addr()).await;
        assert!(
            lines
                .imap("LOGIN alice s3cret")
                .await
                .concat()
                .starts_with("A1 OK")
        );
        lines
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = start(first.path(), &[]).await;
    let clash = DevMailConfig {
        smtp: running.smtp_addr(),
        ..config(second.path(), &[])
    };
    let error = DevMail::start(clash).await.unwrap_err();
    assert!(matches!(error, StartError::PortInUse { .. }));
    let expect = format!("smtp port {} is in use", running.smtp_addr());
    assert!(error.to_string().starts_with(&expect), "{error}");
    running.shutdown().await;
}

#[tokio::test]
async fn an_unusable_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = DevMail::start(config(&file.join("below"), &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("choose another with --dir"), "{error}");
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let error = DevMail::start(config(dir.path(), &[])).await.unwrap_err();
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    running.shutdown().await;
    start(dir.path(), &[]).await.shutdown().await;
}

#[tokio::test]
async fn shutdown_says_goodbye_to_all() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    let mut imap = Lines::imap_alice(&devmail).await;
    let mut smtp = Lines::connect(devmail.smtp_addr()).await;
    devmail.shutdown().await;
    assert_eq!(imap.read().await, "* BYE closing down");
    assert_eq!(smtp.read().await, "421 4.3.2 closing down");
    assert_eq!(
        (imap.read().await, smtp.read().await),
        (String::new(), String::new())
    );
}
