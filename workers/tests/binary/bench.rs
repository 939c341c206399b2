//! `postroom bench worker`: what it reports is true, and it leaves nothing behind.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::postroom;
use crate::servers::{Nats, Postgres};

/// A short run in a fresh folder; gives its report.
fn bench(arguments: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let output = postroom(dir.path())
        .args(["bench", "worker", "--messages", "300", "--duplicates", "10%"])
        .args(["--concurrency", "32", "--runs", "1", "--rate", "100", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn check(report: &Value, database: &str) {
    let sample = &report["samples"][0];
    // 300 with 30 copies among them, and three seconds at a rate of 100.
    for (name, expected) in [
        ("published", 570),
        ("handled", 570),
        ("done", 570),
        ("copies", 30),
        ("lost", 0),
        ("doubled", 0),
        ("strangers", 0),
    ] {
        assert_eq!(sample[name].as_u64(), Some(expected), "{name} of {report:#}");
    }
    assert!(sample["suppressed"].as_u64() >= Some(30), "{report:#}");
    for rate in ["publish_per_s", "drain_per_s", "end_to_end_per_s"] {
        assert!(sample[rate].as_f64() > Some(0.0), "{rate} of {report:#}");
    }
    let latency = &sample["latency"];
    assert_eq!(latency["messages"].as_u64(), Some(300), "{report:#}");
    assert!(latency["p50_ms"].as_f64() > Some(0.0), "{report:#}");
    assert!(
        latency["p99_ms"].as_f64() >= latency["p50_ms"].as_f64(),
        "{report:#}"
    );
    let told = report["database"].as_str().unwrap();
    assert!(told.contains(database), "{told}");
    assert!(
        report["disk"]["fdatasync_per_s"].as_f64() > Some(0.0),
        "{report:#}"
    );
}

#[test]
fn with_nothing_installed() {
    let report = bench(&["--handler", "1ms"]);
    check(&report, "journal_mode=wal, synchronous=FULL");
    assert!(report["broker"].as_str().unwrap().contains("embedded"));
}

#[test]
fn on_postgres_and_nats_server_twice() {
    let (postgres, nats) = (Postgres::start(), Nats::start());
    let url = postgres.fresh_database();
    // The second run finds nothing of the first.
    for _ in 0..2 {
        let report = bench(&["--database-url", &url, "--nats-url", &nats.url()]);
        check(&report, "synchronous_commit=");
        assert!(report["broker"].as_str().unwrap().contains("by URL"));
    }
}

#[test]
fn an_interrupt_ends_it_and_takes_its_folder_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = postroom(dir.path())
        .args(["bench", "worker", "--messages", "1000000", "--runs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first progress line.
    let mut errors = std::io::BufReader::new(bench.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut errors, &mut line).unwrap();
    assert!(line.contains("published"), "{line}");
    let interrupted = Command::new("kill")
        .args(["-INT", &bench.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let said = std::io::read_to_string(errors).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("stopped before the end"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let check = |flag: &str, value: &str, says: &str| {
        let dir = tempfile::tempdir().unwrap();
        let output = postroom(dir.path())
            .args(["bench", "worker", flag, value])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    };
    check("--duplicates", "51%", "give 0% to 50%, such as 10%");
    check("--messages", "0", "--messages is 0; give 1 to 10000000");
    check("--runs", "101", "--runs is 101; give 1 to 100");
}
