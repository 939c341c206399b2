//! Python's imaplib and smtplib, and lettre.

use std::process::Stdio;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::process::Command;

use super::{DevMail, mail, start};

#[tokio::test]
async fn python_reads_and_sends() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    devmail.deliver("alice", mail("from-rust")).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/devmail/client.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(devmail.imap_addr().port().to_string())
        .arg(devmail.smtp_addr().port().to_string())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let sent = devmail.sent().await;
    assert_eq!(sent[0].to, ["bob@example.test", "erin@elsewhere.test"]);
    assert_eq!(devmail.count("bob", "INBOX").await.unwrap(), 1);
    devmail.shutdown().await;
}

fn lettre_client(devmail: &DevMail, password: &str) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(devmail.smtp_addr().port())
        .credentials(Credentials::new("alice".into(), password.into()))
        .build()
}

fn letter(to: &str) -> Message {
    let mailbox = |address: &str| -> Mailbox { address.parse().unwrap() };
    Message::builder()
        .from(mailbox("alice@example.test"))
        .to(mailbox(to))
        .message_id(Some("<letter@example.test>".into()))
        .subject("Grüße")
        .body(".starts with a dot\r\n..two\r\nend".to_owned())
        .unwrap()
}

#[tokio::test]
async fn lettre_sends() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    let client = lettre_client(&devmail, "s3cret");
    client.send(letter("erin@elsewhere.test")).await.unwrap();
    client.send(letter("bob@example.test")).await.unwrap();

    let sent = devmail.sent().await;
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].from, "alice@example.test");
    assert_eq!(sent[0].to, ["erin@elsewhere.test"]);
    assert_eq!(sent[0].message_id.as_deref(), Some("<letter@example.test>"));
    let raw = String::from_utf8(devmail.sent_raw(1).await.unwrap()).unwrap();
    assert!(raw.contains("\r\n.starts with a dot\r\n..two\r\nend"), "{raw}");
    assert_eq!(devmail.stats().await.inbox, 1);
    drop(client);
    devmail.shutdown().await;
}

#[tokio::test]
async fn lettre_hears_that_the_password_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    let error = lettre_client(&devmail, "wrong")
        .send(letter("erin@elsewhere.test"))
        .await
        .unwrap_err();
    assert_eq!(error.status().map(u16::from), Some(535));
    assert!(devmail.sent().await.is_empty());
    devmail.shutdown().await;
}
