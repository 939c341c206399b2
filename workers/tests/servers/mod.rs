//! Real mail servers for tests, as Debian ships them, each a throw-away instance on loopback with its own folder; and
//! scripted ones for what no real server will do on demand. The broker and the databases come from the framework's.
#![allow(
    dead_code,
    reason = "each test file takes in the whole module and uses its own part of it"
)]
#![allow(unused_imports, reason = "as above: the names below are an offer")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its set-up too"
)]

mod dovecot;
#[path = "../../../framework/tests/servers/nats.rs"]
mod nats;
mod place;
mod postfix;
#[path = "../../../framework/tests/servers/postgres.rs"]
mod postgres;
mod scripted;
#[path = "../../../framework/tests/servers/spawned.rs"]
mod spawned;
pub(crate) mod token_server;

pub(crate) use dovecot::Dovecot;
pub(crate) use nats::Nats;
pub(crate) use place::free_ports;
pub(crate) use postfix::Postfix;
pub(crate) use postgres::Postgres;
pub(crate) use scripted::{Script, Scripted};
pub(crate) use token_server::TokenServer;
