//! What the test kit asks of a database: a clock that stands still until it is moved, and a look at what is unsettled.
//!
//! The clock takes the place of the view `clock`, from which every statement reads the time. A trigger counts commits of
//! work that is done, in a table of its own, so that the count does not depend on the ledger that it is to judge.

use super::{Connection, Store, StoreError, Tx};
use crate::{execute, on_tx};

/// The clock starts at the database's real time, whole milliseconds.
const STOP_CLOCK: [&str; 4] = [
    "CREATE TABLE rehearsal_clock (now_ms BIGINT NOT NULL)",
    "INSERT INTO rehearsal_clock SELECT now_ms FROM clock",
    "DROP VIEW clock",
    "CREATE VIEW clock AS SELECT now_ms FROM rehearsal_clock",
];

const COUNT_EFFECTS_SQLITE: [&str; 2] = [
    "CREATE TABLE rehearsal_effects (scope TEXT NOT NULL, key TEXT NOT NULL)",
    "CREATE TRIGGER rehearsal_done AFTER UPDATE OF state ON deliveries \
     WHEN NEW.state = 'done' AND OLD.state <> 'done' \
     BEGIN INSERT INTO rehearsal_effects VALUES (NEW.scope, NEW.key); END",
];

/// Differs because Postgres wants a function for its triggers.
const COUNT_EFFECTS_POSTGRES: [&str; 3] = [
    "CREATE TABLE rehearsal_effects (scope TEXT NOT NULL, key TEXT NOT NULL)",
    "CREATE FUNCTION rehearsal_done() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN INSERT INTO rehearsal_effects VALUES (NEW.scope, NEW.key); RETURN NULL; END'",
    "CREATE TRIGGER rehearsal_done AFTER UPDATE OF state ON deliveries FOR EACH ROW \
     WHEN (NEW.state = 'done' AND OLD.state <> 'done') EXECUTE FUNCTION rehearsal_done()",
];

/// Stops the database's clock, and counts commits from now on.
pub(crate) async fn prepare(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for statement in STOP_CLOCK {
        execute!(tx, statement)?;
    }
    let counting: &[&'static str] = match tx.connection() {
        Connection::Sqlite(_) => &COUNT_EFFECTS_SQLITE,
        Connection::Postgres(_) => &COUNT_EFFECTS_POSTGRES,
    };
    for statement in counting {
        execute!(tx, *statement)?;
    }
    tx.commit().await
}

const ADVANCE: &str = "UPDATE rehearsal_clock SET now_ms = now_ms + $1";

/// Moves the database's clock.
pub(crate) async fn advance(store: &Store, millis: i64) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    execute!(tx, ADVANCE, millis)?;
    tx.commit().await
}

const EFFECTS: &str = "SELECT COUNT(*) FROM rehearsal_effects";

/// How often a handler's work was committed.
pub(crate) async fn effects(store: &Store) -> Result<i64, StoreError> {
    let mut tx = store.read().await?;
    Ok(on_tx!(tx, connection => sqlx::query_scalar(EFFECTS).fetch_one(connection).await)?)
}

/// One unsettled delivery, times from now, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Unsettled {
    pub(crate) scope: String,
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) owner: String,
    pub(crate) fence: i64,
    pub(crate) lease_ms: i64,
    pub(crate) due_ms: Option<i64>,
}

/// What waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Waiting {
    pub(crate) subject: String,
    pub(crate) owner: String,
    pub(crate) due_ms: i64,
}

const UNSETTLED: &str = "\
SELECT scope, key, state, owner, fence, lease_until - (SELECT now_ms FROM clock) AS lease_ms,
    retry_at - (SELECT now_ms FROM clock) AS due_ms
FROM deliveries WHERE state NOT IN ('done', 'discarded', 'dead') ORDER BY scope, key";

const WAITING: &str = "\
SELECT subject, owner, claimed_until - (SELECT now_ms FROM clock) AS due_ms FROM outbox ORDER BY seq";

const READING: &str = "\
SELECT handler AS scope, place AS key, 'claimed' AS state, owner, deaths AS fence,
    until - (SELECT now_ms FROM clock) AS lease_ms, CAST(NULL AS BIGINT) AS due_ms
FROM openings WHERE until > (SELECT now_ms FROM clock) ORDER BY handler, place";

/// What is being opened, as if it were claimed.
pub(crate) async fn reading(tx: &mut Tx) -> Result<Vec<Unsettled>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(READING).fetch_all(connection).await)?)
}

/// Everything that has not come to its end.
pub(crate) async fn unsettled(tx: &mut Tx) -> Result<(Vec<Unsettled>, Vec<Waiting>), StoreError> {
    let deliveries = on_tx!(tx, connection => sqlx::query_as(UNSETTLED).fetch_all(connection).await)?;
    let outbox = on_tx!(tx, connection => sqlx::query_as(WAITING).fetch_all(connection).await)?;
    Ok((deliveries, outbox))
}
