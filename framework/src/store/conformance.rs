//! One suite, run on SQLite and on PostgreSQL: what the ledger promises, whichever database keeps it.

use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use super::dead_letters::{Burial, Letter, Reason, Replay};
use super::deliveries::{Ask, Claim, Effect, FailedAttempt, Granted, Lease, Settlement};
use super::openings::Opening;
use super::outbox::OutboxRow;
use super::{Beat, Claiming, Ending, Store, Tx, dead_letters, deliveries, leases, outbox};
use crate::headers::{self, Headers};
use crate::key::Key;
use crate::{execute, on_tx};

#[path = "../../tests/servers/mod.rs"]
pub(super) mod servers;

const LONG: Duration = Duration::from_secs(600);
const NOW: Duration = Duration::ZERO;
/// So many start at once.
const STARTS: usize = 6;
const SCOPE: &str = "handler";
const PRINT: &str = "f1";

static POSTGRES: LazyLock<servers::Postgres> = LazyLock::new(servers::Postgres::start);

/// A database with the schema and nothing in it; `again` opens it as another process would.
struct Fresh {
    url: String,
    _folder: Option<TempDir>,
}

impl Fresh {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            url: format!("sqlite:{}", folder.path().join("ledger.db").display()),
            _folder: Some(folder),
        }
    }

    fn postgres() -> Self {
        Self {
            url: POSTGRES.fresh_database(),
            _folder: None,
        }
    }

    async fn open(&self) -> Store {
        Store::open(&self.url).await.expect("the database opens")
    }
}

/// Runs each case on both databases.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Fresh::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Fresh::postgres()).await;
            })+
        }
    };
}

mod groups;
mod handlers;
mod letters;
mod schedules;
mod terms;

on_both![
    many_processes_start_on_one_fresh_database,
    a_claim_is_granted_once,
    done_work_is_a_duplicate_and_another_payload_is_refused,
    a_retry_is_due_when_it_says_and_keeps_its_history,
    a_lease_that_ran_out_is_a_crash_and_its_owner_is_fenced,
    a_process_that_comes_back_has_not_crashed,
    processes_that_die_of_reading_a_message_are_counted,
    work_put_back_spends_no_attempt,
    an_effect_without_a_verdict_is_remembered_until_success,
    dead_work_is_replayed_once_however_many_ask,
    a_replay_that_succeeds_settles_its_letter,
    a_replay_that_fails_is_the_same_letter_again,
    settled_rows_are_forgotten_after_their_ttl,
    forgotten_work_leaves_no_effect_behind,
    of_many_at_once_one_gets_the_work,
    what_is_rolled_back_is_not_published,
    the_outbox_keeps_order_and_is_left_to_others_when_its_relay_dies,
    a_letter_is_in_the_table_and_in_the_outbox_or_in_neither,
    a_lease_has_one_holder,
    hostile_text_is_kept_out_of_nobodys_way,
    a_letter_too_large_for_the_stream_is_whole_in_the_table,
];

/// A thread and a runtime each, so that no two wait for each other but in the database.
async fn many_processes_start_on_one_fresh_database(fresh: Fresh) {
    let barrier = std::sync::Barrier::new(STARTS);
    let start = || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        barrier.wait();
        runtime.block_on(async {
            let store = Store::open(&fresh.url)
                .await
                .map_err(|error| format!("{error:?}"))?;
            let claimed = matches!(claim(&store, "k").await, Claim::Granted(_));
            store.close().await;
            Ok::<_, String>(claimed)
        })
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let claims: Result<Vec<bool>, String> = outcomes.into_iter().collect();
    let granted = claims
        .expect("all of them start")
        .into_iter()
        .filter(|granted| *granted);
    assert_eq!(granted.count(), 1);
}

fn ask(key: &str, print: &str, lease: Duration, ttl: Duration) -> Ask {
    Ask {
        scope: SCOPE.to_owned(),
        key: Key::of(&[&key]),
        fingerprint: print.to_owned(),
        lease,
        ttl,
    }
}

