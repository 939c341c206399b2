//! Handlers that take many messages at a time: each has its own end.

use postroom::on_tx;
use postroom::store::dead_letters::Letter;
use postroom::{BatchCx, Cx, CxError, HandleBatch, Handler, HandlerError, Item, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::probe::{Outcome, Pong};
use crate::world::{World, within};

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tests.row", id = "tests.row.v1")]
struct Row {
    id: u32,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    Done,
    RetriedOnce,
    Discarded,
    Dead,
    Panics,
    Hangs,
    /// The whole batch fails for good.
    SpoilsAll,
}

#[derive(Debug, thiserror::Error, HandlerError)]
enum RowError {
    #[error("not yet")]
    #[on(retry)]
    NotYet,
    #[error("nobody wants it")]
    #[on(discard)]
    Unwanted,
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
    #[error(transparent)]
    #[on(retry)]
    Sql(#[from] sqlx::Error),
}

const SIZE: u32 = 8;

/// A batch as the handler saw it: of each item, its id and the attempt.
type Seen = Vec<(u32, i64)>;

#[derive(Handler)]
#[handler(
    on = Row,
    id = "sorter",
    idempotent(key = [id], ttl = "1d"),
    retry(max = 3, backoff = "5ms..20ms"),
    timeout = "2s",
    batch(8, within = "20s"),
    concurrency = 2,
)]
struct Sorter {
    writes: bool,
    batches: mpsc::UnboundedSender<Seen>,
}

impl HandleBatch<Row> for Sorter {
    type Error = RowError;

    async fn handle_batch(&self, items: &mut [Item<Row>], cx: &mut BatchCx) -> Result<(), RowError> {
        let seen = items.iter().map(|item| (item.message.id, item.attempt()));
        let _ = self.batches.send(seen.collect());
        for item in items.iter_mut() {
            let (id, first) = (item.message.id, item.attempt() == 1);
            assert_eq!(item.key(), id.to_string());
            if self.writes {
                let tx = cx.tx().await?;
                let (id, attempt) = (i64::from(id), item.attempt());
                postroom::execute!(
                    tx,
                    "INSERT INTO row_test (id, attempt) VALUES ($1, $2)",
                    id,
                    attempt
                )?;
            }
            let outcome = Outcome::Succeed;
            let sent_at = String::new();
            item.publish(&Pong { id, outcome, sent_at }).await?;
            match item.message.fate {
                Fate::RetriedOnce if first => item.fail(RowError::NotYet),
                Fate::Discarded => item.fail(RowError::Unwanted),
                Fate::Dead => item.fail(RowError::Never),
                Fate::Panics => panic!("as told"),
                Fate::Hangs => std::future::pending().await,
                Fate::SpoilsAll => return Err(RowError::Never),
                _ => {}
            }
        }
        Ok(())
    }

    async fn on_dead_letter(&self, row: &Row, _: &Letter, cx: &mut Cx<'_>) -> Result<(), RowError> {
        let (id, outcome, sent_at) = (1000 + row.id, Outcome::Succeed, String::new());
        Ok(cx.publish(&Pong { id, outcome, sent_at }).await?)
    }
}

struct Stage {
    world: World,
    running: postroom::Running,
    batches: mpsc::UnboundedReceiver<Seen>,
}

impl Stage {
    /// One row for each fate, as many as fill a batch; the rest are done.
    async fn set(world: World, writes: bool, fates: &[Fate]) -> Self {
        let (sender, batches) = mpsc::unbounded_channel();
        let mut tx = world.store().await.begin().await.expect("begin");
        postroom::execute!(
            tx,
            "CREATE TABLE row_test (id BIGINT NOT NULL, attempt BIGINT NOT NULL)"
        )
        .expect("DDL");
        tx.commit().await.expect("commit");
        let sorter = Sorter {
            writes,
            batches: sender,
        };
        let app = world.app().await.batch_handler(sorter).start().await;
        let running = app.expect("the app starts");
        for id in 0..SIZE {
            let fate = fates.get(id as usize).copied().unwrap_or(Fate::Done);
            let row = serde_json::to_vec(&Row { id, fate }).expect("JSON");
            world.publish("tests.row", row).await;
        }
        Self {
            world,
            running,
            batches,
        }
    }

    async fn batch(&mut self) -> Seen {
        let mut batch = within("a batch", self.batches.recv()).await.expect("a batch");
        batch.sort_unstable();
        batch
    }

    /// Everything is settled; gives the batches that were not asked for, in the order of their items.
    async fn end(mut self) -> (World, Vec<Seen>) {
        within("the end", async {
            while !self.running.is_idle().await.expect("broker and database answer") {}
        })
        .await;
        self.running.drain().await;
        let mut batches = Vec::new();
        while let Some(batch) = self.batches.recv().await {
            batches.push(batch);
        }
        batches.sort_unstable();
        (self.world, batches)
    }
}

fn all(attempt: i64) -> Seen {
    (0..SIZE).map(|id| (id, attempt)).collect()
}

async fn rows(world: &World) -> Vec<(i64, i64)> {
    let mut tx = world.store().await.read().await.expect("read");
    let rows = on_tx!(tx, connection => sqlx::query_as("SELECT id, attempt FROM row_test ORDER BY id")
        .fetch_all(connection)
        .await);
    rows.expect("SELECT")
}

