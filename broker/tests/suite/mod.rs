//! What any server that calls itself JetStream must do, asked through async-nats and in raw bytes.

#![allow(dead_code, reason = "each test binary uses its own part of the suite")]

mod api;
mod core;
mod jetstream;
pub(crate) mod raw;
pub(crate) mod server;

pub(crate) use api::api;
pub(crate) use core::core;
pub(crate) use jetstream::jetstream;