async fn claim_as(store: &Store, key: &str, print: &str, lease: Duration, ttl: Duration) -> Claim {
    let claiming = Claiming {
        ask: ask(key, print, lease, ttl),
        aliases: &[],
        replay: None,
        opening: None,
    };
    let (claim, _) = store.claim(claiming).await.expect("claim");
    claim.expect("it is no replay")
}

async fn claim(store: &Store, key: &str) -> Claim {
    claim_as(store, key, PRINT, LONG, LONG).await
}

async fn granted(store: &Store, key: &str) -> Granted {
    match claim(store, key).await {
        Claim::Granted(granted) => granted,
        other => panic!("the claim was not granted: {other:?}"),
    }
}

async fn settle(store: &Store, granted: &Granted, settlement: Settlement) -> bool {
    store
        .settle(Ending::new(&granted.lease, settlement))
        .await
        .expect("settle")
}

async fn begin_effect(store: &Store, granted: &Granted, effect: &str) -> bool {
    let begun = store.begin_effect(granted.lease.clone(), effect.to_owned());
    begun.await.expect("begin_effect")
}

fn letter(key: &Key) -> Letter {
    let mut headers = Headers::default();
    headers.set(headers::MESSAGE, "inbox.new.v1");
    Letter {
        reason: Reason::Permanent,
        handler: SCOPE.to_owned(),
        key: key.as_str().to_owned(),
        subject: "inbox.new".to_owned(),
        stream: "INBOX".to_owned(),
        stream_seq: 7,
        payload: vec![0, 159, 146, 150],
        headers,
        error: "550 no such user".to_owned(),
        error_class: "Refused".to_owned(),
        attempts: 3,
        history: Vec::new(),
        message_id: Some("<1@x>".to_owned()),
        replay_of: None,
    }
}

async fn bury(store: &Store, granted: &Granted, letter: &Letter) -> String {
    let burial = Burial::of(letter.clone());
    let id = burial.id.clone();
    let ending = Ending {
        burial: Some(burial),
        ..Ending::new(&granted.lease, Settlement::Dead)
    };
    assert!(store.settle(ending).await.expect("settle"));
    id
}

async fn replay(store: &Store, id: &str) -> Replay {
    dead_letters::replay(store, id, "ann").await.expect("replay")
}

async fn found(store: &Store, id: &str) -> dead_letters::DeadLetter {
    let mut tx = store.read().await.expect("read");
    dead_letters::find(&mut tx, id)
        .await
        .expect("find")
        .expect("the letter is there")
}

async fn renew(store: &Store, held: Vec<Lease>) -> Vec<bool> {
    let beat = Beat {
        held,
        by: LONG,
        ..Beat::default()
    };
    store.renew(beat).await.expect("renew")
}

async fn taken(store: &Store) -> Vec<OutboxRow> {
    let mut tx = store.begin().await.expect("begin");
    let rows = outbox::take(&mut tx, 100).await.expect("take");
    tx.commit().await.expect("commit");
    rows
}

async fn push(tx: &mut Tx, subject: &str) -> String {
    let row = OutboxRow::new(subject, Headers::default(), b"{}".to_vec());
    tx.push(&row).await.expect("push");
    row.id
}

async fn a_claim_is_granted_once(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    let first = granted(&store, "a").await;
    assert_eq!((first.lease.fence, first.attempts, first.crashes), (1, 1, 0));
    for asked in [&store, &other] {
        match claim(asked, "a").await {
            Claim::Later(wait) => assert!(wait > LONG - Duration::from_secs(60) && wait <= LONG, "{wait:?}"),
            claim => panic!("two claims on one piece of work: {claim:?}"),
        }
    }
    granted(&other, "b").await;
}

