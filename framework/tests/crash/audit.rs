//! What became of each message, by witnesses that know nothing of the ledger.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::time::{Duration, Instant};

use postroom::on_tx;

use crate::driver::{Plan, World};
use crate::worker::{Done, Task};

/// Without any progress. Leases and retries of what was killed last are over long before.
const LIMIT: Duration = Duration::from_secs(60);
/// To count what is left, a database reads every row: not so often that it does little else.
const LOOK: Duration = Duration::from_millis(500);
/// Of many violations, so many are told.
const SHOWN: usize = 50;

pub(crate) struct Counted {
    tasks: u32,
    effects: usize,
    letters: usize,
    poisoned: usize,
    sent: usize,
    said: usize,
    pub(crate) violations: Vec<String>,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} messages, {} effects, {} dead letters ({} poison), ",
            self.tasks, self.effects, self.letters, self.poisoned
        )?;
        write!(
            f,
            "{} sends of which {} were known to be perhaps the second",
            self.sent, self.said
        )
    }
}

/// Waits until nothing is left to do, or nothing gets done any more; then counts, so that there is a verdict either way.
pub(crate) async fn settled(world: &mut World, tasks: u32, tend: fn(&mut World)) -> Counted {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    let stuck = loop {
        let rows = left(world, tasks).await;
        match rows {
            Some(0) => break None,
            Some(rows) if rows < least => (least, since) = (rows, Instant::now()),
            _ => {}
        }
        if since.elapsed() > LIMIT {
            let states = states(world).await;
            break Some(format!(
                "{least} are not settled, and no fewer for {LIMIT:?}: {states}"
            ));
        }
        tend(world);
        tokio::time::sleep(LOOK).await;
    };
    let mut counted = count(world, tasks).await;
    counted.violations.splice(0..0, stuck);
    counted
}

/// Tells it; `right` where nothing was violated.
pub(crate) fn verdict(
    what: &str,
    database: &str,
    plan: &Plan,
    world: &mut World,
    violations: &[String],
    right: &str,
) -> bool {
    if violations.is_empty() {
        println!("{what}: {database}: {right}");
        return true;
    }
    for violation in violations.iter().take(SHOWN) {
        println!("  {violation}");
    }
    world.folder.disable_cleanup(true);
    println!(
        "{what}: {database}: FAILED, {} violations; run it again with --seed {}; log, starts and sends in {}",
        violations.len(),
        plan.seed,
        world.folder.path().display()
    );
    false
}

/// The unsettled rows of the ledger by state, and what the outbox holds.
pub(crate) async fn states(world: &World) -> String {
    const STATES: &str = "SELECT state, COUNT(*) FROM deliveries WHERE state NOT IN ('done', 'dead', 'discarded') \
        GROUP BY state UNION ALL SELECT 'outbox', COUNT(*) FROM outbox";
    let asked = async {
        let mut tx = world.store.read().await?;
        let states: Vec<(String, i64)> =
            on_tx!(tx, connection => sqlx::query_as(STATES).fetch_all(connection).await)?;
        Ok::<_, postroom::store::StoreError>(format!("{states:?}"))
    };
    asked.await.unwrap_or_else(|error| error.to_string())
}

/// What is unsettled, and what never came to a row.
async fn left(world: &World, tasks: u32) -> Option<i64> {
    const LEFT: &str = "SELECT (SELECT COUNT(*) FROM outbox) + \
        (SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('done', 'dead', 'discarded'))";
    const DONE: &str = "SELECT (SELECT COUNT(*) FROM crash_effects) + (SELECT COUNT(*) FROM dead_letters)";
    let mut tx = world.store.read().await.ok()?;
    let unsettled: i64 =
        on_tx!(tx, connection => sqlx::query_scalar(LEFT).fetch_one(connection).await).ok()?;
    let done: i64 = on_tx!(tx, connection => sqlx::query_scalar(DONE).fetch_one(connection).await).ok()?;
    Some(unsettled + (i64::from(tasks) - done).max(0))
}

