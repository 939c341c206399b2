//! A consumer's configuration: its fields and their defaults. What may not be is in `consumer_rules`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Metadata, is_zero, unlimited_if_zero};
use crate::jetstream::api_error::ApiError;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::json;
use crate::store::Nanos;
use crate::subject::Filter;

/// nats-server's defaults; times are nanoseconds.
const ACK_WAIT_DEFAULT: i64 = 30 * 1_000_000_000;
const MAX_WAITING_DEFAULT: i64 = 512;
const MAX_ACK_PENDING_DEFAULT: i64 = 1000;
/// How long a consumer without a durable name outlives its last client.
const INACTIVE_THRESHOLD_DEFAULT: i64 = 5 * 1_000_000_000;
const PRIORITY_TIMEOUT_DEFAULT: i64 = 120 * 1_000_000_000;
/// The one heartbeat that the ack policy `flow_control` goes with.
pub(super) const FLOW_CONTROL_HEARTBEAT: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    #[default]
    All,
    Last,
    New,
    ByStartSequence,
    ByStartTime,
    LastPerSubject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPolicy {
    #[default]
    None,
    All,
    Explicit,
    FlowControl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayPolicy {
    #[default]
    Instant,
    /// With the pauses that there were between the messages when they were stored.
    Original,
}

/// How requests that name a priority group are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityPolicy {
    #[default]
    #[serde(alias = "")]
    None,
    /// A request is served once more waits than it asks for.
    Overflow,
    /// One client is served until it is gone.
    PinnedClient,
    /// The request with the lowest number is served first.
    Prioritized,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    #[serde(skip_serializing_if = "is_zero")]
    pub durable_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub description: String,
    pub deliver_policy: DeliverPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<String>,
    pub ack_policy: AckPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    pub ack_wait: i64,
    pub max_deliver: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub backoff: Vec<i64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub filter_subjects: Vec<String>,
    pub replay_policy: ReplayPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    pub rate_limit_bps: u64,
    /// A percentage, with or without its sign.
    #[serde(skip_serializing_if = "is_zero")]
    pub sample_freq: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_waiting: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub flow_control: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub headers_only: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_batch: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_expires: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_bytes: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub deliver_subject: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub deliver_group: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub idle_heartbeat: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive_threshold: i64,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub mem_storage: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub direct: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub sourcing: bool,
    pub metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_until: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub priority_groups: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub priority_policy: PriorityPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    pub priority_timeout: i64,
}

impl ConsumerConfig {
    /// Fills in defaults and checks the whole.
    pub fn complete(mut self, stream: &StreamConfig, pedantic: bool) -> Result<ConsumerConfig, ApiError> {
        self.check_names()?;
        if pedantic {
            self.check_pedantically(stream)?;
        }
        self.fill_in(stream, pedantic);
        self.check(stream)?;
        self.refuse_unfinished()?;
        self.num_replicas = 0;
        Ok(self)
    }

    pub fn is_durable(&self) -> bool {
        !self.durable_name.is_empty()
    }

    pub fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    pub fn filters(&self) -> Vec<Filter> {
        let subjects = self.filter_subjects.iter().chain(Some(&self.filter_subject));
        // A lone `>` filters nothing, and no filter is the cheapest one.
        subjects
            .filter(|s| *s != ">")
            .filter_map(|subject| Filter::parse(subject.as_bytes()))
            .collect()
    }

