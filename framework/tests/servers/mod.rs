//! Real servers for tests: each one is a throw-away process on loopback, with its own temporary folder.
//!
//! A test file takes them in with `mod servers;`, a test of another crate with `#[path = "…"]`. They may live in a
//! `static`: a server outlives neither the value nor the test process, however that ends.
#![allow(
    dead_code,
    reason = "each test file takes in the whole module and uses its own part of it"
)]
#![allow(unused_imports, reason = "as above: the names below are an offer")]
#![allow(clippy::expect_used, reason = "a test fails by panicking, its set-up too")]

mod nats;
mod postgres;
mod spawned;

pub(crate) use nats::Nats;
pub(crate) use postgres::Postgres;
