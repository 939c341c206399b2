//! What the table of schedules promises, on both databases.

use jiff::{SignedDuration, Timestamp};

use super::{Fresh, Store, push, taken};
use crate::execute;
use crate::store::schedules::{self, Standing};

on_both![
    a_new_schedule_counts_from_now_on,
    of_many_processes_one_fires,
    a_fire_and_its_message_are_there_both_or_neither,
    a_changed_schedule_counts_from_the_change_and_the_old_one_stops,
];

const DAILY: &str = "0 7 * * *";
const HOURLY: &str = "0 * * * *";

async fn register(store: &Store, expression: &str) -> bool {
    let mut tx = store.begin().await.expect("begin");
    let changed = schedules::register(&mut tx, "digest", expression, "UTC")
        .await
        .expect("register");
    tx.commit().await.expect("commit");
    changed
}

async fn standing(store: &Store, expression: &str) -> Option<Standing> {
    let mut tx = store.read().await.expect("read");
    let standing = schedules::standing(&mut tx, "digest", expression, "UTC").await;
    standing.expect("standing")
}

/// Fires from `from` to `to`; commits only if it was the first.
async fn fire(store: &Store, expression: &str, from: Timestamp, to: Timestamp) -> bool {
    let mut tx = store.begin().await.expect("begin");
    let first = schedules::advance(&mut tx, "digest", (expression, "UTC"), (from, to), 1)
        .await
        .expect("advance");
    if first {
        push(&mut tx, "digests.due").await;
        tx.commit().await.expect("commit");
    }
    first
}

fn day() -> SignedDuration {
    SignedDuration::from_hours(24)
}

async fn a_new_schedule_counts_from_now_on(fresh: Fresh) {
    let store = fresh.open().await;
    assert!(register(&store, DAILY).await, "it is new");
    assert!(!register(&store, DAILY).await, "it is known");
    let Standing { last_fire, now } = standing(&store, DAILY).await.expect("a row");
    let age = now.duration_since(last_fire);
    assert!(
        age >= SignedDuration::ZERO && age < SignedDuration::from_secs(60),
        "{age}"
    );
}

async fn of_many_processes_one_fires(fresh: Fresh) {
    let store = fresh.open().await;
    register(&store, DAILY).await;
    let last = standing(&store, DAILY).await.expect("a row").last_fire;
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = fresh.open().await;
        processes.spawn(async move { fire(&store, DAILY, last, last + day()).await });
    }
    let fired = processes
        .join_all()
        .await
        .into_iter()
        .filter(|fired| *fired)
        .count();
    assert_eq!(fired, 1);
    assert_eq!(
        standing(&store, DAILY).await.expect("a row").last_fire,
        last + day()
    );
    assert!(!fire(&store, DAILY, last, last + day()).await, "it is settled");
    assert!(
        fire(&store, DAILY, last + day(), last + day() + day()).await,
        "the next one is not"
    );
}

async fn a_fire_and_its_message_are_there_both_or_neither(fresh: Fresh) {
    let store = fresh.open().await;
    register(&store, DAILY).await;
    let last = standing(&store, DAILY).await.expect("a row").last_fire;
    let mut tx = store.begin().await.expect("begin");
    let settled = (last, last + day());
    assert!(
        schedules::advance(&mut tx, "digest", (DAILY, "UTC"), settled, 1)
            .await
            .expect("advance")
    );
    push(&mut tx, "digests.due").await;
    tx.rollback().await.expect("rollback");
    assert_eq!(standing(&store, DAILY).await.expect("a row").last_fire, last);
    assert!(taken(&store).await.is_empty());
    assert!(fire(&store, DAILY, last, last + day()).await);
    assert_eq!(taken(&store).await.len(), 1);
}

async fn a_changed_schedule_counts_from_the_change_and_the_old_one_stops(fresh: Fresh) {
    let store = fresh.open().await;
    register(&store, DAILY).await;
    // As if it had last fired long ago.
    let mut tx = store.begin().await.expect("begin");
    execute!(tx, "UPDATE schedules SET last_fire = 1000").expect("update");
    tx.commit().await.expect("commit");
    let long_ago = standing(&store, DAILY).await.expect("a row").last_fire;

    assert!(register(&store, HOURLY).await, "it has changed");
    assert_eq!(standing(&store, DAILY).await, None, "the old one is told");
    assert!(
        !fire(&store, DAILY, long_ago, long_ago + day()).await,
        "and does not fire"
    );
    let Standing { last_fire, now } = standing(&store, HOURLY).await.expect("a row");
    assert!(
        now.duration_since(last_fire) < SignedDuration::from_secs(60),
        "{last_fire}"
    );

    // A clock that was set back, or a process whose fire was ahead, must not make a fire come twice.
    assert!(fire(&store, HOURLY, last_fire, last_fire + day()).await);
    register(&store, DAILY).await;
    assert_eq!(
        standing(&store, DAILY).await.expect("a row").last_fire,
        last_fire + day()
    );
}
