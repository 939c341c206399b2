//! Everything that can go wrong, at every edge where it can, in every way that a delivery can end; enumerated.
//!
//! | at each edge | |
//! |---|---|
//! | crash | the process is gone, another one starts |
//! | refuse | the database refuses, or does it and its answer is lost |
//! | lose | a word to or from the broker is lost |
//! | steal | the process stands still, its lease is taken over, then it goes on |
//! | copy | a second copy of the message is delivered at that moment |
//! | overtake | a later message is delivered, and comes to its end, first |
//!
//! Whatever happens, each task's effects are there once, or never where it fails for good, and then its letter is there
//! once, in the table and on the stream.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError};

use postroom::testing::{Edge, Kit};
use postroom::{Store, on_tx};

use crate::servers::Postgres;
use crate::task::{Act, Done, Mourned, OnTheStream, Sent, TABLE, Task, Worker};

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    Refuse,
    Lose,
    Steal,
    Copy,
    Overtake,
}

impl Fault {
    fn can_happen_at(self, edge: Edge) -> bool {
        match self {
            Fault::Crash | Fault::Copy | Fault::Overtake => true,
            Fault::Refuse => edge.asks_the_database(),
            Fault::Lose => edge.tells_the_broker(),
            Fault::Steal => !edge.is_inside_a_transaction(),
        }
    }
}

/// A kit whose handler's traces can be counted.
struct World {
    kit: Kit,
    sent: Sent,
    store: Store,
    tasks: Vec<Task>,
}

impl World {
    async fn new(database: Option<String>) -> World {
        let sent = Sent::default();
        let its = sent.clone();
        let build = move |app: postroom::App| app.handler(Worker { sent: its.clone() });
        let kit = match database {
            Some(url) => Kit::start_on(&url, build).await,
            None => Kit::start(build).await,
        };
        let store = Store::open(kit.database_url()).await.expect("the database opens");
        let mut tx = store.begin().await.expect("begin");
        postroom::execute!(tx, TABLE).expect("a table");
        tx.commit().await.expect("commit");
        World {
            kit,
            sent,
            store,
            tasks: Vec::new(),
        }
    }

    fn task(&mut self, act: Act, edge: Edge) -> Task {
        let id = format!("{act:?} at {edge:?} #{}", self.tasks.len());
        self.tasks.push(Task { id: id.clone(), act });
        Task { id, act }
    }

    /// Delivers a task on which `fault` strikes at `edge`.
    async fn strike(&mut self, act: Act, edge: Edge, fault: Fault) {
        let task = self.task(act, edge);
        let delivery = self.kit.deliver(&task).twice();
        let struck = match fault {
            Fault::Crash => delivery.crash_at(edge).await,
            Fault::Refuse => delivery.refuse_at(edge).await,
            Fault::Lose => delivery.lose_at(edge).await,
            Fault::Steal => delivery.stall_at(edge).await,
            Fault::Copy => delivery.meanwhile_at(edge, &task).await,
            Fault::Overtake => {
                let later = Task {
                    id: format!("{} overtakes", task.id),
                    act: Act::Succeed,
                };
                self.tasks.push(later.clone());
                self.kit.deliver(&task).meanwhile_at(edge, &later).await
            }
        };
        assert_eq!(struck.struck, 1, "{fault:?} did not strike: {}", task.id);
    }

