//! Messages for later, and messages in order, on both databases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use rand::RngExt;

use super::letters::{names_every_column, run_sql_of};
use super::{Fresh, LONG, NOW, taken};
use crate::headers::Headers;
use crate::store::outbox::{self, OutboxRow};
use crate::store::{Store, postponed};
use crate::terms::Due;
use crate::{execute, on_tx};

on_both![
    what_is_for_later_waits_and_moves_when_it_is_due,
    what_is_for_later_is_listed_by_its_time_and_cancelled_until_then,
    of_many_that_move_what_is_due_each_row_is_moved_once,
    of_each_key_the_first_row_is_there_to_take,
    rows_of_one_key_are_taken_in_the_order_of_their_commits,
    the_outbox_takes_up_a_long_backlog_of_keys,
    the_page_is_true,
];

fn row(subject: &str) -> OutboxRow {
    OutboxRow::new(subject, Headers::default(), b"{}".to_vec())
}

fn later(subject: &str, due: Due) -> OutboxRow {
    OutboxRow {
        due: Some(due),
        ..row(subject)
    }
}

fn keyed(subject: &str, key: &str) -> OutboxRow {
    OutboxRow {
        ordered_by: Some(key.to_owned()),
        ..row(subject)
    }
}

async fn push(store: &Store, rows: &[OutboxRow]) {
    let mut tx = store.begin().await.expect("begin");
    tx.push_all(&rows.iter().collect::<Vec<_>>()).await.expect("push");
    tx.commit().await.expect("commit");
}

async fn move_due(store: &Store, limit: u32) -> usize {
    let mut tx = store.begin().await.expect("begin");
    let moved = postponed::move_due(&mut tx, limit).await.expect("move");
    tx.commit().await.expect("commit");
    moved
}

fn subjects(rows: &[OutboxRow]) -> Vec<&str> {
    rows.iter().map(|row| row.subject.as_str()).collect()
}

async fn delete(store: &Store, row: &OutboxRow) {
    let mut tx = store.begin().await.expect("begin");
    outbox::delete(&mut tx, std::slice::from_ref(&row.id))
        .await
        .expect("delete");
    tx.commit().await.expect("commit");
}

async fn what_is_for_later_waits_and_moves_when_it_is_due(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    let mut tx = store.begin().await.expect("begin");
    tx.push(&later("rolled.back", Due::After(NOW)))
        .await
        .expect("push");
    tx.rollback().await.expect("rollback");
    let next = async || {
        let mut tx = store.read().await.expect("read");
        postponed::next(&mut tx).await.expect("next")
    };
    assert_eq!((next().await, move_due(&store, 10).await), (None, 0));

    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    let rows = [
        later("in.a.while", Due::After(LONG)),
        later("now", Due::After(NOW)),
        later("past", Due::At(past)),
        later("before.1970", Due::At(SystemTime::UNIX_EPOCH - LONG)),
        OutboxRow {
            ordered_by: Some("k".to_owned()),
            ..later("past.too", Due::At(past))
        },
    ];
    push(&store, &rows).await;
    assert!(taken(&store).await.is_empty(), "nothing of it is in the outbox");
    assert_eq!(next().await, Some(Duration::ZERO));
    assert_eq!(
        [
            move_due(&other, 3).await,
            move_due(&other, 3).await,
            move_due(&other, 3).await
        ],
        [3, 1, 0],
        "as many as one asks for"
    );
    let moved = taken(&other).await;
    assert_eq!(subjects(&moved), ["before.1970", "past", "past.too", "now"]);
    assert_eq!(
        (&moved[2].id, moved[2].ordered_by.as_deref(), &moved[2].payload),
        (&rows[4].id, Some("k"), &rows[4].payload),
        "it is the same row"
    );
    let left = next().await.expect("one waits");
    assert!(left > LONG - Duration::from_secs(60) && left <= LONG, "{left:?}");
}

async fn what_is_for_later_is_listed_by_its_time_and_cancelled_until_then(fresh: Fresh) {
    let store = fresh.open().await;
    let rows = [
        later("b", Due::After(LONG * 2)),
        later("a", Due::After(LONG)),
        later("b", Due::After(LONG * 3)),
        later("due", Due::After(NOW)),
    ];
    push(&store, &rows).await;
    assert_eq!(move_due(&store, 1).await, 1);
    let list = async |subject: Option<&str>| {
        let mut tx = store.read().await.expect("read");
        let (mut all, mut last) = (Vec::new(), None);
        loop {
            // One at a time: the pages neither overlap nor leave anything out.
            let page = postponed::list(&mut tx, subject, last.as_ref(), 1)
                .await
                .expect("list");
            last = page.into_iter().next();
            match &last {
                Some(row) => all.push(row.id.clone()),
                None => return all,
            }
        }
    };
    let ids = |of: &[usize]| of.iter().map(|n| rows[*n].id.clone()).collect::<Vec<_>>();
    assert_eq!(list(None).await, ids(&[1, 0, 2]));
    assert_eq!(list(Some("b")).await, ids(&[0, 2]));
    let cancel = async |row: usize| store.cancel(&rows[row].id).await.expect("cancel");
    assert_eq!([cancel(0).await, cancel(0).await], [true, false]);
    assert!(!cancel(3).await, "its time has come");
    assert!(!store.cancel("a\0b").await.expect("cancel"), "nobody's");
    assert_eq!(list(None).await, ids(&[1, 2]));
}

