//! Load for a NATS server, ours or another, over raw sockets. `scripts/bench-broker` drives it.
//!
//! `load ADDRESS WORKLOAD [name=number …]` prints one line of JSON: messages, seconds, and where it matters the
//! latencies in microseconds.

#![allow(clippy::print_stdout, reason = "the figures go to stdout")]

mod jetstream;
mod plain;
mod wire;

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a workload is told.
pub(crate) struct Settings {
    pub(crate) address: String,
    numbers: HashMap<String, u64>,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Vec<Duration>,
}

impl Settings {
    pub(crate) fn get(&self, name: &str, default: u64) -> u64 {
        self.numbers.get(name).copied().unwrap_or(default)
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        vec![b'x'; usize::try_from(self.get("size", 128)).unwrap_or(128)]
    }

    /// How many each of `clients` sends.
    pub(crate) fn share(&self, clients: u64) -> u64 {
        self.get("messages", 100_000) / clients.max(1)
    }
}

impl Figures {
    fn print(mut self) {
        self.latencies.sort_unstable();
        let at = |hundredths: usize| {
            let place = self.latencies.len() * hundredths / 100;
            let found = self.latencies.get(place).or(self.latencies.last());
            found.map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
        };
        println!(
            "{{\"messages\":{},\"seconds\":{:.6},\"p50\":{:.1},\"p99\":{:.1}}}",
            self.messages,
            self.elapsed.as_secs_f64(),
            at(50),
            at(99)
        );
    }
}

/// Runs `work` on so many threads and times all of it.
pub(crate) fn on_threads(
    count: u64,
    work: impl Fn(u64) -> io::Result<Vec<Duration>> + Sync,
) -> io::Result<(Duration, Vec<Duration>)> {
    let began = Instant::now();
    let outcomes: Vec<io::Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..count)
            .map(|n| {
                scope.spawn({
                    let work = &work;
                    move || work(n)
                })
            })
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|outcome| outcome.unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
            .collect()
    });
    let elapsed = began.elapsed();
    let mut all = Vec::new();
    for outcome in outcomes {
        all.extend(outcome?);
    }
    Ok((elapsed, all))
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(workload)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: load ADDRESS WORKLOAD [name=number ...]");
        return ExitCode::from(2);
    };
    let numbers = arguments.filter_map(|argument| {
        let (name, number) = argument.split_once('=')?;
        Some((name.to_owned(), number.parse().ok()?))
    });
    let settings = Settings {
        address,
        numbers: numbers.collect(),
    };
    let outcome = match workload.as_str() {
        "publish" => plain::publish(&settings),
        "fan" => plain::fan(&settings),
        "request" => plain::request(&settings),
        "idle" => plain::idle(&settings),
        "js-publish" => jetstream::publish(&settings),
        "js-consume" => jetstream::consume(&settings),
        "js-get" => jetstream::get(&settings),
        "js-count" => jetstream::count(&settings),
        other => Err(io::Error::other(format!("no workload {other}"))),
    };
    match outcome {
        Ok(figures) => {
            figures.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
