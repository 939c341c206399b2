//! The same bytes give the same answers however the network cuts them, and no bytes break the server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Lines, mail, start};

/// Sends `input` cut at `cuts`, closes, and returns all that came back.
async fn talk(addr: SocketAddr, input: &[u8], cuts: &[usize]) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut from = 0;
    for to in cuts.iter().copied().chain([input.len()]) {
        socket.write_all(&input[from..to]).await.unwrap();
        from = to;
    }
    let mut output = String::new();
    socket.read_to_string(&mut output).await.unwrap();
    output
}

#[tokio::test]
async fn smtp_however_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &["rcpt gone@x.test 550 5.1.1 No such user"]).await;
    let input = b"EHLO me\r\nAUTH PLAIN\r\nAGFsaWNlAHMzY3JldA==\r\nMAIL FROM:<a@b.test> SIZE=20\r\n\
        RCPT TO:<gone@x.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n";
    let without_number = |text: String| -> String {
        text.lines()
            .map(|line| line.split(" kept as").next().unwrap().to_owned() + "\n")
            .collect()
    };
    let whole = without_number(talk(devmail.smtp_addr(), input, &[]).await);
    let codes: Vec<&str> = whole
        .lines()
        .filter(|line| !line[3..].starts_with('-'))
        .map(|line| &line[..3])
        .collect();
    assert_eq!(
        codes,
        [
            "220", "250", "334", "235", "250", "550", "250", "354", "250", "250", "250", "221"
        ]
    );
    for at in 1..input.len() {
        assert_eq!(
            without_number(talk(devmail.smtp_addr(), input, &[at]).await),
            whole,
            "cut at {at}"
        );
    }
    let every_byte: Vec<usize> = (1..input.len()).collect();
    assert_eq!(
        without_number(talk(devmail.smtp_addr(), input, &every_byte).await),
        whole
    );
    for sent in devmail.sent().await {
        assert_eq!(
            devmail.sent_raw(sent.number).await.unwrap(),
            b"Subject: x\r\n\r\n.dot\r\n"
        );
    }
    devmail.shutdown().await;
}

#[tokio::test]
async fn imap_however_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    devmail.deliver("alice", mail("one")).await.unwrap();
    let input = b"a LOGIN {5+}\r\nalice {6+}\r\ns3cret\r\nb EXAMINE inbox\r\nc UID FETCH 1 (FLAGS BODY.PEEK[])\r\n\
        d IDLE\r\nDONE\r\ne APPEND Nowhere {3+}\r\nabc\r\nf NONSENSE\r\ng UID SEARCH UID 999:*\r\nh LOGOUT\r\n";
    let whole = talk(devmail.imap_addr(), input, &[]).await;
    for expect in [
        "a OK",
        "b OK [READ-ONLY]",
        "Hello, one.\r\n)",
        "d OK",
        "e NO [TRYCREATE]",
        "f BAD",
        "* SEARCH 1\r\n",
        "h OK",
    ] {
        assert!(whole.contains(expect), "{expect} is not in {whole}");
    }
    for at in (1..input.len()).step_by(3) {
        assert_eq!(
            talk(devmail.imap_addr(), input, &[at]).await,
            whole,
            "cut at {at}"
        );
    }
    let every_byte: Vec<usize> = (1..input.len()).collect();
    assert_eq!(talk(devmail.imap_addr(), input, &every_byte).await, whole);
    devmail.shutdown().await;
}

#[tokio::test]
async fn smtp_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    let mut smtp = Lines::connect(devmail.smtp_addr()).await;
    for (line, expect) in [
        ("MAIL FROM:<a@b.test>", "503 5.5.1"),
        ("EHLO me", "250 8BITMIME"),
        ("RCPT TO:<a@b.test>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("FROB", "500 5.5.1"),
        ("MAIL FROM:<a@b.test> SIZE=99999999", "552 5.3.4"),
        ("MAIL FROM:a@b.test", "501 5.5.2"),
        ("MAIL FROM:<a@b.test>", "250 2.1.0"),
        ("MAIL FROM:<a@b.test>", "503 5.5.1"),
        ("DATA", "554 5.5.1"),
        ("RCPT TO:<no-domain>", "501 5.1.3"),
        ("AUTH CRAM-MD5", "503 5.5.1"),
        ("RSET", "250 2.0.0"),
        ("AUTH CRAM-MD5", "504 5.5.4"),
        ("AUTH PLAIN !", "501 5.5.2"),
        ("STARTTLS", "502 5.5.1"),
    ] {
        let reply = smtp.smtp(line).await;
        assert!(reply.starts_with(expect), "{line}: {reply}");
    }
    for (body, expect) in [
        ("bare\nlf\r\n", "550 5.6.11"),
        (&format!("{}\r\n", "a".repeat(999)), "550 5.6.0"),
    ] {
        smtp.smtp("MAIL FROM:<>").await;
        smtp.smtp("RCPT TO:<c@d.test>").await;
        assert!(smtp.smtp("DATA").await.starts_with("354"));
        let reply = smtp.smtp(&format!("{body}.")).await;
        assert!(reply.starts_with(expect), "{reply}");
    }
    let mut last = String::new();
    for _ in 0..100 {
        last = smtp.smtp("FROB").await;
        if last.starts_with("421") || last.is_empty() {
            break;
        }
        if smtp.0.buffer().starts_with(b"421") {
            last = smtp.read().await;
            break;
        }
    }
    assert!(last.starts_with("421 4.7.0"), "{last}");
    assert!(devmail.sent().await.is_empty());
    devmail.shutdown().await;
}

#[tokio::test]
async fn sequence_numbers_hold_still_until_expunge_may_be_said() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    for subject in ["one", "two", "three"] {
        devmail.deliver("alice", mail(subject)).await.unwrap();
    }
    let (mut first, mut second) = (
        Lines::imap_alice(&devmail).await,
        Lines::imap_alice(&devmail).await,
    );
    first.imap("SELECT INBOX").await;
    second.imap("SELECT INBOX").await;
    second.imap("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(
        second.imap("EXPUNGE").await,
        ["* 1 EXPUNGE", "A1 OK EXPUNGE done"]
    );

    // FETCH and STORE by number must not move the numbers; a message that is gone is said to be gone.
    let told = first.imap("FETCH 2 (UID)").await;
    assert_eq!(told, ["* 2 FETCH (UID 2)", "A1 OK FETCH done"]);
    let told = first.imap("FETCH 1 (UID)").await;
    assert_eq!(told, ["A1 NO [EXPUNGEISSUED] some of the messages are gone"]);
    devmail.deliver("alice", mail("four")).await.unwrap();
    assert_eq!(
        first.imap("NOOP").await,
        ["* 1 EXPUNGE", "* 3 EXISTS", "A1 OK NOOP done"]
    );
    assert_eq!(
        first.imap("FETCH 4 (UID)").await,
        ["A1 BAD no message has that sequence number"]
    );
    assert_eq!(first.imap("UID FETCH 1,99 (UID)").await, ["A1 OK FETCH done"]);
    devmail.shutdown().await;
}