async fn done_work_is_a_duplicate_and_another_payload_is_refused(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    assert!(
        matches!(claim_as(&store, "a", "f2", LONG, LONG).await, Claim::KeyReused),
        "while it is under way"
    );
    assert!(
        settle(
            &store,
            &work,
            Settlement::Done {
                result: Some("{\"n\":1}".to_owned())
            }
        )
        .await
    );
    match claim(&store, "a").await {
        Claim::Done { result } => assert_eq!(result.as_deref(), Some("{\"n\":1}")),
        claim => panic!("{claim:?}"),
    }
    assert!(
        matches!(claim_as(&store, "a", "f2", LONG, LONG).await, Claim::KeyReused),
        "when it is done"
    );
    assert!(
        !settle(&store, &work, Settlement::Done { result: None }).await,
        "it settles once"
    );
}

async fn a_retry_is_due_when_it_says_and_keeps_its_history(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let history = [FailedAttempt {
        attempt: 1,
        at: "t".into(),
        class: "c".into(),
        error: "451 \"later\"".into(),
        log: vec!["a \"line\"".into()],
    }];
    let retry = |after| Settlement::Retry {
        after,
        history: history.to_vec(),
        effect: Effect::None,
    };
    assert!(settle(&store, &work, retry(NOW)).await);
    let again = granted(&store, "a").await;
    assert_eq!((again.lease.fence, again.attempts, again.crashes), (2, 2, 0));
    assert_eq!(again.history, history);
    assert!(settle(&store, &again, retry(LONG)).await);
    assert!(
        matches!(claim(&store, "a").await, Claim::Later(wait) if wait > LONG / 2),
        "not due yet"
    );
}

async fn a_lease_that_ran_out_is_a_crash_and_its_owner_is_fenced(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    let Claim::Granted(dead) = claim_as(&store, "a", PRINT, NOW, LONG).await else {
        panic!("not granted")
    };
    let heir = granted(&other, "a").await;
    assert_eq!((heir.lease.fence, heir.attempts, heir.crashes), (2, 2, 1));
    assert!(
        !settle(&store, &dead, Settlement::Done { result: None }).await,
        "the first owner settled after losing it"
    );
    assert!(!begin_effect(&store, &dead, "e").await);
    let leases = vec![dead.lease.clone(), heir.lease.clone()];
    assert_eq!(
        renew(&store, leases).await,
        [false, true],
        "of two leases on one row, the later one holds"
    );
    assert!(settle(&other, &heir, Settlement::Done { result: None }).await);
}

/// The lease of each runs out; its owner comes back, or not, before or after somebody else has claimed it.
async fn a_process_that_comes_back_has_not_crashed(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    let lapsed = async |key: &str| match claim_as(&store, key, PRINT, NOW, LONG).await {
        Claim::Granted(work) => work,
        claim => panic!("{claim:?}"),
    };
    let survive = async |survivor: &Store, work: &Granted| {
        let beat = Beat {
            survived: vec![work.lease.clone()],
            ..Beat::default()
        };
        assert_eq!(survivor.renew(beat).await.expect("renew"), [false; 0]);
    };
    let lease_again = async |asked: &Store, key: &str| match claim_as(asked, key, PRINT, NOW, LONG).await {
        Claim::Granted(work) => (work.attempts, work.crashes),
        claim => panic!("{claim:?}"),
    };
    lapsed("same").await;
    assert_eq!(lease_again(&store, "same").await, (2, 0), "by the same process");

    let early = lapsed("early").await;
    begin_effect(&store, &early, "e").await;
    survive(&store, &early).await;
    let heir = granted(&other, "early").await;
    assert_eq!((heir.attempts, heir.crashes), (2, 0));
    assert_eq!(heir.unresolved_effect.as_deref(), Some("e"));

    let late = lapsed("late").await;
    assert_eq!(lease_again(&other, "late").await, (2, 1));
    survive(&store, &late).await;
    // Of the other process, nothing more is heard.
    assert_eq!(
        lease_again(&store, "late").await,
        (3, 1),
        "only its own crash is taken back"
    );
    survive(&store, &late).await;
    assert_eq!(
        lease_again(&other, "late").await,
        (4, 2),
        "what was long ago changes nothing"
    );
}

