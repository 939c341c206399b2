//! `postroom demo`: every mail meets its fate, once, on either database and either broker, and through `kill -9`.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postroom_workers::demo::corpus::{Fate, corpus};
use serde_json::Value;

use crate::postroom;
use crate::servers::{Nats, Postgres};

fn run(demo: &mut Command) -> Value {
    let output = demo.args(["demo", "--json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The Message-IDs that each recipient got, from the development mailbox's sent box.
fn sent(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir.join("postroom-data/devmail/sent")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mail: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let to = mail["to"][0].as_str().unwrap().to_owned();
            sent.entry(to)
                .or_default()
                .push(mail["message_id"].as_str().unwrap().to_owned());
        }
    }
    sent
}

/// That the summary is the one that the mails' fates ask for.
fn check(summary: &Value) {
    let mails = corpus();
    let count = |wanted: &dyn Fn(Fate) -> bool| mails.iter().filter(|mail| wanted(mail.fate)).count();
    let unreadable = count(&|fate| fate == Fate::Unreadable);
    let answered = count(&|fate| matches!(fate, Fate::Answered | Fate::AnsweredLate));
    let refused = count(&|fate| fate == Fate::AnswerRefused);
    let expected = [
        ("mails_seen", mails.len()),
        ("events_published", mails.len() - unreadable),
        ("mails_dead_lettered", unreadable),
        ("mails_gone", 0),
        ("mails_waiting", 0),
        ("replies_sent", answered),
        (
            "left_unanswered",
            count(&|fate| matches!(fate, Fate::Unanswered(_) | Fate::Own)),
        ),
        ("dead_letters_on_stream", unreadable + refused),
    ];
    for (name, expected) in expected {
        assert_eq!(
            summary[name].as_u64(),
            Some(expected as u64),
            "{name} of {summary:#}"
        );
    }
    assert_eq!(
        summary["dead_letters"].as_array().map(Vec::len),
        Some(unreadable + refused)
    );
    // At least these: a redelivery is a duplicate as well, and a slow machine may retry more.
    assert!(summary["duplicates_suppressed"].as_u64() >= Some(count(&|fate| fate == Fate::Duplicate) as u64));
    assert!(
        summary["retries"].as_u64() >= Some(2),
        "one mail is refused twice"
    );
}

/// Twice on one data folder: the second run finds everything done.
fn twice(configure: impl Fn(&mut Command)) {
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let mut demo = postroom(dir.path());
        configure(&mut demo);
        run(&mut demo)
    };
    check(&demo());
    let first = sent(dir.path());
    assert!(
        first.values().all(|ids| ids.len() == 1),
        "a recipient got two copies: {first:?}"
    );
    check(&demo());
    assert_eq!(sent(dir.path()), first, "the second run sent something");
}

#[test]
fn with_nothing_installed() {
    twice(|_| {});
}

#[test]
fn on_postgres() {
    let postgres = Postgres::start();
    let url = postgres.fresh_database();
    twice(|demo| {
        demo.env("DATABASE_URL", &url);
    });
}

#[test]
fn on_nats_server() {
    let nats = Nats::start();
    twice(|demo| {
        demo.env("NATS_URL", nats.url());
    });
}

#[test]
fn killed_at_random_moments_it_loses_and_doubles_nothing() {
    const MAILS: usize = 60;
    let seed = RandomState::new().hash_one("moments");
    println!("seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let mut demo = postroom(dir.path());
        demo.args(["demo", "--json", "--mails", &MAILS.to_string()]);
        demo
    };
    for round in 0..5_u64 {
        let mut running = demo()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment is what is being tested: anywhere between the first file and the last mail.
        std::thread::sleep(Duration::from_millis(
            50 + (seed.rotate_left(u32::try_from(round * 7).unwrap()) % 1500),
        ));
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let output = demo().output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["mails_seen", "events_published", "replies_sent"] {
        assert_eq!(summary[name], MAILS, "{name} of {summary:#}");
    }
    let sent = sent(dir.path());
    assert_eq!(sent.len(), MAILS, "a customer got no answer");
    for (to, ids) in sent {
        // A kill between the final dot and the verdict sends the same mail again, and says so; never another one.
        assert!(ids.iter().all(|id| *id == ids[0]), "{to} got {ids:?}");
    }
}
