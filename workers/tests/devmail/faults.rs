//! Each fault, seen by the client it is meant for.

use std::num::NonZeroU32;

use super::{DevMail, Lines, mail, start};

/// Sends one mail; the replies to RCPT and to the final dot, empty where the connection ended.
async fn send(devmail: &DevMail, to: &str) -> (String, String) {
    let mut smtp = Lines::connect(devmail.smtp_addr()).await;
    smtp.smtp("EHLO me").await;
    smtp.smtp("MAIL FROM:<alice@example.test>").await;
    let rcpt = smtp.smtp(&format!("RCPT TO:<{to}>")).await;
    if !rcpt.starts_with("250") {
        return (rcpt, String::new());
    }
    smtp.smtp("DATA").await;
    let dot = smtp.smtp("Message-ID: <m@x.test>\r\n\r\nhello\r\n.").await;
    (rcpt, dot)
}

#[tokio::test]
async fn refused_for_good_at_rcpt() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &["rcpt gone@x.test 550 5.1.1 No such user"]).await;
    for _ in 0..3 {
        assert_eq!(send(&devmail, "Gone@x.test").await.0, "550 5.1.1 No such user");
    }
    assert_eq!(send(&devmail, "here@x.test").await.0, "250 2.1.5 ok");
    assert_eq!(devmail.sent().await.len(), 1);
    assert_eq!(devmail.faults()[0].1, 3);
    devmail.shutdown().await;
}

#[tokio::test]
async fn refused_twice_then_taken_also_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let faults = ["rcpt busy@x.test 451 4.7.1 try again, 2 times"];
    let devmail = start(dir.path(), &faults).await;
    assert_eq!(send(&devmail, "busy@x.test").await.0, "451 4.7.1 try again");
    devmail.shutdown().await;
    let devmail = start(dir.path(), &faults).await;
    assert_eq!(send(&devmail, "busy@x.test").await.0, "451 4.7.1 try again");
    assert!(send(&devmail, "busy@x.test").await.1.starts_with("250"));
    assert_eq!(devmail.sent().await.len(), 1);
    devmail.shutdown().await;
}

#[tokio::test]
async fn refused_after_the_dot() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &["data *@slow.test 452 4.3.1 out of space, 1 times"]).await;
    assert_eq!(send(&devmail, "c@slow.test").await.1, "452 4.3.1 out of space");
    assert!(devmail.sent().await.is_empty());
    assert!(send(&devmail, "c@slow.test").await.1.starts_with("250"));
    devmail.shutdown().await;
}

#[tokio::test]
async fn dropped_after_the_dot() {
    let dir = tempfile::tempdir().unwrap();
    let faults = [
        "drop-after-dot kept@x.test accepted, 1 times",
        "drop-after-dot lost@x.test lost, 1 times",
    ];
    let devmail = start(dir.path(), &faults).await;
    assert_eq!(send(&devmail, "kept@x.test").await.1, "");
    assert_eq!(devmail.sent().await.len(), 1);
    assert_eq!(send(&devmail, "lost@x.test").await.1, "");
    assert_eq!(devmail.sent().await.len(), 1);
    assert!(send(&devmail, "lost@x.test").await.1.starts_with("250"));
    devmail.shutdown().await;
}

#[tokio::test]
async fn login_refused_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &["login alice, 2 times"]).await;
    let mut imap = Lines::connect(devmail.imap_addr()).await;
    let refused = imap.imap("LOGIN alice s3cret").await;
    assert_eq!(
        refused,
        ["A1 NO [AUTHENTICATIONFAILED] wrong user name or password"]
    );
    let mut smtp = Lines::connect(devmail.smtp_addr()).await;
    smtp.smtp("EHLO me").await;
    assert!(
        smtp.smtp("AUTH PLAIN AGFsaWNlAHMzY3JldA==")
            .await
            .starts_with("535 5.7.8")
    );
    assert!(imap.imap("AUTHENTICATE PLAIN AGFsaWNlAHMzY3JldA==").await[0].starts_with("A1 OK"));
    assert!(
        smtp.smtp("AUTH PLAIN AGFsaWNlAHMzY3JldA==")
            .await
            .starts_with("235")
    );
    devmail.shutdown().await;
}

#[tokio::test]
async fn an_imap_command_is_answered_no() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &["imap-no idle [UNAVAILABLE] not now, 1 times"]).await;
    devmail
        .arm("imap-no FETCH could not be fetched, 1 times".parse().unwrap())
        .await
        .unwrap();
    devmail.deliver("alice", mail("one")).await.unwrap();
    let mut imap = Lines::imap_alice(&devmail).await;
    imap.imap("SELECT INBOX").await;
    assert_eq!(
        imap.imap("UID FETCH 1 FLAGS").await,
        ["A1 NO could not be fetched"]
    );
    assert_eq!(imap.imap("UID FETCH 1 FLAGS").await.len(), 2);
    assert_eq!(imap.imap("IDLE").await, ["A1 NO [UNAVAILABLE] not now"]);
    devmail.shutdown().await;
}

#[tokio::test]
async fn imap_connections_drop() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &["imap-drop 3"]).await;
    let mut imap = Lines::imap_alice(&devmail).await;
    assert_eq!(imap.imap("NOOP").await.len(), 1);
    assert!(imap.imap("NOOP").await.is_empty());
    devmail.disarm_all().await.unwrap();
    let mut imap = Lines::imap_alice(&devmail).await;
    imap.imap("SELECT INBOX").await;
    imap.write("A1 IDLE\r\n").await;
    assert!(imap.read().await.starts_with("+ "));
    devmail.drop_imap_connections();
    assert_eq!(imap.read().await, "");
    devmail.shutdown().await;
}

#[tokio::test]
async fn a_new_uidvalidity_ends_the_session_and_renumbers() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    devmail.deliver("alice", mail("one")).await.unwrap();
    devmail.deliver("alice", mail("two")).await.unwrap();
    let mut imap = Lines::imap_alice(&devmail).await;
    imap.imap("SELECT INBOX").await;
    imap.imap("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    imap.imap("EXPUNGE").await;
    imap.write("A1 IDLE\r\n").await;
    imap.read().await;
    devmail
        .set_uid_validity("alice", "INBOX", NonZeroU32::new(4711).unwrap())
        .await
        .unwrap();
    assert_eq!(imap.read().await, "* BYE UIDVALIDITY changed, log in again");

    let mut imap = Lines::imap_alice(&devmail).await;
    let selected = imap.imap("SELECT INBOX").await;
    assert!(selected.iter().any(|line| line.contains("UIDVALIDITY 4711")));
    assert_eq!(imap.imap("UID FETCH 1:* (UID)").await[0], "* 1 FETCH (UID 1)");
    devmail.shutdown().await;
}