async fn processes_that_die_of_reading_a_message_are_counted(fresh: Fresh) {
    let opening = Opening {
        handler: "h".to_owned(),
        place: "S/1/2".to_owned(),
    };
    let begin = async |store: &Store| store.begin_opening(opening.clone()).await.expect("begin");
    let (one, two, three) = (fresh.open().await, fresh.open().await, fresh.open().await);
    assert_eq!(begin(&one).await, Some(0));
    assert_eq!(begin(&one).await, Some(0), "it lives, and begins again");
    assert_eq!(begin(&two).await, None, "the other one is at it");
    for (dead, (heir, deaths)) in [(&one, (&two, 1)), (&two, (&three, 2))] {
        let mut tx = dead.begin().await.expect("begin");
        execute!(tx, "UPDATE openings SET until = 0").expect("time passes");
        tx.commit().await.expect("commit");
        assert_eq!(begin(heir).await, Some(deaths));
    }
    let alive = Beat {
        opening: vec![opening.clone()],
        ..Beat::default()
    };
    for (store, holds) in [(&two, false), (&three, true)] {
        let mut tx = store.begin().await.expect("begin");
        execute!(tx, "UPDATE openings SET until = 0").expect("time passes");
        tx.commit().await.expect("commit");
        store.renew(alive.clone()).await.expect("renew");
        let mut tx = store.read().await.expect("read");
        let until: i64 = on_tx!(tx, connection =>
            sqlx::query_scalar("SELECT until FROM openings").fetch_one(connection).await)
        .expect("a row");
        assert_eq!(until > 0, holds, "only who is at it renews it");
    }
    let claiming = Claiming {
        ask: ask("a", PRINT, LONG, LONG),
        aliases: &[],
        replay: None,
        opening: Some(opening.clone()),
    };
    three.claim(claiming).await.expect("claim");
    assert_eq!(begin(&one).await, Some(0), "it was read");
    let given_up = Beat {
        opened: vec![opening.clone()],
        ..Beat::default()
    };
    one.renew(given_up).await.expect("renew");
    assert_eq!(begin(&two).await, Some(0), "it was read, and left to others");
}

async fn work_put_back_spends_no_attempt(fresh: Fresh) {
    let store = fresh.open().await;
    for _ in 0..3 {
        let work = granted(&store, "a").await;
        assert_eq!((work.attempts, work.crashes), (1, 0));
        assert!(
            settle(
                &store,
                &work,
                Settlement::Released {
                    after: NOW,
                    effect: Effect::None
                }
            )
            .await
        );
    }
}

async fn an_effect_without_a_verdict_is_remembered_until_success(fresh: Fresh) {
    let store = fresh.open().await;
    let begin = async |work: &Granted| assert!(begin_effect(&store, work, "<m@x>").await);
    // The process dies in the middle of the effect.
    let Claim::Granted(work) = claim_as(&store, "a", PRINT, NOW, LONG).await else {
        panic!("not granted")
    };
    begin(&work).await;
    let heir = granted(&store, "a").await;
    assert_eq!(heir.unresolved_effect.as_deref(), Some("<m@x>"));
    // A failure before the next effect does not resolve the first one.
    assert!(
        settle(
            &store,
            &heir,
            Settlement::Released {
                after: NOW,
                effect: Effect::Unknown
            }
        )
        .await
    );
    let next = granted(&store, "a").await;
    assert_eq!(next.unresolved_effect.as_deref(), Some("<m@x>"));
    // A known failure does.
    begin(&next).await;
    assert!(
        settle(
            &store,
            &next,
            Settlement::Retry {
                after: NOW,
                history: Vec::new(),
                effect: Effect::None
            }
        )
        .await
    );
    assert_eq!(granted(&store, "a").await.unresolved_effect, None);
}

