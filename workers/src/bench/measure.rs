//! One run with a clock beside it: publish everything, drain it, then publish at a pace and look at the latency.

use std::time::{Duration, Instant};

use postroom::bus::Bus;
use postroom::store::deliveries;
use postroom::{App, Running, Store};
use tokio_util::sync::CancellationToken;

use super::options::BenchOptions;
use super::parcel::{Count, HANDLER, Receiver, STREAM, order};
use super::report::{Latency, Sample};
use super::run::BenchError;
use super::stage::Stage;
use super::store;
use crate::progress::Progress;

/// Published at once, and confirmed together.
const CHUNK: usize = 500;
/// How often the count is looked at while it grows; and near the end, where it is part of what is measured.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_CLOSELY: Duration = Duration::from_millis(2);
/// How often the paced publisher publishes what is due.
const TICK: Duration = Duration::from_millis(5);
/// How long the paced publisher goes on; the messages are counted beforehand.
const PACED: Duration = Duration::from_secs(3);
const MAX_PACED: usize = 30_000;
/// When nothing has moved for so long, waiting does not mend it.
const STUCK: Duration = Duration::from_secs(60);

/// Runs once on `stage`. Where it fails, the app is drained all the same.
pub(super) async fn measure(
    options: &BenchOptions,
    stage: &Stage,
    stop: &CancellationToken,
) -> Result<Sample, BenchError> {
    let bench = Bench::begin(options, stage, stop).await?;
    let measured = bench.publish_and_drain(stage).await;
    let tidied = bench.tidy().await;
    let sample = measured?;
    tidied?;
    Ok(sample)
}

struct Bench<'a> {
    options: &'a BenchOptions,
    stop: &'a CancellationToken,
    /// The producer's own connection.
    bus: Bus,
    /// Likewise: the app's ends with the app.
    store: Store,
    count: std::sync::Arc<Count>,
    originals: usize,
    copies: usize,
}

impl<'a> Bench<'a> {
    async fn begin(
        options: &'a BenchOptions,
        stage: &Stage,
        stop: &'a CancellationToken,
    ) -> Result<Self, BenchError> {
        let copies = options.duplicates.of(options.messages);
        let originals = options.messages - copies;
        let bench = Self {
            options,
            stop,
            bus: Bus::connect(&stage.settings.nats_url, "postroom-bench").await?,
            store: Store::open(&stage.settings.database_url).await?,
            count: Count::new(originals + MAX_PACED),
            originals,
            copies,
        };
        // An earlier run that was cut off may have left something.
        bench.tidy_up().await?;
        Ok(bench)
    }

    async fn publish_and_drain(&self, stage: &Stage) -> Result<Sample, BenchError> {
        let publish = self.publish().await?;
        let receiver = Receiver {
            count: self.count.clone(),
            work: self.options.work,
        };
        let app = App::connect(stage.settings.clone())
            .await?
            .handler_with(Receiver::spec(self.options.concurrency), receiver);
        let (began, cpu) = (Instant::now(), cpu_time());
        let running = app.start().await?;
        let measured = async {
            self.drained(&running, self.originals).await?;
            let drain = began.elapsed();
            let cpu = cpu_time().zip(cpu).map(|(now, then)| now.saturating_sub(then));
            let latency = self.pace(&running, drain).await?;
            self.sample(publish, drain, cpu, latency).await
        };
        let measured = measured.await;
        running.drain().await;
        measured
    }

    /// Gives the time until the last one was confirmed as stored.
    async fn publish(&self) -> Result<Duration, BenchError> {
        let order: Vec<usize> = order(self.originals, self.copies).collect();
        let mut progress = Progress::new(order.len(), "published");
        let began = Instant::now();
        for (done, numbers) in order.chunks(CHUNK).enumerate() {
            let parcels: Vec<_> = numbers.iter().map(|number| self.count.parcel(*number)).collect();
            self.unless_stopped(self.bus.publish(&parcels)).await??;
            progress.show((done * CHUNK) as u64, String::new());
        }
        progress.finish();
        Ok(began.elapsed())
    }

