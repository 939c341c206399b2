//! What is known and not done: refused by name, never accepted and then ignored.

use super::{AckPolicy, Compression, ConsumerConfig, StreamConfig, errors};
use crate::jetstream::api_error::ApiError;

impl StreamConfig {
    pub(super) fn refuse_unfinished(&self) -> Result<(), ApiError> {
        let features = [
            (self.compression == Compression::S2, "compression"),
            (
                self.allow_msg_counter && !self.sources.is_empty(),
                "allow_msg_counter with sources",
            ),
            (self.allow_batched, "allow_batched"),
        ];
        refuse(&features, errors::stream_config)
    }
}

impl ConsumerConfig {
    pub(super) fn refuse_unfinished(&self) -> Result<(), ApiError> {
        let features = [
            (
                self.ack_policy == AckPolicy::FlowControl,
                "ack policy flow_control",
            ),
            (self.direct, "direct"),
            (self.sourcing, "sourcing"),
        ];
        refuse(&features, errors::consumer_create)
    }
}

fn refuse(features: &[(bool, &str)], error: fn(String) -> ApiError) -> Result<(), ApiError> {
    let found = features.iter().find(|(is_wanted, _)| *is_wanted);
    found.map_or(Ok(()), |(_, name)| {
        Err(error(format!("{name} is not supported by this server")))
    })
}
