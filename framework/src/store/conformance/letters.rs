//! What people do with dead letters, on both databases; and the SQL of the page about them.

use std::time::{Duration, SystemTime};

use super::{
    Claiming, Fresh, LONG, PRINT, SCOPE, Settlement, Store, ask, bury, claim_as, deliveries, found, granted,
    letter, replay, settle, taken,
};
use crate::headers;
use crate::key::Key;
use crate::retention;
use crate::store::dead_letters::{self, Discard, Edit, Filter, Letter, Reason, Replay};
use crate::store::deliveries::Claim;
use crate::store::outbox::MAX_PAYLOAD;
use crate::{execute, on_tx};

const PAGE: &str = include_str!("../../../../docs/dead-letters.md");

on_both![
    a_filter_asks_for_what_it_names,
    work_on_many_ends_where_it_was_counted,
    groups_are_by_error_handler_and_reason,
    a_letter_is_discarded_once_and_for_good,
    an_edited_letter_replays_as_work_of_its_own,
    an_edit_is_refused_where_it_would_be_lost,
    each_act_leaves_its_trail,
    settled_letters_are_purged_in_batches_and_dead_ones_never,
    settled_letters_stay_for_as_long_as_was_said,
    each_round_of_a_letter_is_kept_up_to_a_limit,
    the_pages_sql_runs,
    the_page_names_every_column,
];

/// A letter in the table, `hours` after the first hour of 1970; gives its id.
async fn dead(store: &Store, hours: u64, letter: &Letter) -> String {
    let died_at = dead_letters::time_text(SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600));
    let mut tx = store.begin().await.expect("begin");
    let id = tx.dead_letter(letter).await.expect("dead_letter");
    execute!(
        tx,
        "UPDATE dead_letters SET died_at = $2 WHERE id = $1",
        &id,
        died_at
    )
    .expect("update");
    tx.commit().await.expect("commit");
    id
}

fn other(key: &Key) -> Letter {
    Letter {
        reason: Reason::Exhausted,
        handler: "other".into(),
        subject: "actions.send".into(),
        error: "451 mailbox is busy".into(),
        error_class: "Busy".into(),
        message_id: Some("2@x".into()),
        ..letter(key)
    }
}

fn filter(name: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    name(&mut filter);
    filter
}

async fn a_filter_asks_for_what_it_names(fresh: Fresh) {
    let store = fresh.open().await;
    let key = Key::of(&[&"a"]);
    let first = dead(&store, 1, &letter(&key)).await;
    let second = dead(&store, 2, &other(&key)).await;
    let (first, second) = (first.as_str(), second.as_str());
    let print = found(&store, first).await.error_fingerprint;
    let hour = |hour| Some(format!("1970-01-01T0{hour}:00:00.000Z"));
    let cases = [
        (Filter::default(), vec![second, first]),
        (filter(|f| f.state = Some("dead".into())), vec![second, first]),
        (filter(|f| f.state = Some("replayed".into())), vec![]),
        (filter(|f| f.handler = Some("other".into())), vec![second]),
        (filter(|f| f.reason = Some("permanent".into())), vec![first]),
        (filter(|f| f.group = Some(print.clone())), vec![first]),
        (filter(|f| f.subject = Some("actions.send".into())), vec![second]),
        (filter(|f| f.since = hour(2)), vec![second]),
        (filter(|f| f.until = hour(2)), vec![first]),
        (filter(|f| f.message_id = Some("<2@x>".into())), vec![second]),
        (filter(|f| f.message_id = Some("2@x".into())), vec![second]),
        (filter(|f| f.message_id = Some("<1@x>".into())), vec![first]),
        (filter(|f| f.message_id = Some("1@x".into())), vec![first]),
        (
            filter(|f| (f.handler, f.reason) = (Some("other".into()), Some("permanent".into()))),
            vec![],
        ),
        (filter(|f| f.handler = Some("' OR 1=1 --".into())), vec![]),
    ];
    let mut tx = store.read().await.expect("read");
    for (filter, expect) in cases {
        let newest = dead_letters::newest(&mut tx, &filter, 10).await.expect("newest");
        let newest: Vec<_> = newest.iter().map(|letter| letter.id.as_str()).collect();
        assert_eq!(newest, expect, "{filter:?}");
        let extent = dead_letters::extent(&mut tx, &filter).await.expect("extent");
        assert_eq!(extent.letters, expect.len() as u64, "{filter:?}");
        let mut ids = dead_letters::ids(&mut tx, &filter, &extent, "", 10)
            .await
            .expect("ids");
        ids.reverse();
        assert_eq!(ids, expect, "{filter:?}");
    }
}

