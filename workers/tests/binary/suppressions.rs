//! `postroom suppressions` on what the demo leaves: one recipient that the relay refused.

use std::process::Output;

use serde_json::Value;

use crate::postroom;

#[test]
fn who_was_refused_is_listed_and_can_be_written_to_again() {
    let dir = tempfile::tempdir().unwrap();
    let demo = postroom(dir.path()).args(["demo", "--json"]).output().unwrap();
    assert!(demo.status.success(), "{demo:?}");
    let run = |args: &[&str]| -> Output {
        let mut command = postroom(dir.path());
        command
            .arg("suppressions")
            .args(args)
            .env("USER", "ann")
            .output()
            .unwrap()
    };
    let listed = || -> Vec<Value> {
        let output = run(&["list", "--json"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let refused = listed();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["cause"], "no-such-address");
    let address = refused[0]["address"].as_str().unwrap();

    let removed = run(&["remove", address]);
    assert!(removed.status.success(), "{removed:?}");
    assert!(listed().is_empty());
    let again = run(&["remove", address]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("is not suppressed"),
        "{again:?}"
    );

    let added = run(&["add", "Ada@example.org", "--because", "she asked"]);
    assert!(added.status.success(), "{added:?}");
    let by_hand = listed();
    assert_eq!(
        (
            &by_hand[0]["address"],
            &by_hand[0]["cause"],
            &by_hand[0]["detail"],
            &by_hand[0]["source"]
        ),
        (
            &"ada@example.org".into(),
            &"manual".into(),
            &"she asked".into(),
            &"ann".into()
        )
    );
    let wrong = run(&["add", "ada"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&wrong.stderr).contains("`ada` is no mail address"),
        "{wrong:?}"
    );
}
