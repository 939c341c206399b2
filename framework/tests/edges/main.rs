//! Every edge of a delivery, with everything that can go wrong there. Enumerated, not sampled.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells how much it has tried"
)]

mod kit;
mod matrix;
#[path = "../servers/mod.rs"]
mod servers;
mod task;