async fn work_on_many_ends_where_it_was_counted(fresh: Fresh) {
    let store = fresh.open().await;
    let mut all = Vec::new();
    for n in 0..5_u32 {
        all.push(dead(&store, 1, &letter(&Key::of(&[&n]))).await);
    }
    let any = Filter::default();
    let mut tx = store.read().await.expect("read");
    let extent = dead_letters::extent(&mut tx, &any).await.expect("extent");
    tx.rollback().await.expect("rollback");
    dead(&store, 1, &letter(&Key::of(&[&"late"]))).await;

    let mut tx = store.read().await.expect("read");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = dead_letters::page(&mut tx, &any, &extent, &after, 2)
            .await
            .expect("page");
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        seen.extend(page.into_iter().map(|letter| letter.id));
    }
    assert_eq!(
        seen, all,
        "each once, oldest first, and not the one that came later"
    );
}

async fn groups_are_by_error_handler_and_reason(fresh: Fresh) {
    let store = fresh.open().await;
    let key = Key::of(&[&"a"]);
    dead(&store, 1, &letter(&key)).await;
    let same = Letter {
        error: "551 no such user".into(),
        ..letter(&key)
    };
    let example = dead(&store, 3, &same).await;
    dead(&store, 2, &other(&key)).await;
    let mut tx = store.read().await.expect("read");
    let groups = dead_letters::groups(&mut tx, &Filter::default(), 10)
        .await
        .expect("groups");
    assert_eq!(groups.len(), 2);
    assert_eq!(
        (groups[0].letters, groups[0].handler.as_str(), &groups[0].example),
        (2, SCOPE, &example)
    );
    assert_eq!(groups[0].oldest, "1970-01-01T01:00:00.000Z");
    assert_eq!(groups[0].newest, "1970-01-01T03:00:00.000Z");
    assert_eq!(groups[0].error, "551 no such user");
    assert_eq!((groups[1].letters, groups[1].reason.as_str()), (1, "exhausted"));
    let one = filter(|f| f.group = Some(groups[1].error_fingerprint.clone()));
    let only = dead_letters::groups(&mut tx, &one, 10).await.expect("groups");
    assert_eq!(only, groups[1..]);
}

async fn a_letter_is_discarded_once_and_for_good(fresh: Fresh) {
    let store = fresh.open().await;
    let id = dead(&store, 1, &letter(&Key::of(&[&"a"]))).await;
    let discard = async |id: &str| {
        dead_letters::discard(&store, id, "ann", "spam")
            .await
            .expect("discard")
    };
    assert_eq!(discard(&id).await, Discard::Discarded);
    assert_eq!(discard(&id).await, Discard::Not("discarded".into()));
    assert_eq!(discard("no-such-id").await, Discard::NotFound);
    assert_eq!(replay(&store, &id).await, Replay::Not("discarded".into()));
    let row = found(&store, &id).await;
    assert_eq!(
        (row.state.as_str(), row.settled_by.as_deref()),
        ("discarded", Some("ann"))
    );
    assert!(row.settled_at.is_some());
}

/// The claim that a delivery of the replay makes, as the executor does.
async fn claim_replay(store: &Store, id: &str, print: &str) -> deliveries::Granted {
    let claiming = Claiming {
        ask: ask("the replay's key is in its letter", print, LONG, LONG),
        aliases: &[],
        replay: Some(id.to_owned()),
        opening: None,
    };
    let (claim, _) = store.claim(claiming).await.expect("claim");
    let claim = claim.expect("a replay is under way");
    match claim {
        Claim::Granted(granted) => granted,
        other => panic!("the replay was not granted: {other:?}"),
    }
}

