//! One job queue of somebody else's, measured once: `bench-peer PEER --url URL --messages N --handler noop|1ms
//! --concurrency C --settings plain|tuned [--dedupe table]`. All jobs are enqueued first, then drained; one JSON line tells how fast, and what was lost.

mod apalis_nats;
mod apalis_postgres;
mod apalis_sqlite;
mod awa;
mod count;
mod graphile_worker;
mod keys;

use std::process::ExitCode;

use count::{COUNT, Count, Work};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What a peer is told.
#[derive(Debug, Clone)]
pub struct Task {
    pub url: String,
    pub messages: usize,
    pub concurrency: usize,
    /// With what its documentation offers for speed; or with its defaults, but for the concurrency.
    pub is_tuned: bool,
}

/// What it gives back.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Speed {
    pub peer: &'static str,
    pub settings: String,
    pub publish_s: f64,
    pub drain_s: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<String, Failed> {
    let mut arguments = std::env::args().skip(1);
    let peer = arguments.next().ok_or("name a peer")?;
    let mut flags = std::collections::HashMap::new();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        flags.insert(flag, value);
    }
    let flag = |name: &str| flags.get(name).cloned().ok_or(format!("{name} is missing"));
    let task = Task {
        url: flag("--url")?,
        messages: flag("--messages")?.parse()?,
        concurrency: flag("--concurrency")?.parse()?,
        is_tuned: match flag("--settings")?.as_str() {
            "plain" => false,
            "tuned" => true,
            other => return Err(format!("--settings {other}: give plain or tuned").into()),
        },
    };
    let work = match flag("--handler")?.as_str() {
        "noop" => Work::Noop,
        "1ms" => Work::Millisecond,
        other => return Err(format!("--handler {other}: give noop or 1ms").into()),
    };
    match flags.get("--dedupe").map(String::as_str) {
        None => {}
        Some("table") => keys::ask_for_each_job(&task.url).await?,
        Some(other) => return Err(format!("--dedupe {other}: give table, or leave it out").into()),
    }
    let count = COUNT.get_or_init(|| Count::new(task.messages, work));
    let speed = match peer.as_str() {
        "apalis-sqlite" => apalis_sqlite::measure(&task).await?,
        "apalis-postgres" => apalis_postgres::measure(&task).await?,
        "apalis-nats" => apalis_nats::measure(&task).await?,
        "awa" => awa::measure(&task).await?,
        "graphile_worker" => graphile_worker::measure(&task).await?,
        other => return Err(format!("no peer is called {other}").into()),
    };
    Ok(serde_json::json!({
        "peer": speed.peer,
        "settings": speed.settings,
        "messages": task.messages,
        "publish_per_s": task.messages as f64 / speed.publish_s,
        "drain_per_s": task.messages as f64 / speed.drain_s,
        "handled": count.handled(),
        "lost": count.lost(),
        "doubled": count.doubled(),
    })
    .to_string())
}
