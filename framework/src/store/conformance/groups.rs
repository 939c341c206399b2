//! The group commit, on both databases.

use std::sync::Arc;

use futures_util::future::join_all;

use super::*;

on_both![
    many_at_once_share_commits,
    all_leases_in_flight_are_renewed_by_one_transaction,
    a_bad_row_fails_alone,
    one_key_many_times_at_once_is_one_piece_of_work,
    a_second_write_for_a_row_sees_the_first,
    what_a_lost_lease_would_have_published_is_not,
    a_closed_store_has_done_what_it_was_asked,
    a_group_that_cannot_commit_tells_everybody,
    the_ledger_is_read_by_index,
];

/// Of so many at a time, each claims and settles.
const HANDLERS: usize = 64;

async fn commits_of(store: &Store, work: impl Future<Output = ()>) -> u64 {
    let before = store.group_commits();
    work.await;
    store.group_commits() - before
}

async fn many_at_once_share_commits(fresh: Fresh) {
    let store = fresh.open().await;
    let handlers = (0..HANDLERS).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..4 {
                let work = granted(&store, &format!("{n}/{round}")).await;
                assert!(settle(&store, &work, Settlement::Done { result: None }).await);
            }
        })
    });
    let commits = commits_of(&store, async {
        for handler in join_all(handlers.collect::<Vec<_>>()).await {
            handler.expect("each settles");
        }
    })
    .await;
    let writes = u64::try_from(HANDLERS * 4 * 2).expect("a few hundred");
    assert!(commits <= writes / 4, "{writes} writes took {commits} commits");
}

async fn all_leases_in_flight_are_renewed_by_one_transaction(fresh: Fresh) {
    let store = fresh.open().await;
    let mut leases = Vec::new();
    for n in 0..HANDLERS {
        leases.push(granted(&store, &format!("{n}")).await.lease);
    }
    let over = leases[7].clone();
    let ending = Ending::new(&over, Settlement::Done { result: None });
    assert!(store.settle(ending).await.expect("settle"));
    let commits = commits_of(&store, async {
        let held = renew(&store, leases.clone()).await;
        let lost: Vec<_> = leases.iter().zip(held).filter(|(_, held)| !held).collect();
        assert_eq!(lost, [(&over, false)]);
    })
    .await;
    assert_eq!(commits, 1);
}

/// Refused by a trigger, as a bad row is by a constraint.
async fn refuse_the_bad(store: &Store) {
    let mut tx = store.begin().await.expect("begin");
    let trigger: &[&str] = match tx.connection() {
        crate::store::Connection::Sqlite(_) => &[
            "CREATE TRIGGER refuse BEFORE INSERT ON deliveries WHEN NEW.key = 'bad' \
             BEGIN SELECT RAISE(ABORT, 'bad row'); END",
        ],
        crate::store::Connection::Postgres(_) => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''bad row''; END'",
            "CREATE TRIGGER refuse BEFORE INSERT ON deliveries FOR EACH ROW WHEN (NEW.key = 'bad') EXECUTE FUNCTION refuse()",
        ],
    };
    for statement in trigger {
        execute!(tx, *statement).expect("DDL");
    }
    tx.commit().await.expect("commit");
}

fn claiming(key: &str) -> Claiming {
    Claiming {
        ask: ask(key, PRINT, LONG, LONG),
        aliases: &[],
        replay: None,
        opening: None,
    }
}

async fn a_bad_row_fails_alone(fresh: Fresh) {
    let store = fresh.open().await;
    refuse_the_bad(&store).await;
    let keys: Vec<_> = (0..20)
        .map(|n| if n == 7 { "bad".to_owned() } else { format!("k{n}") })
        .collect();
    let claims = join_all(keys.iter().map(|key| store.claim(claiming(key)))).await;
    for (key, claim) in keys.iter().zip(claims) {
        match claim {
            Ok((Some(Claim::Granted(work)), _)) => {
                assert_eq!((key != "bad", work.attempts), (true, 1), "{key}");
            }
            Err(error) => assert!(
                key == "bad" && error.to_string().contains("bad row"),
                "{key}: {error}"
            ),
            Ok((claim, _)) => panic!("{key}: {claim:?}"),
        }
    }
}

async fn one_key_many_times_at_once_is_one_piece_of_work(fresh: Fresh) {
    let store = fresh.open().await;
    let claims = join_all((0..20).map(|_| store.claim(claiming("same")))).await;
    let mut granted = 0;
    for claim in claims {
        match claim.expect("claim") {
            (Some(Claim::Granted(work)), _) => {
                granted += 1;
                assert_eq!(work.lease.fence, 1);
            }
            (Some(Claim::Later(_)), _) => {}
            (claim, _) => panic!("{claim:?}"),
        }
    }
    assert_eq!(granted, 1);
}

async fn a_second_write_for_a_row_sees_the_first(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let done = || store.settle(Ending::new(&work.lease, Settlement::Done { result: None }));
    // Asked for in this order, all at once.
    let (begun, first, second, claim) = tokio::join!(
        store.begin_effect(work.lease.clone(), "e".to_owned()),
        done(),
        done(),
        store.claim(claiming("a"))
    );
    assert!(begun.expect("begin_effect") && first.expect("settle"));
    assert!(!second.expect("settle"), "it settles once");
    assert!(matches!(claim.expect("claim"), (Some(Claim::Done { .. }), _)));
}

