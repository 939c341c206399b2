//! apalis on SQLite. Its own `setup` sets `synchronous = OFF` on the connection that runs it; here every connection is
//! opened with FULL, so that a job that is done stays done.

use std::str::FromStr;
use std::time::Instant;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::count::{self, Parcel};
use crate::{Failed, Speed, Task};

/// How many are pushed in one transaction.
const CHUNK: usize = 500;
const DONE: &str = "SELECT COUNT(*) FROM Jobs WHERE status = 'Done'";

pub async fn measure(task: &Task) -> Result<Speed, Failed> {
    let options = SqliteConnectOptions::from_str(&task.url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options)
        .await?;
    SqliteStorage::migrations().run(&pool).await?;
    let defaults = Config::default().queue("bench");
    let config = if task.is_tuned {
        // As large as all that may be under way: the smallest number of transactions that it can do with.
        defaults.batch_size(task.concurrency)
    } else {
        defaults
    };
    let settings = format!(
        "batch_size {}, concurrency {}",
        config.batch_size, task.concurrency
    );
    let mut backend = SqliteStorage::new(&pool).with_config(config);

    let began = Instant::now();
    let parcels: Vec<_> = Parcel::many(task.messages).collect();
    for chunk in parcels.chunks(CHUNK) {
        backend.push_bulk(chunk.to_vec()).await?;
    }
    let publish_s = began.elapsed().as_secs_f64();

    let began = Instant::now();
    let worker = WorkerBuilder::new("bench")
        .backend(backend)
        .concurrency(task.concurrency)
        .build(handle);
    let mut running = tokio::spawn(worker.run());
    let settled = count::drained(async || {
        let done: i64 = sqlx::query_scalar(DONE).fetch_one(&pool).await?;
        Ok(done == task.messages as i64)
    });
    tokio::select! {
        settled = settled => settled?,
        ended = &mut running => return Err(format!("the worker ended: {ended:?}").into()),
    }
    let drain_s = began.elapsed().as_secs_f64();
    running.abort();
    Ok(Speed {
        peer: "apalis-sqlite 1.0.0",
        settings: format!("synchronous=FULL, WAL, {settings}"),
        publish_s,
        drain_s,
    })
}

async fn handle(parcel: Parcel) -> Result<(), BoxDynError> {
    count::handle(parcel.number).await;
    Ok(())
}
