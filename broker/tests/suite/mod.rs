//! What any server that calls itself JetStream must do, asked through async-nats.

mod core;
mod jetstream;

pub(crate) use core::core;
pub(crate) use jetstream::jetstream;