pub(crate) async fn each_item_of_a_batch_has_its_own_end(world: World) {
    let mut pongs = world.subscribe("tests.pong").await;
    let fates = [Fate::Done, Fate::RetriedOnce, Fate::Discarded, Fate::Dead];
    let mut stage = Stage::set(world, false, &fates).await;
    assert_eq!(stage.batch().await, all(1));
    let (world, rest) = stage.end().await;
    assert_eq!(rest, [[(1, 2)]], "what failed is tried again alone");
    // The last words of the dead one, too.
    assert_eq!(pongs.ids(7).await, [0, 1, 4, 5, 6, 7, 1003]);
    assert_eq!(pongs.rest(), 0);
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].key.as_str(), letters[0].attempts), ("3", 1));
}

pub(crate) async fn sql_of_a_batch_settles_all_of_it(world: World) {
    let mut pongs = world.subscribe("tests.pong").await;
    let mut stage = Stage::set(world, true, &[]).await;
    assert_eq!(stage.batch().await, all(1));
    let (world, rest) = stage.end().await;
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(pongs.ids(8).await, (0..SIZE).collect::<Vec<_>>());
    assert_eq!(pongs.rest(), 0);
    let each_once: Vec<_> = (0..i64::from(SIZE)).map(|id| (id, 1)).collect();
    assert_eq!(rows(&world).await, each_once);
}

pub(crate) async fn sql_of_a_batch_with_a_failure_is_rolled_back_and_done_again_one_by_one(world: World) {
    let mut pongs = world.subscribe("tests.pong").await;
    let fates = [Fate::Done, Fate::Dead, Fate::RetriedOnce];
    let mut stage = Stage::set(world, true, &fates).await;
    assert_eq!(stage.batch().await, all(1));
    let (world, rest) = stage.end().await;
    let alone = [(0, 1), (2, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1)].map(|one| vec![one]);
    assert_eq!(rest, alone);
    assert_eq!(pongs.ids(8).await, [0, 2, 3, 4, 5, 6, 7, 1001]);
    assert_eq!(pongs.rest(), 0);
    assert_eq!(
        rows(&world).await,
        [(0, 1), (2, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1)]
    );
    assert_eq!(world.letters().await.len(), 1);
}

pub(crate) async fn an_item_that_panics_takes_its_batch_down_once_and_dies_alone(world: World) {
    poison(world, Fate::Panics, "panic", true).await;
}

pub(crate) async fn an_item_that_hangs_takes_its_batch_down_once_and_dies_alone(world: World) {
    // Without SQL: on SQLite, one that hangs in its transaction would keep the others from theirs.
    poison(world, Fate::Hangs, "timeout", false).await;
}

async fn poison(world: World, fate: Fate, class: &str, writes: bool) {
    let mut stage = Stage::set(world, writes, &[fate]).await;
    assert_eq!(stage.batch().await, all(1));
    let (world, rest) = stage.end().await;
    let mut alone: Vec<_> = (0..SIZE).map(|id| vec![(id, 2)]).collect();
    alone.insert(1, vec![(0, 3)]);
    assert_eq!(rest, alone);
    let others = (1..i64::from(SIZE)).map(|id| (id, 2));
    let others: Vec<_> = others.filter(|_| writes).collect();
    assert_eq!(rows(&world).await, others);
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].key.as_str(), letters[0].attempts), ("0", 3));
    assert_eq!(letters[0].error_class, class);
}

pub(crate) async fn an_error_of_a_whole_batch_is_one_items_when_it_runs_alone(world: World) {
    let mut stage = Stage::set(world, true, &[Fate::SpoilsAll]).await;
    assert_eq!(stage.batch().await, all(1));
    let (world, rest) = stage.end().await;
    let alone: Vec<_> = (0..SIZE).map(|id| vec![(id, 1)]).collect();
    assert_eq!(rest, alone, "each alone, in the same attempt");
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].key.as_str(), letters[0].attempts), ("0", 1));
    assert_eq!(rows(&world).await.len(), 7);
}

/// What comes within some time is a batch, too.
#[derive(Handler)]
#[handler(on = Row, id = "hasty", idempotent(key = [id], ttl = "1d"), batch(100, within = "300ms"))]
struct Hasty(mpsc::UnboundedSender<usize>);

impl HandleBatch<Row> for Hasty {
    type Error = CxError;

    async fn handle_batch(&self, items: &mut [Item<Row>], _: &mut BatchCx) -> Result<(), CxError> {
        let _ = self.0.send(items.len());
        Ok(())
    }
}

pub(crate) async fn a_batch_that_is_not_full_goes_in_time(world: World) {
    let (sender, mut sizes) = mpsc::unbounded_channel();
    let app = world.app().await.batch_handler(Hasty(sender)).start().await;
    let running = app.expect("the app starts");
    for id in 0..3 {
        let fate = Fate::Done;
        let row = serde_json::to_vec(&Row { id, fate }).expect("JSON");
        world.publish("tests.row", row).await;
    }
    let mut came = 0;
    while came < 3 {
        came += within("a batch", sizes.recv()).await.expect("a batch");
    }
    running.drain().await;
    assert_eq!(came, 3);
}

pub(crate) async fn a_batch_handler_that_is_registered_as_another_is_refused(world: World) {
    struct Single;
    impl postroom::Handle<Row> for Single {
        type Error = CxError;

        async fn handle(&self, _: Row, _: &mut Cx<'_>) -> Result<(), CxError> {
            Ok(())
        }
    }
    let spec = Hasty::spec();
    let error = world.app().await.handler_with(spec, Single).start().await;
    let error = error.expect_err("a batch of single messages").to_string();
    assert!(error.contains("use `App::batch_handler`"), "{error}");
    let (sender, _) = mpsc::unbounded_channel();
    let spec = postroom::Spec::<Row>::new("hasty");
    let app = world.app().await.batch_handler_with(spec, Hasty(sender));
    let error = app.start().await.expect_err("no batch").to_string();
    assert!(error.contains("doesn't say how large"), "{error}");
}
