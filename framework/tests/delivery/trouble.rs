//! The cases in which the database, the broker or user code fails at an awkward moment.

use postroom::store::dead_letters::Letter;
use postroom::{Cx, CxError, Handle, Handler, HandlerError};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::probe::{Ping, Pong, Run};
use crate::world::World;

/// Fails with what the database says, to be tried again.
#[derive(Debug, thiserror::Error, HandlerError)]
pub(crate) enum DatabaseSays {
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
    #[error(transparent)]
    #[on(retry)]
    Sql(#[from] sqlx::Error),
}

/// Does its effect; what it writes after that the database refuses at the commit of the first attempt.
#[derive(Handler)]
#[handler(on = Ping, id = "uncommitted", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Resend)]
struct Uncommitted(UnboundedSender<Run>);

impl Handle<Ping> for Uncommitted {
    type Error = DatabaseSays;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), DatabaseSays> {
        let _ = self.0.send(Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: cx.unresolved_effect().map(str::to_owned),
        });
        cx.begin_effect("the-effect").await?;
        if cx.attempt() == 1 {
            let tx = cx.tx().await?;
            postroom::execute!(tx, "INSERT INTO child_test (parent) VALUES ($1)", i64::from(ping.id))?;
        }
        cx.publish(&Pong::of(&ping)).await?;
        Ok(())
    }
}

pub(crate) async fn an_effect_whose_commit_failed_is_not_forgotten(world: World) {
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    postroom::execute!(tx, "CREATE TABLE parent_test (id BIGINT PRIMARY KEY)").expect("DDL");
    let child = "CREATE TABLE child_test (parent BIGINT REFERENCES parent_test (id) DEFERRABLE INITIALLY DEFERRED)";
    postroom::execute!(tx, child).expect("DDL");
    tx.commit().await.expect("commit");

    let (runs, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Uncommitted(runs));
    let running = app.start().await.expect("the app starts");
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, crate::probe::Outcome::Succeed).await;
    assert_eq!(pongs.ids(1).await, [1]);
    running.drain().await;
    let effects: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok())
        .map(|run| run.unresolved_effect)
        .collect();
    assert_eq!(
        effects,
        [None, Some("the-effect".to_owned())],
        "the second run must know that the effect may have happened"
    );
}

/// Fails for good, and its last words leave behind a transaction that can't commit.
#[derive(Handler)]
#[handler(on = Ping, id = "babbler", idempotent(key = [id], ttl = "1d"), retry(max = 1, backoff = "5ms..20ms"))]
struct Babbler;

#[derive(Debug, thiserror::Error, HandlerError)]
enum Never {
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
}

impl Handle<Ping> for Babbler {
    type Error = Never;

    async fn handle(&self, _: Ping, _: &mut Cx<'_>) -> Result<(), Never> {
        Err(Never::Never)
    }

    async fn on_dead_letter(&self, _: &Ping, _: &Letter, cx: &mut Cx<'_>) -> Result<(), Never> {
        let tx = cx.tx().await?;
        // Both databases refuse the second row, Postgres everything after it, too; it is nobody's fault but ours.
        for _ in 0..2 {
            let row = "INSERT INTO leases (name, owner, fence, lease_until) VALUES ('twice', '', 0, 0)";
            let _ = postroom::execute!(tx, row);
        }
        Ok(())
    }
}

pub(crate) async fn last_words_that_cannot_commit_do_not_cost_the_letter(world: World) {
    let app = world.app().await.handler(Babbler);
    let running = app.start().await.expect("the app starts");
    let mut dlq = world.subscribe("emails.dlq").await;
    world.ping(1, crate::probe::Outcome::Succeed).await;
    dlq.next().await;
    running.drain().await;
    let rows = world.letters().await;
    assert_eq!(
        (rows.len(), rows[0].reason.as_str(), rows[0].attempts),
        (1, "permanent", 1),
        "the letter is written at the first death"
    );
}
