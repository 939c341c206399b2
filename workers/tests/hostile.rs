//! Thousands of hostile mails and servers: every one comes to a named end, in time, and in little memory.
//!
//! `POSTROOM_HOSTILE` says how many; `scripts/mail-hostile` takes hours of them. What is tried depends on its number alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its set-up too"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postroom_workers::ingest::imap::{Command, Connection, ImapError};
use postroom_workers::mime::{self, Unreadable};
use postroom_workers::tls::{Dialer, Endpoint, Security};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// In the normal run of the tests, of each kind.
const FEW: u64 = 2_000;
/// What one case may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_PEAK_KIB: u64 = 256 * 1024;

/// What tends to matter to parsers of mail.
const MAIL_WORDS: [&str; 22] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\r\n\r\n",
    "--b\r\n",
    "--b--\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
    "Content-Type: message/rfc822\r\n\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "=?utf-8?B?",
    "=?x?q?=FF?=",
    "?=",
    "(((((",
    "<<<<",
    "\"",
    "charset=utf-7",
    "name*0*=''%",
    "References: <a@b>",
    "Content-Type: text/html\r\n\r\n<b><i>",
    "<div>",
    "\u{feff}",
];
/// The same for IMAP.
const IMAP_WORDS: [&str; 22] = [
    "* ",
    "p1 OK\r\n",
    "p1 NO\r\n",
    "p2 ",
    "+ \r\n",
    "\r\n",
    "\n",
    "(",
    ")",
    "((((((((((((((((((((((((((((((",
    "{5}\r\n",
    "{99999999999}\r\n",
    "{0}\r\n",
    "\"",
    "\\",
    "* BYE\r\n",
    "* SEARCH 1 2\r\n",
    "* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n",
    "* 4294967296 EXISTS\r\n",
    "NIL",
    "* OK [UIDVALIDITY 0]\r\n",
    "* OK [ALERT]\u{e9}\r\n",
];

fn cases() -> u64 {
    match std::env::var("POSTROOM_HOSTILE") {
        Ok(text) => text.parse().expect("POSTROOM_HOSTILE is a number"),
        Err(_) => FEW,
    }
}

/// Cut, doubled, overwritten, and with words of the trade in odd places.
fn mutated(seed: &[u8], words: &[&str], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=12) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => {
                let end = random.random_range(at..=bytes.len());
                let slice = bytes[at..end].to_vec();
                bytes.splice(at..at, slice);
            }
            2 if at < bytes.len() => bytes[at] = random.random(),
            3 => drop(bytes.drain(at..random.random_range(at..=bytes.len()))),
            _ => {
                let word = words[random.random_range(0..words.len())];
                let times = if random.random_bool(0.05) { 500 } else { 1 };
                bytes.splice(at..at, word.repeat(times).into_bytes());
            }
        }
        bytes.truncate(512 * 1024);
    }
    bytes
}

