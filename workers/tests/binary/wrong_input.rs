//! Wrong input: exit code 2, and a sentence that says what to do.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postroom_workers::devmail::{DevMail, DevMailConfig, User};

use crate::postroom;

/// Runs it; gives what it said.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "it said: {said}");
    said
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

fn settings(imap: u16, smtp: u16, password: &str) -> String {
    format!(
        "[[accounts]]\nname = \"help\"\naddress = \"help@example.test\"\n\
         [accounts.imap]\nhost = \"127.0.0.1\"\nport = {imap}\ntls = \"none\"\nuser = \"help\"\npassword = \"{password}\"\n\
         [accounts.smtp]\nhost = \"127.0.0.1\"\nport = {smtp}\ntls = \"none\"\n"
    )
}

fn write_settings(dir: &Path, text: &str) {
    std::fs::write(dir.join("postroom.toml"), text).unwrap();
}

#[test]
fn a_bad_broker_url() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(
        postroom(dir.path())
            .env("NATS_URL", "http://broker")
            .args(["demo"]),
    );
    assert_says(&said, &["NATS_URL is `http://broker`", "nats://host:4222"]);
    let said = refused(
        postroom(dir.path())
            .env("NATS_URL", "nats://u:s3cret@127.0.0.1:1")
            .args(["demo"]),
    );
    assert_says(
        &said,
        &["no broker answers at `nats://***@127.0.0.1:1`", "start one there"],
    );
}

#[test]
fn a_bad_database_url() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(
        postroom(dir.path())
            .env("DATABASE_URL", "mysql://root:s3cret@db/mail")
            .args(["demo"]),
    );
    assert_says(&said, &["SQLite or Postgres", "sqlite:postroom-data/postroom.db"]);
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(postroom(dir.path()).args(["devmail", "--imap", &address, "--smtp", "127.0.0.1:0"]));
    assert_says(&said, &[&address, "in use", "choose another"]);
}

#[test]
fn a_data_folder_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder should be: root may write anywhere else.
    std::fs::write(dir.path().join("data"), "").unwrap();
    let said = refused(postroom(dir.path()).args(["demo", "--data", "data"]));
    assert_says(&said, &["the data folder data can't be made", "--data"]);
    let said = refused(
        postroom(dir.path())
            .env("DATABASE_URL", "sqlite:data/postroom.db")
            .args(["demo"]),
    );
    assert_says(
        &said,
        &["the database folder data can't be written", "DATABASE_URL"],
    );
}

#[test]
fn an_unknown_key_in_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    write_settings(
        dir.path(),
        &format!("databas_url = \"sqlite:x.db\"\n{}", settings(1, 2, "x")),
    );
    let said = refused(postroom(dir.path()).args(["up"]));
    assert_says(&said, &["postroom.toml:1", "`databas_url`", "database_url"]);
}

#[test]
fn no_account_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(
        postroom(dir.path())
            .env("NATS_URL", "nats://127.0.0.1:1")
            .args(["up"]),
    );
    assert_says(&said, &["no account is configured", "[[accounts]]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password() {
    let dir = tempfile::tempdir().unwrap();
    let help = User {
        name: "help".into(),
        password: "right".into(),
        address: "help@example.test".into(),
    };
    let devmail = DevMail::start(DevMailConfig {
        imap: ([127, 0, 0, 1], 0).into(),
        smtp: ([127, 0, 0, 1], 0).into(),
        dir: dir.path().join("devmail"),
        users: vec![help],
        faults: Vec::new(),
    })
    .await
    .unwrap();
    let (imap, smtp) = (devmail.imap_addr().port(), devmail.smtp_addr().port());
    for command in ["up", "doctor"] {
        write_settings(dir.path(), &settings(imap, smtp, "s3cret"));
        let path = dir.path().to_owned();
        let said = tokio::task::spawn_blocking(move || {
            let output = postroom(&path)
                .env("NATS_URL", "nats://127.0.0.1:1")
                .arg(command)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2));
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        });
        let said = said.await.unwrap();
        assert_says(
            &said,
            &[
                "refuses the IMAP login of `help`",
                "check user and password in [accounts.imap]",
            ],
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
    devmail.shutdown().await;
}

/// Ends the process, whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_data_folder_that_another_process_works_in() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let devmail = [
        "devmail",
        "--imap",
        "127.0.0.1:0",
        "--smtp",
        "127.0.0.1:0",
        "--dir",
        "mail",
    ];
    let mut first = postroom(dir.path())
        .args(devmail)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = first.stdout.take().unwrap();
    let _first = Running(first);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).unwrap();
    assert!(line.starts_with("IMAP"), "{line}");
    let said = refused(postroom(dir.path()).args(devmail));
    assert_says(&said, &["mail is in use by another development mailbox", "--dir"]);
}

#[test]
fn a_sign_in_that_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    write_settings(dir.path(), &settings(1, 1, "s3cret"));
    let said = refused(postroom(dir.path()).args(["login", "helpp"]));
    assert_says(&said, &["no account is called `helpp`; there are: help"]);
    let said = refused(postroom(dir.path()).args(["login", "help"]));
    assert_says(&said, &["logs in by password", "[accounts.oauth]"]);
    let oauth = "[accounts.oauth]\ntoken_url = \"https://id.example/t\"\nclient_id = \"c\"\n";
    write_settings(
        dir.path(),
        &(settings(1, 1, "s3cret") + oauth + "refresh_token = \"r3fresh\"\n"),
    );
    let said = refused(postroom(dir.path()).args(["login", "help"]));
    assert_says(&said, &["take refresh_token out of [accounts.oauth]"]);
    write_settings(dir.path(), &(settings(1, 1, "s3cret") + oauth));
    let said = refused(postroom(dir.path()).args(["login", "help"]));
    assert_says(&said, &["no sign-in page is known", "sign_in_url"]);
}
