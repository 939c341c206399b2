//! `postroom worker list|pause|resume` on the database that the demo leaves.

use std::process::Output;

use serde_json::Value;

use crate::postroom;

#[test]
fn handlers_are_listed_paused_and_resumed_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| -> Output {
        let mut command = postroom(dir.path());
        let command = command.arg("worker").args(args).env("USER", "ann");
        command.output().unwrap()
    };
    let said = |args: &[&str]| -> String {
        let output = run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = |args: &[&str]| -> String {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["list"]).contains("there is no database"));
    let demo = postroom(dir.path()).args(["demo", "--json"]).output().unwrap();
    assert!(demo.status.success(), "{demo:?}");

    let row = || -> Value {
        let listed = said(&["list", "--json"]);
        let mut rows = listed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.find(|row| row["handler"] == "auto-reply").unwrap()
    };
    assert_eq!(
        (&row()["subject"], &row()["paused"]),
        (&"inbox.new".into(), &Value::Null)
    );
    assert!(row()["started_ms"].as_i64().unwrap() > 0);

    let told = said(&["pause", "auto-reply", "--for", "10m", "--because", "on holiday"]);
    assert!(
        told.contains("auto-reply rests for") && told.contains("(ann: on holiday)"),
        "{told}"
    );
    let paused = row()["paused"].clone();
    let left = paused["remaining_ms"].as_u64().unwrap();
    assert!((500_000..=600_000).contains(&left), "{paused}");
    assert_eq!(
        (&paused["by"], &paused["because"]),
        (&"ann".into(), &"on holiday".into())
    );
    assert!(said(&["list"]).contains("rests for"));
    let longer = said(&["pause", "auto-reply"]);
    assert!(longer.contains("rests until it is resumed"), "{longer}");
    let shorter = said(&["pause", "auto-reply", "--for", "1s"]);
    assert!(shorter.contains("rests until it is resumed"), "{shorter}");

    assert_eq!(said(&["resume", "auto-reply"]), "auto-reply goes on\n");
    assert_eq!(said(&["resume", "auto-reply"]), "auto-reply was not paused\n");
    assert_eq!(row()["paused"], Value::Null);

    let near = refused(&["pause", "auto-repyl"]);
    assert!(
        near.contains("no handler `auto-repyl`") && near.contains("did you mean `auto-reply`?"),
        "{near}"
    );
    let far = refused(&["resume", "nobody"]);
    assert!(far.contains("`postroom worker list` shows which have"), "{far}");
    for time in ["soon", "0s"] {
        let wrong = refused(&["pause", "auto-reply", "--for", time]);
        assert!(wrong.contains("10m"), "{wrong}");
    }
    assert_eq!(row()["paused"], Value::Null);
}
