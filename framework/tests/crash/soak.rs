//! A long run at a steady rate, one of ten failing at first: does anything grow, does anybody find the database locked?

use std::time::{Duration, Instant};

use postroom::on_tx;

use crate::audit;
use crate::driver::{Plan, WORKERS, World, publish};

/// Settled rows are forgotten after this many seconds; longer than all retries take.
const TTL: u32 = 40;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

pub(crate) async fn run(database: &str, plan: &Plan, seconds: u32) {
    println!(
        "soak: {database}, {} messages/s for {seconds} s, 64 handlers at a time in each of two workers",
        plan.rate
    );
    let mut world = World::start(database, TTL, &WORKERS).await;
    publish(&world.client, 0..1).await;
    let (began, mut sampled, mut next) = (Instant::now(), Instant::now(), 1_u32);
    let mut publishing = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while began.elapsed() < Duration::from_secs(u64::from(seconds)) {
        ticks.tick().await;
        let (client, ids) = (world.client.clone(), next..next + plan.rate / 10);
        next = ids.end;
        publishing.spawn(async move { publish(&client, ids).await });
        while publishing.try_join_next().is_some() {}
        if sampled.elapsed() >= SAMPLE_EVERY {
            sampled = Instant::now();
            println!("  {:>4} s: {}", began.elapsed().as_secs(), sample(&world).await);
        }
    }
    publishing.join_all().await;
    println!("  published {next} in {:?}", began.elapsed());
    let counted = audit::settled(&mut world, next, |_| {}).await;
    println!("  {counted} in {:?}; {}", began.elapsed(), sample(&world).await);
    let log = std::fs::read_to_string(world.log()).expect("the log");
    let locked = log.lines().filter(|line| line.contains("locked")).count();
    assert_eq!(
        (locked, counted.violations),
        (0, Vec::new()),
        "the first are lines about a locked database"
    );
    println!("soak: {database}: 0 lost, 0 doubled, never locked");
}

async fn sample(world: &World) -> String {
    let resident = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap_or("VmRSS: 0")
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    };
    let workers: Vec<String> = world
        .workers
        .iter()
        .map(|worker| resident(worker.id()).to_string())
        .collect();
    let mut rows = Vec::new();
    if let Ok(mut tx) = world.store.read().await {
        for table in [
            "SELECT COUNT(*) FROM deliveries",
            "SELECT COUNT(*) FROM outbox",
            "SELECT COUNT(*) FROM dead_letters",
        ] {
            let count: Result<i64, sqlx::Error> =
                on_tx!(tx, connection => sqlx::query_scalar(table).fetch_one(connection).await);
            rows.push(count.map_or_else(|_| "?".to_owned(), |count| count.to_string()));
        }
    }
    format!(
        "workers {} MiB, broker {} MiB; deliveries, outbox, dead letters: {}",
        workers.join(" + "),
        resident(world.broker.id()),
        rows.join(", ")
    )
}