    /// Every task that does not have what it should have, and what it has.
    ///
    /// A refusing database may cost a letter the handler's last words, never the letter itself. An effect that began and
    /// did not come to happen is tried again by a run that knows that it may have.
    async fn violations(&self, fault: Option<Fault>) -> Vec<String> {
        let mut tx = self.store.read().await.expect("read");
        let traces: Vec<String> = on_tx!(tx, connection =>
            sqlx::query_scalar("SELECT id FROM traces").fetch_all(connection).await)
        .expect("the traces");
        let traces = count(traces);
        let done = count(self.kit.published::<Done>().into_iter().map(|done| done.id));
        let mourned = count(
            self.kit
                .published::<Mourned>()
                .into_iter()
                .map(|mourned| mourned.id),
        );
        let on_stream = count(
            self.kit
                .published::<OnTheStream>()
                .into_iter()
                .map(|letter| letter.id),
        );
        let in_table = count(self.kit.letters().into_iter().map(|letter| {
            serde_json::from_slice::<Task>(&letter.payload)
                .expect("a task")
                .id
        }));
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |counts: &HashMap<String, usize>, id: &str| counts.get(id).copied().unwrap_or(0);
        let mut violations = Vec::new();
        for Task { id, act } in &self.tasks {
            let effects = [of(&traces, id), of(&done, id)];
            let (letters, words) = ([of(&in_table, id), of(&on_stream, id)], of(&mourned, id));
            let spoke = words == letters[0] || fault == Some(Fault::Refuse) && words == 0;
            if effects != [usize::from(act.succeeds()); 2]
                || letters != [usize::from(act.is_fatal()); 2]
                || !spoke
            {
                violations.push(format!(
                    "{id}: rows and messages {effects:?}, letters {letters:?}, last words {words}"
                ));
            }
            let times = sent.iter().filter(|(of, _)| of == id).count();
            let unknowing = sent.iter().filter(|(of, known)| of == id && !known).count();
            if *act == Act::Send && (times == 0 || unknowing > 1) {
                violations.push(format!(
                    "{id}: sent {times} times, {unknowing} of them as if it were the first"
                ));
            }
        }
        let successes = self.tasks.iter().filter(|task| task.act.succeeds()).count();
        self.kit
            .assert_effects(i64::try_from(successes).expect("a small number"));
        violations
    }
}

fn count(ids: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id).or_insert(0) += 1;
    }
    counts
}

/// The edges that a task comes to when nothing goes wrong. A second copy may come to more of them, but need not.
async fn edges_of(act: Act, database: Option<String>) -> Vec<Edge> {
    let mut world = World::new(database).await;
    let task = world.task(act, Edge::Received);
    world.kit.deliver(&task).await;
    assert_eq!(world.violations(None).await, Vec::<String>::new());
    let mut passed = world.kit.passed();
    // A slow database can make any of them last that long, but not every time.
    passed.retain(|edge| act.outlasts_a_beat() || !matches!(edge, Edge::BeforeRenewal | Edge::InsideRenewal));
    passed
}

async fn each_edge_survives(fault: Fault, database: fn() -> Option<String>) {
    let mut world = World::new(database()).await;
    let mut cases = 0;
    for act in Act::ALL {
        for edge in edges_of(act, database()).await {
            if fault.can_happen_at(edge) {
                world.strike(act, edge, fault).await;
                cases += 1;
            }
        }
    }
    println!("{fault:?}: {cases} cases");
    assert_eq!(world.violations(Some(fault)).await, Vec::<String>::new());
}

fn sqlite() -> Option<String> {
    None
}

fn postgres() -> Option<String> {
    Some(POSTGRES.fresh_database())
}

macro_rules! cases {
    ($on:ident, $database:ident: $($name:ident: $fault:ident),+ $(,)?) => {
        mod $on {
            use super::{$database, Fault, each_edge_survives};
            $(#[tokio::test]
            async fn $name() {
                each_edge_survives(Fault::$fault, $database).await;
            })+
        }
    };
}

cases![on_sqlite, sqlite:
    a_crash: Crash,
    a_refusing_database: Refuse,
    a_lost_word: Lose,
    a_stolen_lease: Steal,
    a_second_copy: Copy,
    being_overtaken: Overtake,
];

cases![on_postgres, postgres:
    a_crash: Crash,
    a_refusing_database: Refuse,
    a_lost_word: Lose,
    a_stolen_lease: Steal,
    a_second_copy: Copy,
    being_overtaken: Overtake,
];