/// Mails that are made to exhaust whoever reads them.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let html = |html: String| format!("Content-Type: text/html\r\n\r\n{html}").into_bytes();
    let many = |part: &str, times| {
        let parts = part.repeat(times);
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{parts}").into_bytes()
    };
    vec![
        (
            "nested mails",
            "Content-Type: message/rfc822\r\n\r\n"
                .repeat(100_000)
                .into_bytes(),
        ),
        (
            "nested multiparts",
            (0..900)
                .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
                .collect::<String>()
                .into_bytes(),
        ),
        ("200,000 parts", many("--b\r\n\r\nx\r\n", 200_000)),
        ("parts without a line", many("--b\r\n", 500_000)),
        (
            "a huge header",
            format!("Subject: {}\r\n\r\n", "x".repeat(2_000_000)).into_bytes(),
        ),
        ("many headers", ("A: b\r\n".repeat(80_000) + "\r\n").into_bytes()),
        (
            "a long list of addresses",
            format!("To: {}\r\n\r\n", "a@b, ".repeat(90_000)).into_bytes(),
        ),
        (
            "encoded words",
            format!("Subject: {}\r\n\r\n", "=?utf-8?B?4pyT?= ".repeat(25_000)).into_bytes(),
        ),
        ("continued parameters", {
            let parts: String = (0..20_000).map(|n| format!(" name*{n}*=a;\r\n")).collect();
            format!("Content-Type: text/plain;\r\n{parts}\r\n\r\nx").into_bytes()
        }),
        (
            "comments",
            format!("From: {}\r\n\r\n", "(".repeat(400_000)).into_bytes(),
        ),
        (
            "references",
            format!("References: {}\r\n\r\n", "<a@b>".repeat(90_000)).into_bytes(),
        ),
        (
            "authentication",
            format!("Authentication-Results: x{}\r\n\r\n", "; spf=pass".repeat(40_000)).into_bytes(),
        ),
        ("nested HTML", html("<div>".repeat(200_000))),
        (
            "HTML that begins anew",
            html(format!(
                "<p>{}</p>{}",
                "<b>".repeat(390),
                "<p>x</p>".repeat(50_000)
            )),
        ),
        ("HTML tables", html("<table><tr><td>".repeat(60_000))),
        ("HTML entities", html("&amp;".repeat(180_000))),
        (
            "quotes of quotes",
            (String::from("Subject: x\r\n\r\n") + &(">".repeat(200) + "\r\n").repeat(20_000)).into_bytes(),
        ),
        (
            "one line",
            (String::from("Subject: x\r\n\r\n") + &"x".repeat(8_000_000)).into_bytes(),
        ),
        ("nothing but line ends", "\r\n".repeat(1_000_000).into_bytes()),
        ("nothing but NUL", vec![0; 2_000_000]),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/mails");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    paths.sort();
    assert!(paths.len() > 30, "the demo's mails");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// How the reading of a mail ended.
fn read(what: &str, raw: &[u8]) -> &'static str {
    let begun = Instant::now();
    let end = match mime::parse(raw, "0") {
        Ok(_) => "read",
        Err(Unreadable::TooLarge(_) | Unreadable::HeaderTooLarge(_)) => "too large",
        Err(Unreadable::TooManyParts(_) | Unreadable::TooDeep(_)) => "too many parts",
        Err(Unreadable::NoHeader) => "no header",
        Err(Unreadable::ParserPanicked(_)) => "panic contained",
    };
    let took = begun.elapsed();
    assert!(took < PATIENCE, "{what} took {took:?}");
    end
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a server says, up to the end of one command, and how that ended.
async fn listen(listener: &TcpListener, dialer: &Dialer, said: &[u8]) -> &'static str {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        security: Security::None,
    };
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"* OK ready\r\n").await.unwrap();
        let mut command = [0; 64];
        if stream.read(&mut command).await.is_ok() {
            // The client may have gone before the end of it.
            let _ = stream.write_all(said).await;
        }
        let _ = stream.shutdown().await;
    };
    let client = async {
        let mut connection = Connection::open(&endpoint, dialer).await?;
        connection.run(Command::new("NOOP"), PATIENCE).await
    };
    let ended = tokio::time::timeout(PATIENCE, async { tokio::join!(server, client).1 }).await;
    match ended.unwrap_or_else(|_| {
        panic!(
            "no end of {:?}",
            String::from_utf8_lossy(&said[..said.len().min(200)])
        )
    }) {
        Ok(_) => "answered",
        Err(ImapError::Refused { .. }) => "refused",
        Err(ImapError::Bye { .. }) => "goodbye",
        Err(ImapError::TooLarge { .. }) => "too large",
        Err(ImapError::Protocol { .. }) => "nonsense",
        Err(ImapError::Closed { .. } | ImapError::Io { .. }) => "closed",
        Err(other) => panic!("an end that nobody expected: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_ends_with_a_name_and_in_little_memory() {
    let (cases, seeds) = (cases(), seeds());
    let mut mails: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, raw) in bombs() {
        *mails.entry(read(what, &raw)).or_default() += 1;
    }
    let bombs = mails.values().sum::<u64>();
    for case in 0..cases {
        let mut random = StdRng::seed_from_u64(case);
        let seed = &seeds[random.random_range(0..seeds.len())];
        let raw = mutated(seed, &MAIL_WORDS, &mut random);
        *mails.entry(read(&format!("mail {case}"), &raw)).or_default() += 1;
    }
    assert_eq!(mails.values().sum::<u64>(), bombs + cases, "{mails:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = Dialer::new(None).unwrap();
    let mut answers: BTreeMap<&str, u64> = BTreeMap::new();
    let whole = "* 2 EXISTS\r\n* OK [UIDNEXT 3] ok\r\n* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] {3}\r\nabc)\r\n* SEARCH 1 2\r\np1 OK done\r\n";
    let large = [
        format!("* 1 FETCH {}\r\np1 OK\r\n", "(".repeat(1_000_000)),
        "* 1 FETCH (BODY[] {67108865}\r\n".to_owned(),
        format!("* SEARCH{}\r\np1 OK\r\n", " 1".repeat(9_000_000)),
        "* OK x\r\n".repeat(200_000),
        "+ \r\n".repeat(1_000),
        format!("* OK {}", "x".repeat(20_000_000)),
    ];
    // A connection that is cut at each byte of an answer, and then whatever chance makes of it.
    let cuts = (0..=whole.len()).map(|end| whole.as_bytes()[..end].to_vec());
    let mutations = (0..cases).map(|case| {
        let mut random = StdRng::seed_from_u64(case);
        mutated(whole.as_bytes(), &IMAP_WORDS, &mut random)
    });
    let mut heard = 0;
    for said in large
        .iter()
        .map(|text| text.clone().into_bytes())
        .chain(cuts)
        .chain(mutations)
    {
        *answers
            .entry(listen(&listener, &dialer, &said).await)
            .or_default() += 1;
        heard += 1;
    }
    assert_eq!(answers.values().sum::<u64>(), heard, "{answers:?}");
    assert_eq!(
        listen(&listener, &dialer, whole.as_bytes()).await,
        "answered",
        "an honest server is still heard"
    );
    let peak = peak();
    println!(
        "mails: {mails:?}\nIMAP answers: {answers:?}\npeak memory: {} MiB",
        peak / 1024
    );
    assert!(peak <= MAX_PEAK_KIB, "{} MiB", peak / 1024);
}
