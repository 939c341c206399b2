//! apalis on JetStream. It publishes without waiting for the PubAck, and acks without waiting for an answer.

use std::time::Instant;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_nats::{Config, NatsJetStream};

use crate::count::{self, Parcel};
use crate::{Failed, Speed, Task};

const STREAM: &str = "bench";
/// The name that it gives its durable consumer.
const CONSUMER: &str = "bench-queue";
const CHUNK: usize = 500;

pub async fn measure(task: &Task) -> Result<Speed, Failed> {
    let client = async_nats::connect(&task.url).await?;
    let jetstream = async_nats::jetstream::new(client.clone());
    let config = Config::new(STREAM)
        .with_pull_consumer()
        .durable()
        .with_max_ack_pending(task.concurrency as i64);
    let mut backend = NatsJetStream::<Parcel, _>::new(client).with_config(config);

    let began = Instant::now();
    let parcels: Vec<_> = Parcel::many(task.messages).collect();
    for chunk in parcels.chunks(CHUNK) {
        backend.push_bulk(chunk.to_vec()).await?;
    }
    // It has only sent them; this is when they are stored.
    let mut stream = jetstream.get_stream(STREAM).await?;
    while stream.info().await?.state.messages < task.messages as u64 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let publish_s = began.elapsed().as_secs_f64();

    let began = Instant::now();
    let worker = WorkerBuilder::new("bench")
        .backend(backend)
        .concurrency(task.concurrency)
        .build(handle);
    let mut running = tokio::spawn(worker.run());
    let settled = count::drained(async || {
        let info = stream.consumer_info(CONSUMER).await?;
        Ok(info.num_pending == 0 && info.num_ack_pending == 0)
    });
    tokio::select! {
        settled = settled => settled?,
        ended = &mut running => return Err(format!("the worker ended: {ended:?}").into()),
    }
    let drain_s = began.elapsed().as_secs_f64();
    running.abort();
    Ok(Speed {
        peer: "apalis-nats 0.1.0",
        settings: format!(
            "pull consumer, max_ack_pending {0}, concurrency {0}",
            task.concurrency
        ),
        publish_s,
        drain_s,
    })
}

async fn handle(parcel: Parcel) -> Result<(), BoxDynError> {
    count::handle(parcel.number).await;
    Ok(())
}
