//! awa; tuned with the settings of its own throughput benchmark: no deadline, which is its short path.

use std::time::{Duration, Instant};

use awa::model::insert::params_with;
use awa::{Client, InsertOpts, JobResult, QueueConfig, QueueStorage, QueueStorageConfig};
use sqlx_of_awa::postgres::PgPoolOptions;

use crate::count::{self, Parcel};
use crate::{Failed, Speed, Task};

const QUEUE: &str = "bench";
const CHUNK: usize = 500;

pub async fn measure(task: &Task) -> Result<Speed, Failed> {
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .connect(&task.url)
        .await?;
    awa::migrations::run(&pool).await?;
    let store = QueueStorage::new(QueueStorageConfig::default())?;

    let began = Instant::now();
    let parcels: Vec<_> = Parcel::many(task.messages).collect();
    for chunk in parcels.chunks(CHUNK) {
        let into = || InsertOpts {
            queue: QUEUE.into(),
            ..InsertOpts::default()
        };
        let jobs: Result<Vec<_>, _> = chunk.iter().map(|parcel| params_with(parcel, into())).collect();
        store.enqueue_params_copy(&pool, &jobs?).await?;
    }
    let publish_s = began.elapsed().as_secs_f64();

    let began = Instant::now();
    let mut config = QueueConfig {
        max_workers: u32::try_from(task.concurrency)?,
        ..QueueConfig::default()
    };
    if task.is_tuned {
        config.poll_interval = Duration::from_millis(50);
        config.deadline_duration = Duration::ZERO;
    }
    let deadline = config.deadline_duration;
    let client = Client::builder(pool.clone())
        .queue(QUEUE, config)
        .register::<Parcel, _, _>(|parcel, _| async move {
            count::handle(parcel.number).await;
            Ok(JobResult::Completed)
        })
        .build()?;
    client.start().await?;
    count::drained(async || {
        let counts = store.queue_counts(&pool, QUEUE).await?;
        Ok(counts.terminal == task.messages as i64)
    })
    .await?;
    let drain_s = began.elapsed().as_secs_f64();
    client.shutdown(Duration::from_secs(5)).await;
    Ok(Speed {
        peer: "awa 0.6.9",
        settings: format!(
            "queue storage, deadline {deadline:?}, max_workers {}",
            task.concurrency
        ),
        publish_s,
        drain_s,
    })
}