async fn dead_work_is_replayed_once_however_many_ask(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let id = bury(&store, &work, &letter(&work.lease.key)).await;
    assert!(matches!(claim(&store, "a").await, Claim::Dead));
    let _ = taken(&store).await;

    let replays =
        futures_util::future::join_all((0..8).map(|_| dead_letters::replay(&store, &id, "ann"))).await;
    let begun = replays
        .into_iter()
        .map(|replay| replay.expect("replay"))
        .filter(|replay| *replay == Replay::Begun);
    assert_eq!(begun.count(), 1, "of eight who ask, one begins the replay");
    assert_eq!(replay(&store, "no-such-id").await, Replay::NotFound);
    assert_eq!(replay(&store, &id).await, Replay::Not("replaying".to_owned()));

    let rows: Vec<_> = taken(&store)
        .await
        .into_iter()
        .filter(|row| row.subject == "inbox.new")
        .collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].payload,
        letter(&work.lease.key).payload,
        "the bytes as they were received"
    );
    assert_eq!(rows[0].headers.get(headers::REPLAY), Some(id.as_str()));
    assert_eq!(rows[0].headers.get(headers::HANDLER), Some(SCOPE));
    let mut tx = store.begin().await.expect("begin");
    let key = dead_letters::replayed_key(&mut tx, &id, SCOPE)
        .await
        .expect("replayed_key");
    assert_eq!(key.as_deref(), Some("a"));
    assert_eq!(
        dead_letters::replayed_key(&mut tx, &id, "another")
            .await
            .expect("replayed_key"),
        None
    );
}

async fn a_replay_that_succeeds_settles_its_letter(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let id = bury(&store, &work, &letter(&work.lease.key)).await;
    assert_eq!(replay(&store, &id).await, Replay::Begun);
    let again = granted(&store, "a").await;
    assert_eq!(again.attempts, 1, "a replay begins with fresh attempts");
    assert!(
        !settle(&store, &work, Settlement::Done { result: None }).await,
        "the delivery that died can't settle it"
    );
    let ending = Ending {
        replayed: Some(id.clone()),
        ..Ending::new(&again.lease, Settlement::Done { result: None })
    };
    assert!(store.settle(ending).await.expect("settle"));
    let replayed = found(&store, &id).await;
    assert_eq!((replayed.state.as_str(), replayed.replays), ("replayed", 1));
    assert!(replayed.settled_at.is_some() && replayed.settled_by.as_deref() == Some("ann"));
    assert_eq!(replay(&store, &id).await, Replay::Not("replayed".to_owned()));
}

async fn a_replay_that_fails_is_the_same_letter_again(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let id = bury(&store, &work, &letter(&work.lease.key)).await;
    assert_eq!(
        dead_letters::replay(&store, &id, "ann").await.expect("replay"),
        Replay::Begun
    );
    let again = granted(&store, "a").await;
    let second = Letter {
        replay_of: Some(id.clone()),
        error: "552 full".into(),
        ..letter(&work.lease.key)
    };
    assert_eq!(bury(&store, &again, &second).await, id);
    let mut tx = store.read().await.expect("read");
    let letters = dead_letters::list(&mut tx, Some("dead"), 10).await.expect("list");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].error.as_str(), letters[0].replays), ("552 full", 1));
    let rounds = dead_letters::rounds(&mut tx, &id).await.expect("rounds");
    assert_eq!(rounds.len(), 1, "the last one is in the letter itself");
    assert_eq!(
        (rounds[0].round, rounds[0].error.as_str(), rounds[0].attempts),
        (1, "550 no such user", 3)
    );
    assert_eq!(rounds[0].history, "[]");
    assert!(
        dead_letters::list(&mut tx, Some("replayed"), 10)
            .await
            .expect("list")
            .is_empty()
    );
    assert_eq!(
        dead_letters::list(&mut tx, None, 10).await.expect("list").len(),
        1
    );
}

