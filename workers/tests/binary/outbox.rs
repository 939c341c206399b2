//! `postroom outbox list|cancel` on messages that another program has postponed.

use std::time::Duration;

use postroom::{Store, Terms};
use postroom_workers::messages::Reply;
use serde_json::Value;

use crate::postroom;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_waits_for_its_time_is_listed_and_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let run = |code: i32, args: &[&str]| -> (String, String) {
        let output = postroom(dir.path()).arg("outbox").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    assert!(run(2, &["list"]).1.contains("there is no database"));
    let file = dir.path().join("postroom-data/postroom.db");
    let store = Store::open(&format!("sqlite:{}", file.display())).await.unwrap();
    let reply = Reply {
        account: "help".into(),
        event_id: uuid::Uuid::nil(),
        text: "soon".into(),
        automatic: true,
    };
    let in_order = Terms::default().after(HOUR).ordered_by("help");
    let second = store.publish_after(HOUR * 2, &reply).await.unwrap();
    let first = store.publish_on(&in_order, &reply).await.unwrap();
    store.close().await;

    let (listed, _) = run(0, &["list", "--json"]);
    let rows: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&first, &second], "the earliest first");
    assert_eq!(
        (&rows[0]["subject"], &rows[0]["ordered_by"]),
        (&"actions.reply".into(), &"help".into())
    );
    assert_eq!(rows[0]["headers"]["Postroom-Message"][0], "actions.reply.v1");
    assert!(rows[0]["payload"].as_str().unwrap().contains("soon"));
    let (listed, _) = run(0, &["list", "--subject", "actions.reply"]);
    assert_eq!(listed.lines().count(), 2);
    assert!(
        listed.contains(&format!("Z  {first}  actions.reply  help  ")),
        "{listed}"
    );
    assert!(run(0, &["list", "--subject", "inbox.new"]).0.is_empty());

    let (said, error) = run(2, &["cancel", &second, "nobody"]);
    assert_eq!(said, format!("{second} is cancelled\n"));
    assert!(
        error.contains("no message waits for its time under `nobody`"),
        "{error}"
    );
    let (said, _) = run(2, &["cancel", "--json", &second]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["cancelled"], false);
    assert_eq!(run(0, &["list"]).0.lines().count(), 1);
}