    /// Returns when the handler was called for `expected` parcels and the broker has every ack.
    async fn drained(&self, running: &Running, expected: usize) -> Result<(), BenchError> {
        let mut progress = Progress::new(expected, "handled");
        let mut moved = (Instant::now(), 0);
        loop {
            let handled = self.count.handled();
            if handled >= expected as u64 && running.bus().backlog(STREAM, HANDLER).await? == 0 {
                progress.finish();
                return Ok(());
            }
            if handled != moved.1 {
                moved = (Instant::now(), handled);
            } else if moved.0.elapsed() > STUCK {
                return Err(BenchError::Stuck);
            }
            progress.show(handled, String::new());
            let near = handled + u64::from(self.options.concurrency) >= expected as u64;
            self.unless_stopped(tokio::time::sleep(if near { LOOK_CLOSELY } else { LOOK }))
                .await?;
        }
    }

    /// Publishes at a steady rate; gives the time that each parcel took to its handler.
    async fn pace(&self, running: &Running, drain: Duration) -> Result<Latency, BenchError> {
        let drained = self.options.messages as f64 / drain.as_secs_f64();
        let rate = self.options.rate.map_or(drained / 2.0, f64::from).max(1.0);
        let parcels = due(rate, PACED).clamp(1, MAX_PACED);
        let began = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        let mut publishing = tokio::task::JoinSet::new();
        let mut sent = 0;
        while sent < parcels {
            self.unless_stopped(ticks.tick()).await?;
            let until = due(rate, began.elapsed()).min(parcels);
            if sent < until {
                let batch: Vec<_> = (sent..until)
                    .map(|number| self.count.parcel(self.originals + number))
                    .collect();
                // Not awaited here: a slow confirmation must not slow the offer down.
                let bus = self.bus.clone();
                publishing.spawn(async move { bus.publish(&batch).await });
                sent = until;
            }
        }
        while let Some(published) = publishing.join_next().await {
            published.map_err(|_| BenchError::Stuck)??;
        }
        self.drained(running, self.originals + parcels).await?;
        Ok(Latency::of(rate, &self.count.latencies(self.originals)))
    }

    async fn sample(
        &self,
        publish: Duration,
        drain: Duration,
        cpu: Option<Duration>,
        latency: Latency,
    ) -> Result<Sample, BenchError> {
        let mut tx = self.store.read().await?;
        let tally = deliveries::tally(&mut tx).await?;
        tx.rollback().await?;
        let ours = || tally.iter().filter(|row| row.scope == HANDLER);
        let rate = |time: Duration| self.options.messages as f64 / time.as_secs_f64();
        let paced = latency.messages;
        Ok(Sample {
            publish_per_s: rate(publish),
            drain_per_s: rate(drain),
            end_to_end_per_s: rate(publish + drain),
            cpu_us_per_message: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.options.messages as f64),
            latency,
            handled: self.count.handled(),
            // Parcels that the paced publisher had no use for were never published.
            lost: self.count.lost() - (MAX_PACED as u64 - paced),
            doubled: self.count.doubled(),
            strangers: self.count.strangers(),
            copies: self.copies as u64,
            suppressed: ours().map(|row| row.duplicates).sum(),
            retries: ours().map(|row| row.retries).sum(),
            done: ours()
                .filter(|row| row.state == "done")
                .map(|row| row.deliveries)
                .sum(),
            published: self.originals as u64 + paced,
        })
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, BenchError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.stop.cancelled() => Err(BenchError::Stopped),
        }
    }

    async fn tidy(self) -> Result<(), BenchError> {
        let tidied = self.tidy_up().await;
        self.store.close().await;
        tidied
    }

    async fn tidy_up(&self) -> Result<(), BenchError> {
        self.bus.delete_stream(STREAM).await?;
        store::forget(&self.store).await?;
        Ok(())
    }
}

/// How many are due after `time`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate and a time are not negative, and what is past the range is clamped right away"
)]
fn due(rate: f64, time: Duration) -> usize {
    (rate * time.as_secs_f64()) as usize
}

/// What this process has used so far, user and system together; the embedded broker's share included. Linux only.
fn cpu_time() -> Option<Duration> {
    /// The kernel's unit there, whatever its own clock's is.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold spaces; what follows its closing bracket does not.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}
