//! Real processes, really killed: workers, broker and PostgreSQL get SIGKILL, a worker now and then SIGSTOP and, after its
//! leases have run out, SIGCONT; meanwhile messages flow, one of ten twice. In the end the effects are counted, in a table
//! and in a file of the test's own.
//!
//! `cargo test --test crash` runs the quick tier; `scripts/crash-test` passes `--kills`, `--messages` (for each kill),
//! `--database`, `--seed`, `--pause SECONDS` (after each kill), or `--soak SECONDS --rate N` for a long run without kills, or
//! `--storm N` for so many messages that fail, each in one of all the ways there are.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one reports"
)]

mod audit;
mod driver;
#[path = "../servers/mod.rs"]
mod servers;
mod soak;
mod storm;
mod worker;

use driver::Plan;

/// Each kind of failure is among them.
const QUICK_STORM: u32 = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("worker") => runtime.block_on(worker::run(&arguments[1..])),
        Some(role @ ("failing" | "killing")) => runtime.block_on(storm::worker(role, &arguments[1..])),
        Some("broker") => runtime.block_on(worker::broker(&arguments[1..])),
        _ => {
            let option = |name: &str| {
                let at = arguments.iter().position(|argument| argument == name)?;
                arguments.get(at + 1).cloned()
            };
            let number = |name: &str| option(name).map(|text| text.parse::<u32>().expect("a number"));
            // As large as those that are drawn.
            let seed = option("--seed").map(|text| text.parse::<u64>().expect("a number"));
            let plan = Plan {
                kills: number("--kills").unwrap_or(10),
                messages: number("--messages").unwrap_or(30),
                seed: seed.unwrap_or_else(rand::random),
                rate: number("--rate").unwrap_or(1000),
                pause: std::time::Duration::from_secs(number("--pause").unwrap_or(0).into()),
            };
            let databases =
                option("--database").map_or(vec!["sqlite".into(), "postgres".into()], |one| vec![one]);
            let mut right = true;
            for database in databases {
                if let Some(seconds) = number("--soak") {
                    runtime.block_on(soak::run(&database, &plan, seconds));
                } else if let Some(failures) = number("--storm") {
                    right &= runtime.block_on(storm::run(&database, &plan, failures));
                } else {
                    right &= runtime.block_on(driver::run(&database, &plan));
                    if arguments.is_empty() {
                        right &= runtime.block_on(storm::run(&database, &plan, QUICK_STORM));
                    }
                }
            }
            // Each database has had its verdict by now.
            assert!(right, "something was lost or doubled: see above");
        }
    }
}