async fn count(world: &World, tasks: u32) -> Counted {
    let mut tx = world.store.read().await.expect("read");
    let effects: Vec<i64> = on_tx!(tx, connection =>
        sqlx::query_scalar("SELECT id FROM crash_effects").fetch_all(connection).await)
    .expect("the effects");
    let letters: Vec<(Vec<u8>, String)> = on_tx!(tx, connection =>
        sqlx::query_as("SELECT payload, reason FROM dead_letters").fetch_all(connection).await)
    .expect("the letters");
    let id_of = |payload: &[u8]| serde_json::from_slice::<Task>(payload).expect("a task").id;
    let (published, on_dlq) = (stream(world, "CRASHED").await, stream(world, "DLQ").await);
    let done = |payload: &Vec<u8>| serde_json::from_slice::<Done>(payload).expect("done").id;
    let sent = lines(&world.folder.path().join("sent"));
    let sent: Vec<(u32, bool)> = sent
        .iter()
        .map(|line| (line[0].parse().expect("an id"), line[1] == "true"))
        .collect();
    let mut counted = Counted {
        tasks,
        effects: effects.len(),
        letters: letters.len(),
        poisoned: 0,
        sent: sent.len(),
        said: sent.iter().filter(|(_, known)| *known).count(),
        violations: Vec::new(),
    };
    let effects = tally(effects.into_iter().filter_map(|id| u32::try_from(id).ok()));
    // Three deaths of the process in one message make it poison, and here that may well happen.
    let poisoned = letters.iter().filter(|(_, reason)| reason == "poison");
    let poisoned = tally(poisoned.map(|(payload, _)| id_of(payload)));
    counted.poisoned = poisoned.len();
    let in_table = tally(letters.iter().map(|(payload, _)| id_of(payload)));
    let published = tally(published.iter().map(done));
    let on_dlq = tally(on_dlq.iter().map(|payload| id_of(payload)));
    let unknowing = tally(sent.iter().filter(|(_, known)| !known).map(|(id, _)| *id));
    let of = |counts: &HashMap<u32, usize>, id: u32| counts.get(&id).copied().unwrap_or(0);
    for id in 0..tasks {
        let seen = [
            of(&effects, id),
            of(&published, id),
            of(&in_table, id),
            of(&on_dlq, id),
        ];
        let is_dead = (Task { id }).is_fatal() || poisoned.contains_key(&id);
        let right = if is_dead { [0, 0, 1, 1] } else { [1, 1, 0, 0] };
        if seen != right {
            counted.violations.push(format!(
                "{id}: effects, messages, letters, on emails.dlq are {seen:?}, not {right:?}"
            ));
        }
        if of(&unknowing, id) > 1 {
            counted.violations.push(format!(
                "{id} was sent {} times as if it were the first",
                of(&unknowing, id)
            ));
        }
    }
    counted
}

/// Every payload of a stream.
pub(crate) async fn stream(world: &World, name: &str) -> Vec<Vec<u8>> {
    let context = async_nats::jetstream::new(world.client.clone());
    let Ok(stream) = context.get_stream(name).await else {
        return Vec::new();
    };
    let state = stream.cached_info().state.clone();
    let mut payloads = Vec::new();
    for seq in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(seq).await.expect("the stream has no gaps");
        payloads.push(message.payload.to_vec());
    }
    payloads
}

/// How long it took until what a killed worker had under way ran again.
pub(crate) fn takeovers(folder: &Path, killed: &[(u32, u128)]) {
    let mut starts: HashMap<u32, Vec<(u32, u128)>> = HashMap::new();
    for line in lines(&folder.join("starts")) {
        let [id, pid, at] = line.as_slice() else { continue };
        let (Ok(id), Ok(pid), Ok(at)) = (id.parse(), pid.parse(), at.parse()) else {
            continue;
        };
        starts.entry(id).or_default().push((pid, at));
    }
    let mut waits = Vec::new();
    for (id, runs) in &mut starts {
        runs.sort_unstable_by_key(|run| run.1);
        for pair in runs.windows(2) {
            let death = killed
                .iter()
                .find(|(pid, at)| *pid == pair[0].0 && *at >= pair[0].1);
            // Those that failed once run again for a reason of their own.
            if let Some((_, at)) = death
                && pair[1].1 >= *at
                && !(Task { id: *id }).falters()
            {
                waits.push(pair[1].1 - at);
            }
        }
    }
    waits.sort_unstable();
    if let (Some(median), Some(p99), Some(last)) = (
        waits.get(waits.len() / 2),
        waits.get(waits.len() * 99 / 100),
        waits.last(),
    ) {
        println!(
            "  {} runs were cut off; they ran again after {median} ms (p50), {p99} ms (p99), {last} ms (max)",
            waits.len()
        );
    }
}

fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    text.lines().map(words).collect()
}

pub(crate) fn tally<T: Hash + Eq>(ids: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id).or_insert(0) += 1;
    }
    counts
}
