//! What operators do to a consumer: pause it, set it back.

use serde::{Deserialize, Serialize};

use super::Stream;
use super::consumers::Definition;
use crate::jetstream::advisory::Unpinned;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::config::{ConsumerConfig, DeliverPolicy};
use crate::jetstream::info::ConsumerInfo;
use crate::jetstream::json;
use crate::store::record::ConsumerId;
use crate::store::{Record, Seq};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseRequest {
    pause_until: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Paused {
    paused: bool,
    pause_until: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_remaining: Option<i64>,
}

/// Here and below nats-server passes unknown fields over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UnpinRequest {
    group: String,
}

/// Nothing besides that it is done.
#[derive(Serialize)]
pub(super) struct Done {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResetRequest {
    seq: Seq,
}

#[derive(Serialize)]
pub(super) struct Reset {
    #[serde(flatten)]
    info: ConsumerInfo,
    reset_seq: Seq,
}

impl Stream {
    /// Without a time, or with one that has passed, the consumer goes on.
    pub(super) fn pause_request(&mut self, name: &str, body: &[u8], now: Now) -> Result<Paused, ApiError> {
        let request: PauseRequest = json::decode_optional(body)?;
        let until = match &request.pause_until {
            Some(text) => {
                let error = || api_error::invalid_json(format!("parsing time \"{text}\""));
                Some(json::parse_time(text).ok_or_else(error)?)
            }
            None => None,
        };
        let id = *self.ids.get(name).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        let consumer = self.consumers.get(&id).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        let config = ConsumerConfig {
            pause_until: request.pause_until,
            ..consumer.config.clone()
        };
        self.redefine(id, config)?;
        let remaining = until.map(|until| until - now.wall).filter(|&left| left > 0);
        let told = until.map(json::time);
        self.tell_about(id, |about| about.paused(remaining.is_some(), told.as_deref()));
        Ok(Paused {
            paused: remaining.is_some(),
            pause_until: told.unwrap_or_else(|| json::NO_TIME.to_owned()),
            pause_remaining: remaining,
        })
    }

    /// Another client gets to be the pinned one.
    pub(super) fn unpin_request(&mut self, name: &str, body: &[u8]) -> Result<Done, ApiError> {
        let request: UnpinRequest = json::decode(body)?;
        if request.group.is_empty() {
            return Err(api_error::invalid_json("consumer group not specified"));
        }
        let consumer = self.consumer(name).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        if !consumer.config.priority_groups.contains(&request.group) {
            return Err(api_error::PRIORITY_GROUP_UNKNOWN);
        }
        consumer.unpin(Unpinned::Asked);
        Ok(Done {})
    }

    /// Logs the new definition and then works by it.
    pub(super) fn redefine(&mut self, id: ConsumerId, config: ConsumerConfig) -> Result<(), ApiError> {
        let consumer = self.consumers.get_mut(&id).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        let definition = Definition {
            config: config.clone(),
            created: consumer.created,
        };
        let json = serde_json::to_vec(&definition).unwrap_or_default();
        let logged = self.store.append(&Record::Consumer {
            consumer: id,
            json: &json,
        });
        logged.map_err(|error| api_error::consumer_create(error.to_string()))?;
        consumer.update(config, self.store.index());
        Ok(())
    }

    /// Deliveries start over after the ack floor, or at the sequence that was asked for.
    pub(super) fn reset_request(&mut self, id: ConsumerId, body: &[u8], now: Now) -> Result<Reset, ApiError> {
        let request: ResetRequest = match body {
            [] => ResetRequest::default(),
            body => json::decode(body)?,
        };
        let consumer = self.consumers.get_mut(&id).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        let reset_seq = match request.seq {
            0 => consumer.progress.ack_floor.stream_seq + 1,
            seq => {
                check_start(&consumer.config, seq, self.store.index())?;
                seq
            }
        };
        consumer.reset(reset_seq, self.store.index());
        let (_, progress) = consumer.to_json();
        let logged = self.store.append(&Record::ConsumerState {
            consumer: id,
            json: &progress,
        });
        logged.map_err(|error| api_error::consumer_create(error.to_string()))?;
        let consumer = self.consumers.get(&id).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        Ok(Reset {
            info: ConsumerInfo::of(&self.config.name, consumer, now),
            reset_seq,
        })
    }
}

/// A consumer is not set back to before where it was to start.
fn check_start(
    config: &ConsumerConfig,
    seq: Seq,
    index: &crate::store::index::Index,
) -> Result<(), ApiError> {
    match config.deliver_policy {
        DeliverPolicy::All => Ok(()),
        DeliverPolicy::ByStartSequence if seq < config.opt_start_seq => {
            Err(api_error::invalid_reset("below start seq"))
        }
        DeliverPolicy::ByStartSequence => Ok(()),
        DeliverPolicy::ByStartTime => {
            let start = config.opt_start_time.as_deref().and_then(json::parse_time);
            let is_before = start.is_some_and(|start| {
                index
                    .first_since(start)
                    .map_or(index.last_seq() + 1, |entry| entry.seq)
                    > seq
            });
            if is_before {
                return Err(api_error::invalid_reset("below start time"));
            }
            Ok(())
        }
        _ => Err(api_error::invalid_reset("not allowed")),
    }
}