    /// How long the `count`-th delivery may stay unacknowledged.
    pub fn ack_wait_after(&self, count: u32) -> Duration {
        let step = (count as usize).saturating_sub(1);
        let nanos = self
            .backoff
            .get(step)
            .or(self.backoff.last())
            .copied()
            .unwrap_or(self.ack_wait);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Until when nothing is delivered, if that is set at all.
    pub fn paused_until(&self) -> Option<Nanos> {
        self.pause_until.as_deref().and_then(json::parse_time)
    }

    /// How many of a hundred acknowledgements are told about.
    pub fn sample_percent(&self) -> u32 {
        self.sample_freq.trim_end_matches('%').parse().unwrap_or(0)
    }

    /// The API level that a server needs to know for this consumer.
    pub fn required_level(&self) -> u32 {
        if self.ack_policy == AckPolicy::FlowControl {
            return 4;
        }
        let has_groups = self.priority_policy != PriorityPolicy::None || !self.priority_groups.is_empty();
        u32::from(has_groups || self.pause_until.is_some())
    }

    fn fill_in(&mut self, stream: &StreamConfig, pedantic: bool) {
        unlimited_if_zero(&mut self.max_deliver);
        let limits = [
            &mut self.max_batch,
            &mut self.max_expires,
            &mut self.max_bytes,
            &mut self.idle_heartbeat,
            &mut self.inactive_threshold,
            &mut self.priority_timeout,
        ];
        for limit in limits {
            *limit = (*limit).max(0);
        }
        let acks = self.ack_policy != AckPolicy::None;
        if let Some(&first) = self.backoff.first() {
            self.ack_wait = first;
        } else if self.ack_wait == 0 && acks && self.ack_policy != AckPolicy::FlowControl {
            self.ack_wait = ACK_WAIT_DEFAULT;
        }
        if self.max_ack_pending == 0 {
            self.max_ack_pending = stream.consumer_limits.max_ack_pending;
        }
        if self.max_ack_pending == 0 && acks {
            self.max_ack_pending = MAX_ACK_PENDING_DEFAULT;
        }
        if self.max_waiting == 0 && !self.is_push() {
            self.max_waiting = MAX_WAITING_DEFAULT;
        }
        if self.inactive_threshold == 0 {
            self.inactive_threshold = stream.consumer_limits.inactive_threshold;
        }
        if self.inactive_threshold <= 0 && !self.is_durable() {
            self.inactive_threshold = INACTIVE_THRESHOLD_DEFAULT;
        }
        if self.priority_policy == PriorityPolicy::PinnedClient && self.priority_timeout == 0 {
            self.priority_timeout = PRIORITY_TIMEOUT_DEFAULT;
        }
        if self.ack_policy == AckPolicy::FlowControl && !pedantic {
            self.flow_control = true;
            self.idle_heartbeat = FLOW_CONTROL_HEARTBEAT;
        }
        super::without_server_metadata(&mut self.metadata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> Result<ConsumerConfig, ApiError> {
        json::decode::<ConsumerConfig>(text.as_bytes())?.complete(&StreamConfig::default(), false)
    }

    #[test]
    fn defaults_are_told_back_as_nats_server_does() {
        let check = |given: &str, told: &str| {
            let config = complete(given).unwrap();
            assert_eq!(serde_json::to_string(&config).unwrap(), told);
            assert_eq!(complete(told).unwrap(), config);
        };
        check(
            r#"{"durable_name":"C","ack_policy":"explicit"}"#,
            r#"{"durable_name":"C","name":"C","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0,"metadata":{}}"#,
        );
        check(
            r#"{"name":"E","ack_policy":"none","deliver_subject":null}"#,
            r#"{"name":"E","deliver_policy":"all","ack_policy":"none","max_deliver":-1,"replay_policy":"instant","max_waiting":512,"inactive_threshold":5000000000,"num_replicas":0,"metadata":{}}"#,
        );
        check(
            r#"{"name":"P","ack_policy":"none","deliver_subject":"d","flow_control":true,"idle_heartbeat":1000000000}"#,
            r#"{"name":"P","deliver_policy":"all","ack_policy":"none","max_deliver":-1,"replay_policy":"instant","flow_control":true,"deliver_subject":"d","idle_heartbeat":1000000000,"inactive_threshold":5000000000,"num_replicas":0,"metadata":{}}"#,
        );
    }
}