async fn an_edited_letter_replays_as_work_of_its_own(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let id = bury(&store, &work, &letter(&work.lease.key)).await;
    let received = found(&store, &id).await.payload;
    for payload in [r#"{"to":"bob"}"#, r#"{"to":"eve"}"#] {
        let row = found(&store, &id).await;
        let edit = dead_letters::edit(&store, &row, payload.as_bytes(), "ann").await;
        assert_eq!(edit.expect("edit"), Edit::Edited);
    }
    let row = found(&store, &id).await;
    assert_eq!(
        (row.payload.as_slice(), row.edits),
        (br#"{"to":"eve"}"#.as_slice(), 2)
    );
    assert_eq!(row.original_payload, Some(received), "the bytes as received");

    let _ = taken(&store).await;
    assert_eq!(replay(&store, &id).await, Replay::Begun);
    let sent = taken(&store).await.pop().expect("the replay");
    assert_eq!(sent.headers.get(headers::REPLAY), Some(id.as_str()));
    assert_eq!(sent.payload, row.payload, "the edited payload is what is sent");

    // Another payload under the letter's key, and yet no reuse of the key.
    let again = claim_replay(&store, &id, "f2").await;
    assert!(
        matches!(claim_as(&store, "a", PRINT, LONG, LONG).await, Claim::Dead),
        "a late copy of the original stays dead"
    );
    // It fails, and is replayed as it is: the same work, retried.
    let failed = Letter {
        replay_of: Some(id.clone()),
        key: again.lease.key.as_str().to_owned(),
        ..letter(&again.lease.key)
    };
    assert_eq!(bury(&store, &again, &failed).await, id);
    let row = found(&store, &id).await;
    assert_eq!(
        (row.state.as_str(), row.key.as_str(), row.edits),
        ("dead", "a", 2)
    );
    assert_eq!(replay(&store, &id).await, Replay::Begun);
    let last = claim_replay(&store, &id, "f2").await;
    assert_eq!(
        (last.attempts, last.lease.fence),
        (1, 3),
        "raised by the replay too"
    );
    assert!(settle(&store, &last, Settlement::Done { result: None }).await);
}

async fn an_edit_is_refused_where_it_would_be_lost(fresh: Fresh) {
    let store = fresh.open().await;
    let id = dead(&store, 1, &letter(&Key::of(&[&"a"]))).await;
    let read = found(&store, &id).await;
    let edit = async |payload: &[u8]| {
        dead_letters::edit(&store, &read, payload, "ann")
            .await
            .expect("edit")
    };
    assert!(matches!(edit(b"{\"to\":").await, Edit::NotJson(_)));
    assert_eq!(
        edit(&vec![b'1'; MAX_PAYLOAD + 1]).await,
        Edit::TooLarge(MAX_PAYLOAD + 1)
    );
    assert_eq!(found(&store, &id).await.edits, 0);
    assert_eq!(edit(b"{}").await, Edit::Edited);
    assert_eq!(edit(b"[]").await, Edit::Stale, "somebody was faster");
    assert_eq!(replay(&store, &id).await, Replay::Begun);
    assert_eq!(edit(b"[]").await, Edit::Not("replaying".into()));
}

async fn each_act_leaves_its_trail(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let id = bury(&store, &work, &letter(&work.lease.key)).await;
    let row = found(&store, &id).await;
    dead_letters::edit(&store, &row, b"{}", "ann")
        .await
        .expect("edit");
    replay(&store, &id).await;
    let again = claim_replay(&store, &id, "f2").await;
    let failed = Letter {
        replay_of: Some(id.clone()),
        error: "552 \0 full".into(),
        ..letter(&again.lease.key)
    };
    bury(&store, &again, &failed).await;
    replay(&store, &id).await;
    let mut tx = store.begin().await.expect("begin");
    dead_letters::replayed(&mut tx, &id).await.expect("replayed");
    dead_letters::replayed(&mut tx, &id)
        .await
        .expect("once is enough");
    tx.commit().await.expect("commit");
    // What is refused leaves none.
    replay(&store, &id).await;
    dead_letters::discard(&store, &id, "ann", "x")
        .await
        .expect("discard");

    let mut tx = store.read().await.expect("read");
    let trail = dead_letters::trail(&mut tx, &id).await.expect("trail");
    let acts: Vec<_> = trail
        .iter()
        .map(|act| (act.action.as_str(), act.done_by.as_str()))
        .collect();
    let expect = [
        ("edit", "ann"),
        ("replay", "ann"),
        ("failed", SCOPE),
        ("replay", "ann"),
        ("replayed", SCOPE),
    ];
    assert_eq!(acts, expect);
    assert_eq!(trail[0].detail, "4 bytes became 2");
    assert_eq!(trail[2].detail, "permanent: 552 \u{fffd} full");
    assert!(
        trail
            .iter()
            .all(|act| act.done_at.ends_with('Z') && act.done_at.len() == 24)
    );
}

async fn settled_letters_are_purged_in_batches_and_dead_ones_never(fresh: Fresh) {
    let store = fresh.open().await;
    let mut ids = Vec::new();
    for n in 0..5_u32 {
        ids.push(dead(&store, 1, &letter(&Key::of(&[&n]))).await);
    }
    for id in &ids[..3] {
        dead_letters::discard(&store, id, "ann", "spam")
            .await
            .expect("discard");
    }
    assert_eq!(replay(&store, &ids[3]).await, Replay::Begun);
    let purge = async |before| dead_letters::purge(&store, before, 2).await.expect("purge");
    let now = SystemTime::now();
    let (past, future) = (now - LONG, now + LONG);
    assert_eq!(purge(past).await, 0, "they were settled just now");
    assert_eq!(
        [purge(future).await, purge(future).await, purge(future).await],
        [2, 1, 0]
    );
    let mut tx = store.read().await.expect("read");
    let left = dead_letters::list(&mut tx, None, 10).await.expect("list");
    let mut left: Vec<_> = left.into_iter().map(|letter| letter.id).collect();
    left.sort();
    assert_eq!(left, ids[3..], "the one that is replaying, and the dead one");
    let trails: i64 = on_tx!(tx, connection => sqlx::query_scalar("SELECT COUNT(*) FROM dead_letter_actions")
        .fetch_one(connection)
        .await)
    .expect("count");
    assert_eq!(trails, 1, "the trail goes with its letter");
}

async fn settled_letters_stay_for_as_long_as_was_said(fresh: Fresh) {
    const DAY: Duration = Duration::from_secs(86_400);
    let store = fresh.open().await;
    let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let settled = async |n: u32, ago: Duration| {
        let id = dead(&store, 1, &letter(&Key::of(&[&n]))).await;
        dead_letters::discard(&store, &id, "ann", "spam")
            .await
            .expect("discard");
        let mut tx = store.begin().await.expect("begin");
        let at = dead_letters::time_text(now - ago);
        execute!(
            tx,
            "UPDATE dead_letters SET settled_at = $2 WHERE id = $1",
            &id,
            at
        )
        .expect("update");
        tx.commit().await.expect("commit");
        id
    };
    let at_the_limit = settled(1, 30 * DAY).await;
    let one_past = settled(2, 30 * DAY + Duration::from_millis(1)).await;
    let open = dead(&store, 1, &letter(&Key::of(&[&3_u32]))).await;
    let purge = async |kept| retention::batch(&store, kept, now).await.expect("purge");
    assert_eq!(purge(None).await, 0, "never means never");
    assert_eq!(
        purge(Some(30_000 * DAY)).await,
        0,
        "nothing was settled before 1970"
    );
    assert_eq!([purge(Some(30 * DAY)).await, purge(Some(30 * DAY)).await], [1, 0]);
    let mut tx = store.read().await.expect("read");
    let mut left: Vec<_> = dead_letters::list(&mut tx, None, 10)
        .await
        .expect("list")
        .into_iter()
        .map(|letter| letter.id)
        .collect();
    left.sort();
    let mut expect = vec![at_the_limit, open];
    expect.sort();
    assert_eq!(left, expect, "{one_past} is gone, and no other");
}

async fn each_round_of_a_letter_is_kept_up_to_a_limit(fresh: Fresh) {
    let store = fresh.open().await;
    let attempt = |round: i64| deliveries::FailedAttempt {
        attempt: 1,
        at: "1970-01-01T01:00:00.000Z".into(),
        class: "Busy".into(),
        error: format!("450 in round {round}"),
        log: vec![format!("line of round {round}")],
    };
    let died = async |round: i64, replay_of: Option<String>| {
        let letter = Letter {
            error: format!("450 in round {round}"),
            history: vec![attempt(round)],
            replay_of,
            ..letter(&Key::of(&[&"a"]))
        };
        let mut tx = store.begin().await.expect("begin");
        let id = tx.dead_letter(&letter).await.expect("dead_letter");
        tx.commit().await.expect("commit");
        id
    };
    let id = died(1, None).await;
    for round in 2..=dead_letters::MAX_ROUNDS + 1 {
        assert_eq!(died(round, Some(id.clone())).await, id);
    }
    let rounds = async || {
        let mut tx = store.read().await.expect("read");
        dead_letters::rounds(&mut tx, &id).await.expect("rounds")
    };
    let kept = rounds().await;
    assert_eq!(kept.len(), 100, "at the limit, all of them");
    let first: Vec<deliveries::FailedAttempt> = serde_json::from_str(&kept[0].history).expect("a history");
    assert_eq!(first, [attempt(1)]);
    died(dead_letters::MAX_ROUNDS + 2, Some(id.clone())).await;
    let kept: Vec<_> = rounds().await.iter().map(|round| round.round).collect();
    assert_eq!(kept, (2..=101).collect::<Vec<_>>(), "one past it, the latest");

    assert_eq!(
        dead_letters::discard(&store, &id, "ann", "")
            .await
            .expect("discard"),
        Discard::Discarded
    );
    let purged = dead_letters::purge(&store, SystemTime::now() + LONG, 10).await;
    assert_eq!(purged.expect("purge"), 1);
    assert_eq!(rounds().await, [], "the rounds go with their letter");
}

/// A page's SQL blocks for a database: those without a name are for both.
fn sql_for(page: &'static str, database: &str) -> Vec<&'static str> {
    let mut blocks = Vec::new();
    for block in page.split("\n```sql").skip(1) {
        let (kind, rest) = block.split_once('\n').expect("a block has lines");
        let (statement, _) = rest.split_once("\n```").expect("a block ends");
        if kind.trim().is_empty() || kind.trim() == database {
            blocks.push(statement);
        }
    }
    blocks
}

async fn the_pages_sql_runs(fresh: Fresh) {
    let store = fresh.open().await;
    let key = Key::of(&[&"a"]);
    let json = Letter {
        payload: br#"{"to":"ann@x"}"#.to_vec(),
        history: vec![deliveries::FailedAttempt {
            attempt: 1,
            at: "1970-01-01T01:00:00.000Z".into(),
            class: "Busy".into(),
            error: "451 busy".into(),
            log: Vec::new(),
        }],
        ..other(&key)
    };
    let mut tx = store.begin().await.expect("begin");
    let id = tx.dead_letter(&json).await.expect("dead_letter");
    tx.dead_letter(&json).await.expect("dead_letter");
    tx.commit().await.expect("commit");
    replay(&store, &id).await;
    let mut tx = store.begin().await.expect("begin");
    let again = Letter {
        replay_of: Some(id.clone()),
        ..json.clone()
    };
    tx.dead_letter(&again).await.expect("dead_letter");
    tx.commit().await.expect("commit");
    replay(&store, &id).await;
    assert!(run_sql_of(PAGE, &store).await >= 10, "the page has lost its SQL");
}

/// Each statement of a page gives something; gives their number.
pub(super) async fn run_sql_of(page: &'static str, store: &Store) -> usize {
    let mut tx = store.begin().await.expect("begin");
    let database = match tx.connection() {
        super::super::Connection::Sqlite(_) => "sqlite",
        super::super::Connection::Postgres(_) => "postgres",
    };
    let statements = sql_for(page, database);
    for statement in statements.iter().copied() {
        let rows = on_tx!(tx, connection => sqlx::query(statement).fetch_all(connection).await.map(|rows| rows.len()));
        match rows {
            Ok(0) => panic!("nothing came of:\n{statement}"),
            Ok(_) => {}
            Err(error) => panic!("{error} in:\n{statement}"),
        }
    }
    statements.len()
}

async fn the_page_names_every_column(fresh: Fresh) {
    let tables = ["dead_letters", "dead_letter_rounds", "dead_letter_actions"];
    names_every_column(PAGE, &tables, &fresh.open().await).await;
}

/// The page has a section for each of the tables, with a row for each of its columns.
pub(super) async fn names_every_column(page: &str, tables: &[&str], store: &Store) {
    let mut tx = store.begin().await.expect("begin");
    for table in tables.iter().copied() {
        let columns: Vec<String> = match tx.connection() {
            super::super::Connection::Sqlite(transaction) => {
                sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
                    .bind(table)
                    .fetch_all(&mut **transaction)
                    .await
            }
            super::super::Connection::Postgres(transaction) => {
                sqlx::query_scalar(
                    "SELECT column_name::text FROM information_schema.columns WHERE table_name = $1",
                )
                .bind(table)
                .fetch_all(&mut **transaction)
                .await
            }
        }
        .expect("the columns");
        assert!(!columns.is_empty(), "{table} has no columns");
        let (_, section) = page
            .split_once(&format!("### `{table}`\n"))
            .expect("the table has a section");
        let section = section.split("\n#").next().expect("it has text");
        for column in columns {
            assert!(
                section.contains(&format!("| `{column}` |")),
                "{table}.{column} is not described"
            );
        }
    }
}
