//! Bytes that no client should send: the development mailbox answers or hangs up, never panics, and goes on serving.
#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use postroom_workers::devmail::{DevMail, DevMailConfig, User};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A file of its own, so that the hook counts no other test's panics.
static PANICS: AtomicUsize = AtomicUsize::new(0);

const IMAP: &[&str] = &[
    "a LOGIN alice s3cret\r\n",
    "b SELECT INBOX\r\n",
    "c UID FETCH 1:* (FLAGS BODY[])\r\n",
    "d IDLE\r\n",
    "DONE\r\n",
    "e SEARCH ",
    "f FETCH ",
    "g STORE 1 +FLAGS (\\Seen $x)\r\n",
    "h APPEND INBOX {5+}\r\nhello\r\n",
    "i AUTHENTICATE PLAIN\r\n",
    "AGFsaWNlAHMzY3JldA==\r\n",
    "j UID MOVE 1 Sent\r\n",
    "k EXPUNGE\r\n",
    "l LIST \"\" *%*%*\r\n",
    "{3}\r\n",
    "{99999999999}\r\n",
    "{4294967295}\r\n",
    "m FETCH 1 (ENVELOPE BODYSTRUCTURE BODY[1.1.MIME] BODY[HEADER.FIELDS (x)] BODY[]<4294967295.1>)\r\n",
    "1:*",
    "4294967295",
    "(",
    ")",
    "\"",
    "\\",
    "\0",
    "\r",
    "\n",
    " NOT ",
    " OR ",
    " BODY x",
    " SINCE 31-Feb-2026",
];

const SMTP: &[&str] = &[
    "EHLO me\r\n",
    "HELO \r\n",
    "MAIL FROM:<a@b.test>\r\n",
    "MAIL FROM:<",
    "> SIZE=",
    "RCPT TO:<alice@example.test>\r\n",
    "RCPT TO:<\"a b\"@[1.2.3.4]>\r\n",
    "DATA\r\n",
    "\r\n.\r\n",
    ".\r\n",
    "..\r\n",
    "\r.\r",
    "AUTH PLAIN ",
    "AUTH LOGIN\r\n",
    "YWxpY2U=\r\n",
    "*\r\n",
    "=\r\n",
    "RSET\r\n",
    "BDAT 99999999999999999999 LAST\r\n",
    "VRFY \r\n",
    "99999999999999999999",
    "\0",
    "\u{fffd}",
    "Subject: x\r\n\r\n",
    " BODY=8BITMIME",
    " BY=-999999999999;R",
    " HOLDUNTIL=9999-99-99T99:99:99Z",
];

fn noise(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let bytes = prop::collection::vec(any::<u8>(), 0..8);
    prop::collection::vec(prop_oneof![6 => word, 1 => bytes], 1..30).prop_map(|pieces| pieces.concat())
}

/// Sends it all, then waits until the server has hung up.
async fn talk(addr: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let (mut read, mut write) = socket.split();
    let mut answer = Vec::new();
    let send = async {
        // The server may hang up first.
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    let (_, _) = tokio::join!(send, read.read_to_end(&mut answer));
}

async fn greeting(addr: SocketAddr) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let mut first = [0; 4];
    socket.read_exact(&mut first).await.unwrap();
    String::from_utf8(first.to_vec()).unwrap()
}

#[test]
fn noise_does_no_harm() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let any_port = "127.0.0.1:0".parse().unwrap();
    let alice = User {
        name: "alice".into(),
        password: "s3cret".into(),
        address: "alice@example.test".into(),
    };
    let config = DevMailConfig {
        imap: any_port,
        smtp: any_port,
        dir: dir.path().into(),
        users: vec![alice],
        faults: vec![],
    };
    let devmail = runtime.block_on(DevMail::start(config)).unwrap();
    runtime
        .block_on(devmail.deliver("alice", &b"Subject: x\r\n\r\nhello\r\n"[..]))
        .unwrap();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));

    let mut runner = TestRunner::new(Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    });
    let both = (noise(IMAP), noise(SMTP));
    let outcome = runner.run(&both, |(imap, smtp)| {
        runtime.block_on(async {
            // Some of the noise is of use only to those who are logged in.
            let logged_in = [b"a LOGIN alice s3cret\r\nb SELECT INBOX\r\n", &imap[..]].concat();
            tokio::join!(
                talk(devmail.imap_addr(), &logged_in),
                talk(devmail.imap_addr(), &imap),
                talk(devmail.smtp_addr(), &smtp)
            );
        });
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(runtime.block_on(greeting(devmail.imap_addr())), "* OK");
    assert_eq!(runtime.block_on(greeting(devmail.smtp_addr())), "220 ");
    runtime.block_on(devmail.shutdown());
}