async fn settled_rows_are_forgotten_after_their_ttl(fresh: Fresh) {
    let store = fresh.open().await;
    let Claim::Granted(work) = claim_as(&store, "a", PRINT, LONG, NOW).await else {
        panic!("not granted")
    };
    let Claim::Granted(open) = claim_as(&store, "open", PRINT, LONG, NOW).await else {
        panic!("not granted")
    };
    assert!(settle(&store, &work, Settlement::Done { result: None }).await);
    let fresh = match claim_as(&store, "a", "f2", LONG, NOW).await {
        Claim::Granted(granted) => granted,
        claim => panic!("an expired row stands in the way: {claim:?}"),
    };
    assert_eq!((fresh.lease.fence, fresh.attempts), (2, 1));
    assert!(settle(&store, &fresh, Settlement::Done { result: None }).await);
    let mut tx = store.begin().await.expect("begin");
    assert_eq!(
        deliveries::purge(&mut tx).await.expect("purge"),
        1,
        "the settled one, and not the open one"
    );
    tx.commit().await.expect("commit");
    assert!(settle(&store, &open, Settlement::Done { result: None }).await);
}

async fn forgotten_work_leaves_no_effect_behind(fresh: Fresh) {
    let store = fresh.open().await;
    let Claim::Granted(work) = claim_as(&store, "a", PRINT, LONG, NOW).await else {
        panic!("not granted")
    };
    assert!(begin_effect(&store, &work, "<m@x>").await);
    assert!(settle(&store, &work, Settlement::Dead).await);
    assert_eq!(granted(&store, "a").await.unresolved_effect, None);
}

async fn of_many_at_once_one_gets_the_work(fresh: Fresh) {
    let stores = [fresh.open().await, fresh.open().await];
    let claims = (0..32).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { claim(&store, "a").await })
    });
    let claims = futures_util::future::join_all(claims).await;
    let granted = claims
        .into_iter()
        .filter(|claim| matches!(claim, Ok(Claim::Granted(_))))
        .count();
    assert_eq!(granted, 1);
}

async fn what_is_rolled_back_is_not_published(fresh: Fresh) {
    let store = fresh.open().await;
    let mut tx = store.begin().await.expect("begin");
    push(&mut tx, "inbox.new").await;
    tx.rollback().await.expect("rollback");
    let mut tx = store.begin().await.expect("begin");
    push(&mut tx, "inbox.new").await;
    drop(tx);
    assert!(taken(&store).await.is_empty());
}

async fn the_outbox_keeps_order_and_is_left_to_others_when_its_relay_dies(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    store.handoff().set_open(true);
    let mut tx = store.begin().await.expect("begin");
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(push(&mut tx, &format!("inbox.{n}")).await);
    }
    tx.commit().await.expect("commit");
    assert!(
        taken(&other).await.is_empty(),
        "another process publishes what is claimed"
    );
    let order: Vec<_> = store
        .handoff()
        .take(100)
        .into_iter()
        .map(|fresh| fresh.row.id)
        .collect();
    assert_eq!(order, ids);

    let mut tx = store.begin().await.expect("begin");
    outbox::delete(&mut tx, &ids[..1]).await.expect("delete");
    let backlog = outbox::backlog(&mut tx).await.expect("backlog");
    assert_eq!((backlog.rows, backlog.unclaimed), (19, false));
    // Its process has died: nobody prolongs the claims.
    execute!(tx, "UPDATE outbox SET claimed_until = 0").expect("expire");
    assert!(outbox::backlog(&mut tx).await.expect("backlog").unclaimed);
    tx.commit().await.expect("commit");
    let heirs: Vec<_> = taken(&other).await.into_iter().map(|row| row.id).collect();
    assert_eq!(heirs, ids[1..]);
}