async fn what_a_lost_lease_would_have_published_is_not(fresh: Fresh) {
    let store = fresh.open().await;
    let Claim::Granted(lost) = claim_as(&store, "lost", PRINT, NOW, LONG).await else {
        panic!("not granted")
    };
    let held = granted(&store, "held").await;
    let heir = granted(&store, "lost").await;
    let ending = |work: &Granted, subject: &str| Ending {
        outbox: vec![OutboxRow::new(subject, Headers::default(), Vec::new())],
        ..Ending::new(&work.lease, Settlement::Done { result: None })
    };
    let (theirs, ours) = tokio::join!(
        store.settle(ending(&lost, "inbox.lost")),
        store.settle(ending(&held, "inbox.held"))
    );
    assert!(!theirs.expect("settle") && ours.expect("settle"));
    let subjects: Vec<_> = taken(&store).await.into_iter().map(|row| row.subject).collect();
    assert_eq!(subjects, ["inbox.held"]);
    assert!(settle(&store, &heir, Settlement::Done { result: None }).await);
}

async fn a_closed_store_has_done_what_it_was_asked(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    // Asked first, and closed before it is answered.
    let (settled, ()) = tokio::join!(
        biased;
        store.settle(Ending::new(&work.lease, Settlement::Done { result: None })),
        store.close()
    );
    assert!(settled.expect("what was asked before is done"));
    assert!(store.claim(claiming("b")).await.is_err(), "and nothing after it");
    assert!(matches!(
        claim(&fresh.open().await, "a").await,
        Claim::Done { .. }
    ));
}

/// A constraint that is checked at the commit.
async fn refuse_commits(store: &Store) {
    let mut tx = store.begin().await.expect("begin");
    let child =
        "CREATE TABLE child_test (parent BIGINT REFERENCES parent_test (id) DEFERRABLE INITIALLY DEFERRED)";
    execute!(tx, "CREATE TABLE parent_test (id BIGINT PRIMARY KEY)").expect("DDL");
    execute!(tx, child).expect("DDL");
    let trigger: &[&str] = match tx.connection() {
        crate::store::Connection::Sqlite(_) => &[
            "CREATE TRIGGER orphan AFTER INSERT ON deliveries WHEN NEW.key = 'orphan' \
             BEGIN INSERT INTO child_test VALUES (1); END",
        ],
        crate::store::Connection::Postgres(_) => &[
            "CREATE FUNCTION orphan() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO child_test VALUES (1); RETURN NULL; END'",
            "CREATE TRIGGER orphan AFTER INSERT ON deliveries FOR EACH ROW WHEN (NEW.key = 'orphan') EXECUTE FUNCTION orphan()",
        ],
    };
    for statement in trigger {
        execute!(tx, *statement).expect("DDL");
    }
    tx.commit().await.expect("commit");
}

async fn a_group_that_cannot_commit_tells_everybody(fresh: Fresh) {
    let store = Arc::new(fresh.open().await);
    refuse_commits(&store).await;
    // On this one thread, all have asked before the group looks.
    let keys = ["x", "orphan", "y"];
    let claims = join_all(keys.map(|key| store.claim(claiming(key)))).await;
    for (key, claim) in keys.iter().zip(claims) {
        // The first may have had a commit of its own.
        assert!(
            claim.is_err() || *key == "x",
            "{key} was told that it is claimed: {claim:?}"
        );
    }
    assert!(
        matches!(claim(&store, "y").await, Claim::Granted(_)),
        "nothing of it was committed"
    );
}

async fn the_ledger_is_read_by_index(fresh: Fresh) {
    let store = fresh.open().await;
    let mut tx = store.begin_group().await.expect("begin");
    for (statement, parameters) in deliveries::statements_for_plans() {
        let plan = plan_of(&mut tx, statement, parameters).await;
        assert!(
            !plan.contains("Seq Scan on deliveries")
                && !plan.contains("SCAN deliveries")
                && !plan.contains("SCAN d"),
            "{statement}\n{plan}"
        );
    }
}

/// The plan in the database's own words.
async fn plan_of(tx: &mut Tx, statement: &str, parameters: usize) -> String {
    use sqlx::{AssertSqlSafe, Row};
    let text = ["'[]'", "1", "1"];
    let filled = (1..=parameters).fold(statement.to_owned(), |filled, n| {
        filled.replace(&format!("${n}"), text[n - 1])
    });
    match tx.connection() {
        crate::store::Connection::Sqlite(transaction) => {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {filled}"));
            let rows = sqlx::query(explain)
                .fetch_all(&mut **transaction)
                .await
                .expect("EXPLAIN");
            rows.iter()
                .map(|row| row.get::<String, _>("detail") + "\n")
                .collect()
        }
        crate::store::Connection::Postgres(transaction) => {
            let explain = AssertSqlSafe(format!("EXPLAIN {filled}"));
            let rows = sqlx::query(explain)
                .fetch_all(&mut **transaction)
                .await
                .expect("EXPLAIN");
            rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
        }
    }
}
