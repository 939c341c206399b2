//! `postroom devmail` as a process: its command line, its console, and what a `kill -9` leaves behind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines as Read};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;

use super::{Lines, start};

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command
        .args([
            "devmail",
            "--imap",
            "127.0.0.1:0",
            "--smtp",
            "127.0.0.1:0",
            "--dir",
        ])
        .arg(dir);
    command.args([
        "--user",
        "alice:s3cret:alice@example.test",
        "--user",
        "bob:s3cret:bob@example.test",
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

struct Process {
    child: Child,
    stdout: Read<BufReader<ChildStdout>>,
    imap: SocketAddr,
    smtp: SocketAddr,
}

impl Process {
    async fn start(dir: &Path) -> Self {
        let mut child = command(dir).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = async |word: &str| {
            let line = stdout.next_line().await.unwrap().unwrap();
            assert!(line.starts_with(word), "{line}");
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (imap, smtp) = (address("IMAP").await, address("SMTP").await);
        Self {
            child,
            stdout,
            imap,
            smtp,
        }
    }

    async fn line(&mut self) -> String {
        self.stdout.next_line().await.unwrap().unwrap()
    }

    async fn order(&mut self, line: &str) -> String {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.line().await
    }
}

async fn refused(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_postroom"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

#[tokio::test]
async fn wrong_input_is_refused_with_code_2() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for (arguments, expect) in [
        (
            &["devmail", "--fault", "rcpt gone 550 no"][..],
            "address \"gone\" must be an address",
        ),
        (&["devmail", "--imap", "here"], "--imap"),
        (&["devmail", "--user", "alice"], "name:password:address"),
        (
            &[
                "devmail",
                "--dir",
                "/dev/null/x",
                "--imap",
                "127.0.0.1:0",
                "--smtp",
                "127.0.0.1:0",
            ],
            "make it writable",
        ),
        (
            &["devmail", "--dir", dir, "--imap", &taken, "--smtp", "127.0.0.1:0"],
            "is in use; stop what listens there",
        ),
        (&["devmial"], "devmail"),
        (&[], "Usage"),
    ] {
        let output = refused(arguments).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expect), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn the_console_arms_faults_and_sigterm_drains() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    for expect in ["user   alice", "user   bob", "files", "Type a fault"] {
        assert!(process.line().await.starts_with(expect));
    }
    let mail = dir.path().join("mail.eml");
    std::fs::write(&mail, super::mail("one")).unwrap();
    assert_eq!(
        process.order(&format!("deliver alice {}", mail.display())).await,
        "delivered as UID 1"
    );
    assert_eq!(
        process.order("uidvalidity alice INBOX 4711").await,
        "INBOX of alice has UIDVALIDITY 4711"
    );
    assert_eq!(
        process.order("uidvalidity carol INBOX 1").await,
        "no user is named \"carol\""
    );
    assert!(
        process
            .order("nonsense")
            .await
            .contains("kind \"nonsense\" is unknown")
    );
    let fault = "rcpt gone@x.test 550 5.1.1 No such user";
    assert_eq!(process.order(fault).await, format!("armed: {fault}"));
    let mut smtp = Lines::connect(process.smtp).await;
    smtp.smtp("HELO me").await;
    smtp.smtp("MAIL FROM:<>").await;
    assert_eq!(smtp.smtp("RCPT TO:<gone@x.test>").await, "550 5.1.1 No such user");
    assert_eq!(process.order("faults").await, format!("struck    1  {fault}"));

    let pid = process.child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(process.line().await, "stopped; everything is kept");
    assert!(process.child.wait().await.unwrap().success());
}

/// Sends mails one after the other until the connection ends. Returns the ids that were acknowledged.
async fn send_until_killed(
    smtp: SocketAddr,
    sender: usize,
    acked: Arc<AtomicUsize>,
    enough: Arc<Notify>,
    limit: usize,
) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    let mut lines = Lines::connect(smtp).await;
    lines.smtp_or_end("EHLO me").await;
    for number in 0.. {
        let id = format!("<{limit}.{sender}.{number}@load.test>");
        let content = format!(
            "Message-ID: {id}\r\n\r\n{}\r\n.",
            "x\r\n".repeat(number * 37 % 500)
        );
        let mut reply = String::new();
        for line in [
            "MAIL FROM:<a@load.test>",
            "RCPT TO:<bob@example.test>",
            "DATA",
            &content,
        ] {
            reply = lines.smtp_or_end(line).await;
        }
        if !reply.starts_with("250") {
            return kept;
        }
        kept.insert(id);
        if acked.fetch_add(1, Ordering::Relaxed) + 1 == limit {
            enough.notify_one();
        }
    }
    kept
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = BTreeSet::new();
    const SENDERS: usize = 4;
    // The other senders are anywhere in a transaction when the last mail of the round is acknowledged.
    let rounds = [1, 7, 20, 33, 50];
    for limit in rounds {
        let mut process = Process::start(dir.path()).await;
        let (acked, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                tokio::spawn(send_until_killed(
                    process.smtp,
                    sender,
                    acked.clone(),
                    enough.clone(),
                    limit,
                ))
            })
            .collect();
        enough.notified().await;
        process.child.kill().await.unwrap();
        for sender in senders {
            kept.extend(sender.await.unwrap());
        }
    }
    let devmail = start(dir.path(), &[]).await;
    let sent = devmail.sent().await;
    let ids: BTreeSet<String> = sent.iter().map(|mail| mail.message_id.clone().unwrap()).collect();
    assert_eq!(ids.len(), sent.len(), "a mail was kept twice");
    assert!(kept.is_subset(&ids), "lost: {:?}", kept.difference(&ids));
    assert!(ids.len() <= kept.len() + rounds.len() * SENDERS);
    // The INBOX is written before the sent box, so it has what the sent box has, and at most one more per sender and kill.
    let inbox = devmail.count("bob", "INBOX").await.unwrap();
    assert!(
        (ids.len()..=ids.len() + rounds.len() * SENDERS).contains(&inbox),
        "{inbox} of {}",
        ids.len()
    );
    let mut imap = Lines::connect(devmail.imap_addr()).await;
    imap.imap("LOGIN bob s3cret").await;
    imap.imap("EXAMINE INBOX").await;
    let told = imap.imap("UID SEARCH ALL").await;
    let uids: Vec<u32> = told[0]
        .split_whitespace()
        .skip(2)
        .map(|uid| uid.parse().unwrap())
        .collect();
    assert_eq!(uids.len(), inbox);
    assert!(uids.is_sorted_by(|a, b| a < b), "{uids:?}");
    devmail.shutdown().await;
}

#[tokio::test]
async fn imap_answers_from_the_process_too() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let mut imap = Lines::connect(process.imap).await;
    assert!(imap.imap("LOGIN alice s3cret").await[0].starts_with("A1 OK"));
}