async fn a_letter_is_in_the_table_and_in_the_outbox_or_in_neither(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "a").await;
    let mut tx = store.begin().await.expect("begin");
    tx.dead_letter(&letter(&work.lease.key))
        .await
        .expect("dead_letter");
    tx.rollback().await.expect("rollback");
    let mut tx = store.read().await.expect("read");
    assert!(
        dead_letters::list(&mut tx, None, 10)
            .await
            .expect("list")
            .is_empty()
    );
    tx.rollback().await.expect("rollback");
    assert!(taken(&store).await.is_empty());

    let id = bury(&store, &work, &letter(&work.lease.key)).await;
    let row = found(&store, &id).await;
    assert_eq!(
        (
            row.state.as_str(),
            row.reason.as_str(),
            row.stream_seq,
            row.attempts
        ),
        ("dead", "permanent", 7, 3)
    );
    assert_eq!(row.payload, letter(&work.lease.key).payload);
    let rows = taken(&store).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].subject, "emails.dlq");
    assert_eq!(rows[0].payload, row.payload, "the same bytes in both places");
    assert_eq!(rows[0].headers.get(headers::DEAD_LETTER), Some(id.as_str()));
    assert_eq!(rows[0].headers.get(headers::REASON), Some("permanent"));
    assert_eq!(rows[0].headers.get(headers::STREAM_SEQUENCE), Some("7"));
}

async fn a_lease_has_one_holder(fresh: Fresh) {
    let (store, other) = (fresh.open().await, fresh.open().await);
    let take = async |store: &Store, lease| {
        let mut tx = store.begin().await.expect("begin");
        let fence = leases::take(&mut tx, "mailbox", lease).await.expect("take");
        tx.commit().await.expect("commit");
        fence
    };
    let holds = async |store: &Store, fence| {
        let mut tx = store.begin().await.expect("begin");
        let holds = leases::holds(&mut tx, "mailbox", fence).await.expect("holds");
        tx.commit().await.expect("commit");
        holds
    };
    assert_eq!(take(&store, LONG).await, Some(1));
    assert_eq!(take(&other, LONG).await, None);
    assert_eq!(take(&store, LONG).await, Some(1), "its holder prolongs it");
    assert!(holds(&store, 1).await && !holds(&other, 1).await);
    // It runs out: the next one gets a higher fence, and the first one is out.
    assert_eq!(take(&store, NOW).await, Some(1));
    assert!(!holds(&store, 1).await);
    assert_eq!(take(&other, LONG).await, Some(2));
    assert!(!holds(&store, 1).await && holds(&other, 2).await);
    let mut tx = other.begin().await.expect("begin");
    leases::release(&mut tx, "mailbox", 2).await.expect("release");
    tx.commit().await.expect("commit");
    assert_eq!(take(&store, LONG).await, Some(3));
}

async fn hostile_text_is_kept_out_of_nobodys_way(fresh: Fresh) {
    let store = fresh.open().await;
    let work = granted(&store, "nul\0 '; DROP TABLE deliveries; --").await;
    let hostile = Letter {
        error: "550 \0\r\n'; DROP TABLE dead_letters; --".into(),
        message_id: Some("<\0>".into()),
        ..letter(&work.lease.key)
    };
    let id = bury(&store, &work, &hostile).await;
    assert!(found(&store, &id).await.error.contains("DROP TABLE"));
    let mut tx = store.read().await.expect("read");
    let count: i64 = on_tx!(tx, connection => sqlx::query_scalar("SELECT COUNT(*) FROM deliveries")
        .fetch_one(connection)
        .await)
    .expect("the table is still there");
    assert_eq!(count, 1);
}

async fn a_letter_too_large_for_the_stream_is_whole_in_the_table(fresh: Fresh) {
    let store = fresh.open().await;
    for (key, size, travels) in [
        ("at", outbox::MAX_PAYLOAD, true),
        ("past", outbox::MAX_PAYLOAD + 1, false),
    ] {
        let work = granted(&store, key).await;
        let large = Letter {
            payload: vec![b'x'; size],
            ..letter(&work.lease.key)
        };
        let id = bury(&store, &work, &large).await;
        assert_eq!(found(&store, &id).await.payload.len(), size);
        let row = taken(&store).await.pop().expect("the letter");
        assert_eq!(row.payload.len(), if travels { size } else { 0 });
        assert_eq!(
            row.headers.get(headers::PAYLOAD),
            (!travels).then_some("in the table")
        );
        let mut tx = store.begin().await.expect("begin");
        outbox::delete(&mut tx, &[row.id]).await.expect("delete");
        tx.commit().await.expect("commit");
    }
}
