//! What was acknowledged is there after a restart.

use super::{Lines, mail, start};

#[tokio::test]
async fn a_restart_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    devmail.deliver("alice", mail("one")).await.unwrap();
    devmail.deliver("alice", mail("two")).await.unwrap();
    let mut imap = Lines::imap_alice(&devmail).await;
    let before = imap.imap("SELECT INBOX").await;
    imap.imap("STORE 1 +FLAGS (\\Answered $Filed)").await;
    imap.imap("STORE 2 +FLAGS (\\Deleted)").await;
    imap.imap("EXPUNGE").await;
    let mut smtp = Lines::connect(devmail.smtp_addr()).await;
    smtp.smtp("HELO me").await;
    smtp.smtp("MAIL FROM:<>").await;
    smtp.smtp("RCPT TO:<bob@example.test>").await;
    smtp.smtp("DATA").await;
    assert!(
        smtp.smtp("Message-ID: <kept@x.test>\r\n\r\nkept\r\n.")
            .await
            .starts_with("250")
    );
    let sent = devmail.sent().await;
    devmail.shutdown().await;

    let devmail = start(dir.path(), &[]).await;
    assert_eq!(devmail.sent().await, sent);
    assert_eq!(devmail.count("bob", "INBOX").await.unwrap(), 1);
    let mut imap = Lines::imap_alice(&devmail).await;
    let after = imap.imap("SELECT INBOX").await;
    let code = |lines: &[String], code: &str| lines.iter().find(|line| line.contains(code)).cloned().unwrap();
    assert_eq!(code(&before, "UIDVALIDITY"), code(&after, "UIDVALIDITY"));
    assert!(after.contains(&"* 1 EXISTS".to_owned()));
    assert!(code(&after, "UIDNEXT").contains("UIDNEXT 3"));
    let flags = imap.imap("UID FETCH 1 FLAGS").await;
    assert_eq!(flags[0], "* 1 FETCH (UID 1 FLAGS ($Filed \\Answered))");
    devmail.shutdown().await;
}
