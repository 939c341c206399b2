//! What any server that calls itself JetStream must do, asked through async-nats and in raw bytes.

#![allow(dead_code, reason = "each test binary uses its own part of the suite")]

pub(crate) mod api;
pub(crate) mod batches;
pub(crate) mod consumers;
pub(crate) mod core;
pub(crate) mod direct;
pub(crate) mod jetstream;
pub(crate) mod limits;
pub(crate) mod origins;
pub(crate) mod protocol;
pub(crate) mod raw;
pub(crate) mod restart;
pub(crate) mod retention;
pub(crate) mod schedules;
pub(crate) mod server;
pub(crate) mod streams;
pub(crate) mod ttl;