async fn of_many_that_move_what_is_due_each_row_is_moved_once(fresh: Fresh) {
    let stores = [fresh.open().await, fresh.open().await];
    let rows: Vec<_> = (0..60).map(|_| later("a", Due::After(NOW))).collect();
    push(&stores[0], &rows).await;
    let movers = (0..8).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move {
            let mut moved = 0;
            loop {
                let mut tx = store.begin().await.expect("begin");
                // Two may choose the same rows in different orders; Postgres has one of them try again then.
                let Ok(rows) = postponed::move_due(&mut tx, 7).await else {
                    continue;
                };
                tx.commit().await.expect("commit");
                moved += rows;
                let mut tx = store.read().await.expect("read");
                if postponed::next(&mut tx).await.expect("next").is_none() {
                    return moved;
                }
            }
        })
    });
    let moved: usize = join_all(movers)
        .await
        .into_iter()
        .map(|moved| moved.expect("a mover"))
        .sum();
    assert_eq!(moved, rows.len());
    assert_eq!(taken(&stores[0]).await.len(), rows.len());
}

async fn of_each_key_the_first_row_is_there_to_take(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    // With a relay there, what is in no order would be passed on in memory.
    store.handoff().set_open(true);
    let rows = ["1", "2", "3"].map(|subject| keyed(subject, "k"));
    push(&store, &rows).await;
    assert!(store.handoff().take(10).is_empty() && store.handoff().left_some());
    store.handoff().set_open(false);
    push(&store, &[row("free"), keyed("other", "l"), keyed("last", "k")]).await;

    assert_eq!(subjects(&taken(&store).await), ["1", "free", "other"]);
    assert!(taken(&other).await.is_empty(), "the first is under way");
    // Its relay has died: it is the first still.
    let mut tx = other.begin().await.expect("begin");
    execute!(
        tx,
        "UPDATE outbox SET claimed_until = 0 WHERE id = $1",
        &rows[0].id
    )
    .expect("expire");
    tx.commit().await.expect("commit");
    assert_eq!(subjects(&taken(&other).await), ["1"]);
    // What the broker refuses holds up its key, and no other.
    let mut tx = other.begin().await.expect("begin");
    outbox::set_aside(&mut tx, std::slice::from_ref(&rows[0].id), LONG)
        .await
        .expect("set aside");
    tx.commit().await.expect("commit");
    assert!(taken(&store).await.is_empty());
    for (confirmed, next) in [(&rows[0], "2"), (&rows[1], "3"), (&rows[2], "last")] {
        delete(&store, confirmed).await;
        assert_eq!(subjects(&taken(&store).await), [next]);
        assert!(taken(&other).await.is_empty());
    }
}

/// Writers on two processes, each of whose transactions stays open for a moment after it has written; beside them relays,
/// of which some die with what they have taken.
async fn rows_of_one_key_are_taken_in_the_order_of_their_commits(fresh: Fresh) {
    const WRITERS: usize = 8;
    const EACH: usize = 6;
    let stores = [fresh.open().await, fresh.open().await];
    // Written inside the transactions, just before they commit.
    let committed: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let writers = (0..WRITERS).map(|n| {
        let (store, committed) = (stores[n % 2].clone(), Arc::clone(&committed));
        tokio::spawn(async move {
            for _ in 0..EACH {
                let key = format!("key {}", n % 3);
                let row = keyed("in.order", &key);
                let mut tx = store.begin().await.expect("begin");
                tx.push(&row).await.expect("push");
                let pause = rand::rng().random_range(0..4);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                committed
                    .lock()
                    .expect("no writer panics")
                    .entry(key)
                    .or_default()
                    .push(row.id);
                tx.commit().await.expect("commit");
            }
        })
    });
    let writers = tokio::spawn(join_all(writers));
    let mut published: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut turn = 0;
    while published.values().map(Vec::len).sum::<usize>() < WRITERS * EACH {
        turn += 1;
        assert!(turn < 10_000, "only {published:?} came");
        let store = &stores[turn % 2];
        for row in taken(store).await {
            if turn % 3 == 0 {
                let mut tx = store.begin().await.expect("begin");
                execute!(tx, "UPDATE outbox SET claimed_until = 0 WHERE id = $1", &row.id).expect("expire");
                tx.commit().await.expect("commit");
                continue;
            }
            let key = row.ordered_by.clone().expect("a key");
            published.entry(key).or_default().push(row.id.clone());
            delete(store, &row).await;
        }
        tokio::task::yield_now().await;
    }
    for writer in writers.await.expect("the writers") {
        writer.expect("a writer");
    }
    assert_eq!(published, *committed.lock().expect("no writer panics"));
}

async fn the_outbox_takes_up_a_long_backlog_of_keys(fresh: Fresh) {
    let store = fresh.open().await;
    let rows: Vec<_> = (0..3000).map(|n| keyed("a", &format!("{}", n % 1500))).collect();
    push(&store, &rows).await;
    let mut tx = store.begin().await.expect("begin");
    let first = outbox::take(&mut tx, 256).await.expect("take");
    let ids = |rows: &[OutboxRow]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&rows[..256]), "the oldest, of all keys");
    let second = outbox::take(&mut tx, 2000).await.expect("take");
    assert_eq!(ids(&second), ids(&rows[256..1500]), "one of each key");
    let waiting: i64 = on_tx!(tx, connection =>
        sqlx::query_scalar("SELECT COUNT(*) FROM outbox WHERE claimed_until = 0").fetch_one(connection).await)
    .expect("count");
    assert_eq!(waiting, 1500);
}

async fn the_page_is_true(fresh: Fresh) {
    const PAGE: &str = include_str!("../../../../docs/outbox.md");
    let store = fresh.open().await;
    push(&store, &[row("a"), keyed("b", "k"), later("c", Due::After(LONG))]).await;
    names_every_column(PAGE, &["postponed", "outbox"], &store).await;
    assert_eq!(run_sql_of(PAGE, &store).await, 4, "the page has lost its SQL");
}
