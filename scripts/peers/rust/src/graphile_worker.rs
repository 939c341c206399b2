//! graphile_worker, the Rust one; tuned with its local queue and its batched completion, which make it fastest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
};
use sqlx::postgres::PgPoolOptions;

use crate::count::{self, Parcel};
use crate::{Failed, Speed, Task};

const CHUNK: usize = 500;
const TUNED: &str = ", local queue of 500, completions batched within 5 ms";
const LEFT: &str = "SELECT COUNT(*) FROM graphile_worker._private_jobs";

impl TaskHandler for Parcel {
    const IDENTIFIER: &'static str = "parcel";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        count::handle(self.number).await;
        Ok::<(), String>(())
    }
}

pub async fn measure(task: &Task) -> Result<Speed, Failed> {
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .connect(&task.url)
        .await?;
    let worker = WorkerOptions::default()
        .concurrency(task.concurrency)
        .define_job::<Parcel>()
        .pg_pool(pool.clone());
    let worker = if task.is_tuned {
        worker
            .local_queue(LocalQueueConfig::default().with_size(500))
            .complete_job_batch_delay(Duration::from_millis(5))
    } else {
        worker
    };
    let worker = Arc::new(worker.init().await?);

    let began = Instant::now();
    let utils = worker.create_utils();
    let parcels: Vec<_> = Parcel::many(task.messages).collect();
    for chunk in parcels.chunks(CHUNK) {
        let raw = |parcel: &Parcel| {
            Ok::<_, serde_json::Error>(RawJobSpec {
                identifier: Parcel::IDENTIFIER.to_owned(),
                payload: serde_json::to_value(parcel)?,
                spec: JobSpec::default(),
            })
        };
        let jobs: Result<Vec<_>, _> = chunk.iter().map(raw).collect();
        utils.add_raw_jobs(&jobs?).await?;
    }
    let publish_s = began.elapsed().as_secs_f64();

    let began = Instant::now();
    let working = Arc::clone(&worker);
    let mut running = tokio::spawn(async move { working.run().await });
    let settled = count::drained(async || {
        let left: i64 = sqlx::query_scalar(LEFT).fetch_one(&pool).await?;
        Ok(left == 0)
    });
    tokio::select! {
        settled = settled => settled?,
        ended = &mut running => return Err(format!("the worker ended: {ended:?}").into()),
    }
    let drain_s = began.elapsed().as_secs_f64();
    worker.request_shutdown();
    let _ = running.await;
    Ok(Speed {
        peer: "graphile_worker 0.14.1",
        settings: format!(
            "concurrency {}{}",
            task.concurrency,
            if task.is_tuned { TUNED } else { "" }
        ),
        publish_s,
        drain_s,
    })
}
