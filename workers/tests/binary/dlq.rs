//! `postroom dlq` on the letters that the demo leaves: two mails that nothing can read, and one answer that was refused.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::postroom;
use crate::servers::Postgres;

const LETTERS: usize = 3;

/// A folder in which the demo has run, and the database that it ran on.
struct Place {
    dir: TempDir,
    database: Option<String>,
}

impl Place {
    fn sqlite() -> Self {
        Self::after_the_demo(None)
    }

    fn after_the_demo(database: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir, database };
        place.demo();
        place
    }

    fn command(&self) -> Command {
        let mut command = postroom(self.dir.path());
        if let Some(url) = &self.database {
            command.env("DATABASE_URL", url);
        }
        command.env("USER", "ann");
        command
    }

    /// Workers on the data folder until there is nothing left to do.
    fn demo(&self) {
        let output = self.command().args(["demo", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn dlq(&self, args: &[&str]) -> Output {
        self.command().arg("dlq").args(args).output().unwrap()
    }

    /// What it printed, having succeeded.
    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.dlq(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON objects that it printed.
    #[track_caller]
    fn lines(&self, args: &[&str]) -> Vec<Value> {
        let printed = self.done(args);
        printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What it said, having refused with `code`.
    #[track_caller]
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.dlq(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?} said: {said}");
        said
    }

    fn states(&self) -> Vec<String> {
        let letters = self.lines(&["export", "--state", "all"]);
        letters
            .iter()
            .map(|letter| letter["state"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The id of the answer that was refused.
    fn refused_answer(&self) -> String {
        let letters = self.lines(&["list", "--handler", "send", "--state", "all", "--json"]);
        assert_eq!(letters.len(), 1);
        letters[0]["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn letters_are_grouped_filtered_and_exported() {
    let place = Place::sqlite();
    let groups = place.lines(&["groups", "--json"]);
    assert_eq!(groups.len(), LETTERS, "three different errors: {groups:?}");
    let send = groups.iter().find(|group| group["handler"] == "send").unwrap();
    assert_eq!(
        (&send["letters"], &send["reason"]),
        (&json!(1), &json!("permanent"))
    );
    let fingerprint = send["error_fingerprint"].as_str().unwrap();
    assert!(place.done(&["groups"]).contains(fingerprint));

    let id = place.refused_answer();
    let message_id = place.lines(&["show", &id, "--json"])[0]["message_id"].clone();
    let message_id = message_id.as_str().unwrap();
    for (filter, letters) in [
        (vec!["--group", fingerprint], 1),
        (vec!["--subject", "actions.send"], 1),
        (vec!["--reason", "permanent"], LETTERS),
        (vec!["--reason", "poison"], 0),
        (vec!["--message-id", message_id], 1),
        (vec!["--since", "1h"], LETTERS),
        (vec!["--until", "1h"], 0),
        (vec!["--state", "discarded"], 0),
    ] {
        for command in ["list", "export"] {
            let args = [vec![command, "--json"], filter.clone()].concat();
            assert_eq!(place.lines(&args).len(), letters, "{args:?}");
        }
    }
    let exported = place.lines(&["export", "--handler", "send"]).remove(0);
    assert_eq!(exported["trail"], json!([]));
    assert_eq!(
        exported["headers"]["Postroom-Message"],
        json!(["actions.send.v1"])
    );
    assert_eq!(
        exported["payload"]["text"],
        place.done(&["show", &id, "--payload"])
    );

    assert!(place.refused(2, &["list", "--since", "yesterday"]).contains("7d"));
    assert!(place.refused(2, &["list", "--reason", "bad"]).contains("poison"));
}

#[test]
fn a_replay_of_many_is_counted_capped_and_goes_on_where_it_ended() {
    let place = Place::sqlite();
    let said = place.refused(2, &["replay"]);
    assert!(said.contains("--all") && said.contains("--group"), "{said}");
    place.refused(2, &["replay", "--all", "--state", "replayed"]);
    place.refused(2, &["replay", "--all", "--rate", "0/s"]);
    place.refused(2, &["replay", "some-id", "--handler", "send"]);

    let would = place.lines(&["replay", "--all", "--dry-run", "--cap", "2", "--json"]);
    assert_eq!(
        would,
        [json!({"dry_run": true, "matching": 3, "would": 2, "act": "replay"})]
    );
    assert_eq!(place.states(), ["dead", "dead", "dead"]);
    let first = place.lines(&["replay", "--all", "--cap", "1", "--json"]);
    assert_eq!(
        first.last(),
        Some(&json!({"matching": 3, "done": 1, "skipped": 0, "cancelled": false}))
    );
    assert_eq!(
        place.states(),
        ["replaying", "dead", "dead"],
        "the oldest comes first"
    );
    let rest = place.done(&["replay", "--all", "--rate", "100/s"]);
    assert!(rest.contains("2 of 2 letters replaying"), "{rest}");
    let again = place.done(&["replay", "--all"]);
    assert_eq!(again, "0 of 0 letters replaying\n");
    let id = place.refused_answer();
    assert!(place.refused(2, &["replay", &id]).contains("`replaying`"));
    // Nothing about these letters has changed, so they fail again, each as the letter that it was.
    place.demo();
    assert_eq!(place.states(), ["dead", "dead", "dead"]);
    let shown = place.done(&["show", &id]);
    for word in [
        "what was done",
        "replay    ann  to send",
        "failed    send  permanent",
    ] {
        assert!(shown.contains(word), "no {word:?} in {shown}");
    }
}

#[test]
fn a_cancelled_replay_has_done_what_it_says() {
    let place = Place::sqlite();
    let mut replay = place
        .command()
        .args(["dlq", "replay", "--all", "--rate", "1/h"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(replay.stdout.as_mut().unwrap())
        .read_line(&mut first)
        .unwrap();
    let interrupted = Command::new("kill")
        .args(["-INT", &replay.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let output = replay.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cancelled after 1 of 3 letters"), "{said}");
    assert_eq!(place.states(), ["replaying", "dead", "dead"]);
    let rest = place.done(&["replay", "--all"]);
    assert!(
        !rest.contains(&first[..36]) && rest.contains("2 of 2 letters"),
        "{rest}"
    );
}

#[test]
fn a_discard_says_why_and_is_purged_in_the_end() {
    let place = Place::sqlite();
    place.refused(2, &["discard", "--handler", "ingest-reparse"]);
    place.refused(2, &["discard", "--handler", "ingest-reparse", "--because", " "]);
    place.refused(2, &["discard", "--because", "tidy"]);
    let discarded = place.done(&[
        "discard",
        "--handler",
        "ingest-reparse",
        "--because",
        "nobody can read it",
    ]);
    assert!(discarded.contains("2 of 2 letters discarded"), "{discarded}");
    let letters = place.lines(&["export", "--state", "discarded"]);
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let id = letter["id"].as_str().unwrap();
        assert_eq!(letter["settled_by"], "ann");
        assert_eq!(letter["trail"][0]["detail"], "nobody can read it");
        assert!(place.refused(2, &["replay", id]).contains("`discarded`"));
    }
    assert!(
        place
            .refused(2, &["discard", "no-such-id", "--because", "x"])
            .contains("no-such-id")
    );
    assert_eq!(
        place.lines(&["purge", "--older-than", "1h", "--json"]),
        [json!({"purged": 0})]
    );
    assert_eq!(place.done(&["purge", "--older-than", "0s"]), "2 letters purged\n");
    assert_eq!(place.states(), ["dead"], "what is dead is never purged");
}

/// From a dead letter to an answer in somebody's mailbox.
fn mended_and_sent(place: &Place) {
    let id = place.refused_answer();
    let payload = place.done(&["show", &id, "--payload"]);
    let file = place.dir.path().join("letter.json");
    std::fs::write(&file, payload.replace("gone@closed.example", "hedda@new.example")).unwrap();

    let shown = place.done(&["edit", &id, "letter.json", "--dry-run"]);
    for line in [
        "-    \"address\": \"gone@closed.example\"",
        "+    \"address\": \"hedda@new.example\"",
    ] {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    assert_eq!(place.lines(&["show", &id, "--json"])[0]["edits"], 0);
    let edited = place.lines(&["edit", &id, "letter.json", "--json"]).remove(0);
    assert_eq!(edited["edited"], true);
    assert!(
        edited["diff"]
            .as_str()
            .unwrap()
            .starts_with("--- payload\n+++ edited\n")
    );
    assert!(
        place
            .done(&["edit", &id, "letter.json"])
            .contains("nothing differs")
    );

    place.done(&["replay", &id]);
    std::fs::write(&file, "{}").unwrap();
    let said = place.refused(2, &["edit", &id, "letter.json"]);
    assert!(said.contains("`replaying`"), "{said}");
    place.demo();
    let letter = place.lines(&["show", &id, "--json"]).remove(0);
    assert_eq!(letter["state"], "replayed", "{letter:#}");
    assert_eq!(letter["original_payload"]["text"], payload);
    let acts: Vec<_> = letter["trail"]
        .as_array()
        .unwrap()
        .iter()
        .map(|act| act["action"].as_str().unwrap())
        .collect();
    assert_eq!(acts, ["edit", "replay", "replayed"]);
    assert_eq!(sent_to(place.dir.path(), "hedda@new.example"), 1);
    assert_eq!(sent_to(place.dir.path(), "gone@closed.example"), 0);
}

fn sent_to(dir: &Path, to: &str) -> usize {
    std::fs::read_dir(dir.join("postroom-data/devmail/sent"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| {
            let mail: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            mail["to"][0] == to
        })
        .count()
}

#[test]
fn an_answer_is_mended_and_sent() {
    mended_and_sent(&Place::sqlite());
}

#[test]
fn an_answer_is_mended_and_sent_on_postgres() {
    let postgres = Postgres::start();
    mended_and_sent(&Place::after_the_demo(Some(postgres.fresh_database())));
}

#[test]
fn what_is_no_payload_is_refused() {
    let place = Place::sqlite();
    let id = place.refused_answer();
    let said = place.refused(2, &["edit", &id, "no-such-file"]);
    assert!(said.contains("no-such-file"), "{said}");
    let mut edit = place
        .command()
        .args(["dlq", "edit", &id])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    edit.stdin.take().unwrap().write_all(b"{\"to\": gone}").unwrap();
    let output = edit.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no JSON") && said.contains("column 8"), "{said}");
    assert_eq!(place.lines(&["show", &id, "--json"])[0]["edits"], 0);
}
