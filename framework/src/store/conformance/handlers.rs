//! What the database knows about handlers as such: which rest, and what they were called before.

use std::time::Duration;

use super::{
    Ask, Claim, Claiming, Fresh, LONG, NOW, PRINT, SCOPE, Settlement, Store, ask, claim, granted, settle,
};
use crate::store::pauses::{self, Paused};

on_both![
    a_longer_pause_wins_and_a_person_ends_it,
    a_pause_that_is_over_is_none,
    a_row_of_a_former_name_is_adopted_once_and_its_owner_fenced,
];

async fn pause(store: &Store, rest: Option<Duration>, by: &str) {
    let mut tx = store.begin().await.expect("begin");
    pauses::pause(&mut tx, SCOPE, rest, by, "the relay\0 is down")
        .await
        .expect("pause");
    tx.commit().await.expect("commit");
}

async fn paused(store: &Store) -> Vec<Paused> {
    let mut tx = store.read().await.expect("read");
    pauses::list(&mut tx).await.expect("list")
}

async fn a_longer_pause_wins_and_a_person_ends_it(fresh: Fresh) {
    let store = fresh.open().await;
    pause(&store, Some(LONG), "one").await;
    pause(&store, Some(LONG / 2), "two").await;
    let row = &paused(&store).await[0];
    assert_eq!(
        (row.by.as_str(), row.because.as_str()),
        ("one", "the relay\u{fffd} is down")
    );
    assert!(
        row.remaining.is_some_and(|left| left <= LONG && left > LONG / 2),
        "{row:?}"
    );
    pause(&store, None, "three").await;
    pause(&store, Some(LONG * 2), "four").await;
    let rows = paused(&store).await;
    assert_eq!(
        (rows.len(), rows[0].by.as_str(), rows[0].remaining),
        (1, "three", None)
    );

    let mut tx = store.begin().await.expect("begin");
    assert!(pauses::resume(&mut tx, SCOPE).await.expect("resume"));
    assert!(!pauses::resume(&mut tx, SCOPE).await.expect("resume"));
    tx.commit().await.expect("commit");
    assert_eq!(paused(&store).await, []);
}

async fn a_pause_that_is_over_is_none(fresh: Fresh) {
    let store = fresh.open().await;
    pause(&store, Some(NOW), "one").await;
    assert_eq!(paused(&store).await, []);
    // Over, but not purged yet: it stands in no later one's way.
    pause(&store, Some(LONG), "two").await;
    let mut tx = store.begin().await.expect("begin");
    assert_eq!(pauses::purge(&mut tx).await.expect("purge"), 0);
    tx.commit().await.expect("commit");
    assert_eq!(paused(&store).await.len(), 1);
}

/// By its new name, of which the old one is an alias.
async fn claim_renamed(store: &Store, key: &str) -> Claim {
    let claiming = Claiming {
        ask: Ask {
            scope: "renamed".to_owned(),
            ..ask(key, PRINT, LONG, LONG)
        },
        aliases: &[SCOPE],
        replay: None,
        opening: None,
    };
    let (claim, _) = store.claim(claiming).await.expect("claim");
    claim.expect("it is no replay")
}

async fn a_row_of_a_former_name_is_adopted_once_and_its_owner_fenced(fresh: Fresh) {
    let store = fresh.open().await;
    let done = granted(&store, "done").await;
    assert!(
        settle(
            &store,
            &done,
            Settlement::Done {
                result: Some("7".to_owned())
            }
        )
        .await
    );
    let copy = claim_renamed(&store, "done").await;
    assert!(matches!(copy, Claim::Done { result: Some(result) } if result == "7"));

    let running = granted(&store, "running").await;
    assert!(matches!(claim_renamed(&store, "running").await, Claim::Later(_)));
    assert!(
        !settle(&store, &running, Settlement::Done { result: None }).await,
        "under a name that is gone"
    );

    // Both names have one: each keeps its own.
    assert!(matches!(claim_renamed(&store, "both").await, Claim::Granted(_)));
    granted(&store, "both").await;
    assert!(matches!(claim(&store, "both").await, Claim::Later(_)));
}
