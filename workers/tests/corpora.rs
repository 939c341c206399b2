//! Mails of others: every sample is read without a panic or a hang, reports are recognised, and nothing else is taken
//! for one. `scripts/test-setup` fetches the collections of reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its set-up too"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postroom_workers::messages::Bounce;
use postroom_workers::mime;

/// What a mail may take on a busy machine.
const SLOW: Duration = Duration::from_secs(1);

/// Of Debian's collection: what its own tests call no bounce, or what is none by its text, such as spam.
const NO_BOUNCE: [&str; 7] = [
    "aol-vacation.msg",
    "autoreply.msg",
    "bluebottle.msg",
    "polish-autoreply.msg",
    "spam-bogus-email-in-report.msg",
    "spam-with-image.msg",
    "warning-6.msg",
];

/// Mails that ask for confirmation in the form of a failed delivery: by that form they are reports of one.
const CHALLENGES: [&str; 3] = ["boxbe-cr.msg", "boxbe-cr2.msg", "whitelist.msg"];

fn collection(name: &str) -> Vec<(String, Option<Bounce>)> {
    let tools = std::env::var_os("POSTROOM_CORPORA").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
                PathBuf::from,
            );
            target.join("test-tools/corpora")
        },
        PathBuf::from,
    );
    read(&tools.join(name))
}

/// Each file, and the report in it.
fn read(dir: &Path) -> Vec<(String, Option<Bounce>)> {
    let entries = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/test-setup", dir.display()));
    let mut mails = Vec::new();
    for path in entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
    {
        let raw = std::fs::read(&path).unwrap();
        let started = Instant::now();
        let bounce = match mime::parse(&raw, "0ff1ce") {
            Ok(summary) => summary.bounce,
            Err(mime::Unreadable::ParserPanicked(what)) => panic!("{}: {what}", path.display()),
            // Pictures lie among the samples; they end as dead letters with this reason.
            Err(_) => None,
        };
        let took = started.elapsed();
        assert!(took < SLOW, "{} took {took:?}", path.display());
        mails.push((path.file_name().unwrap().to_string_lossy().into_owned(), bounce));
    }
    assert!(!mails.is_empty(), "{} is empty", dir.display());
    mails
}

#[test]
fn reports_of_all_kinds_are_recognised() {
    let mails = collection("bounceparser");
    assert_eq!(mails.len(), 126);
    let mut missed = Vec::new();
    let mut false_alarms = Vec::new();
    let mut reports = 0;
    for (name, bounce) in mails {
        match (NO_BOUNCE.contains(&&*name), bounce) {
            (true, Some(bounce)) => false_alarms.push((name, bounce)),
            (false, None) => missed.push(name),
            (is_none, _) => reports += usize::from(!is_none && !CHALLENGES.contains(&&*name)),
        }
    }
    println!("{reports} of {} reports recognised", reports + missed.len());
    assert_eq!(missed, [""; 0]);
    assert_eq!(false_alarms, []);
}

#[test]
fn recipients_are_named() {
    let mails = collection("flufl");
    let reports: Vec<_> = mails
        .iter()
        .filter_map(|(name, bounce)| Some((name, bounce.as_ref()?)))
        .collect();
    let named = reports
        .iter()
        .filter(|(_, bounce)| !bounce.recipients.is_empty())
        .count();
    println!(
        "{} of {} recognised, {named} with their recipients",
        reports.len(),
        mails.len()
    );
    // One mail that only quotes a report, one that begins like one, and one whose sender is no mail system.
    let missed: Vec<_> = mails
        .iter()
        .filter(|(_, bounce)| bounce.is_none())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(missed, ["groupwise_03.txt", "qmail_08.txt", "simple_20.txt"]);
    assert!(reports.len() - named <= 2, "{named} of {}", reports.len());
}

/// The samples of the parser itself, which come with its source.
fn samples() -> PathBuf {
    let lock = include_str!("../../Cargo.lock");
    let (_, entry) = lock.split_once("name = \"mail-parser\"\nversion = \"").unwrap();
    let version = entry.split('"').next().unwrap();
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    );
    let registries = std::fs::read_dir(home.join("registry/src")).unwrap();
    registries
        .map(|registry| {
            registry
                .unwrap()
                .path()
                .join(format!("mail-parser-{version}/resources/eml"))
        })
        .find(|samples| samples.is_dir())
        .expect("cargo has unpacked the parser's source, or this would not have been built")
}

#[test]
fn ordinary_and_malformed_mails_are_no_reports() {
    let mut read_all = 0;
    for folder in ["rfc", "legacy", "malformed", "thirdparty"] {
        for (name, bounce) in read(&samples().join(folder)) {
            assert_eq!(bounce, None, "{folder}/{name}");
            read_all += 1;
        }
    }
    println!("{read_all} mails, no false alarm");
}
