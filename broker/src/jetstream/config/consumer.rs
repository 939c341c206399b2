//! A consumer's configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Metadata, errors, has_path_separators, is_plain_name, is_zero, refuse_unsupported, unlimited_if_zero,
};
use crate::jetstream::api_error::ApiError;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::json;
use crate::subject::Filter;

/// nats-server's defaults; times are nanoseconds.
const ACK_WAIT_DEFAULT: i64 = 30 * 1_000_000_000;
const MAX_WAITING_DEFAULT: i64 = 512;
const MAX_ACK_PENDING_DEFAULT: i64 = 1000;
/// How long a consumer without a durable name outlives its last client.
const INACTIVE_THRESHOLD_DEFAULT: i64 = 5 * 1_000_000_000;

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
    Original,
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
    pub max_waiting: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub headers_only: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_batch: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_expires: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_bytes: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive_threshold: i64,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub mem_storage: bool,
    pub metadata: Metadata,

    #[serde(skip_serializing)]
    deliver_subject: Option<Value>,
    #[serde(skip_serializing)]
    deliver_group: Option<Value>,
    #[serde(skip_serializing)]
    rate_limit_bps: Option<Value>,
    #[serde(skip_serializing)]
    flow_control: Option<Value>,
    #[serde(skip_serializing)]
    idle_heartbeat: Option<Value>,
    #[serde(skip_serializing)]
    sample_freq: Option<Value>,
    #[serde(skip_serializing)]
    direct: Option<Value>,
    #[serde(skip_serializing)]
    sourcing: Option<Value>,
    #[serde(skip_serializing)]
    pause_until: Option<Value>,
    #[serde(skip_serializing)]
    priority_groups: Option<Value>,
    #[serde(skip_serializing)]
    priority_policy: Option<Value>,
    #[serde(skip_serializing)]
    priority_timeout: Option<Value>,
}

impl ConsumerConfig {
    /// Fills in defaults and checks the whole.
    pub fn complete(mut self, stream: &StreamConfig) -> Result<ConsumerConfig, ApiError> {
        self.check_names()?;
        self.refuse_unsupported()?;
        self.fill_in(stream);
        self.check_acks()?;
        self.check_start()?;
        self.check_filters()?;
        Ok(self)
    }

    pub fn is_durable(&self) -> bool {
        !self.durable_name.is_empty()
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

    fn check_names(&mut self) -> Result<(), ApiError> {
        let (durable, name) = (&self.durable_name, &self.name);
        if !durable.is_empty() && !name.is_empty() && durable != name {
            return Err(errors::DURABLE_AND_NAME_DIFFER);
        }
        for given in [durable, name].into_iter().filter(|name| !name.is_empty()) {
            if given.len() > super::NAME_MAX {
                return Err(errors::CONSUMER_NAME_TOO_LONG);
            }
            if has_path_separators(given) {
                return Err(errors::CONSUMER_NAME_WITH_SEPARATORS);
            }
            if !is_plain_name(given) {
                return Err(errors::CONSUMER_NAME_INVALID);
            }
        }
        if name.is_empty() {
            self.name = durable.clone();
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let unless = |unsupported: bool, what: &str| match unsupported {
            true => Err(errors::consumer_create(format!(
                "{what} is not supported by this server"
            ))),
            false => Ok(()),
        };
        refuse_unsupported(
            [("push delivery (deliver_subject)", &self.deliver_subject)],
            errors::consumer_create,
        )?;
        unless(
            self.deliver_policy == DeliverPolicy::LastPerSubject,
            "deliver policy last_per_subject",
        )?;
        unless(
            self.ack_policy == AckPolicy::FlowControl,
            "ack policy flow_control",
        )?;
        unless(
            self.replay_policy == ReplayPolicy::Original,
            "replay policy original",
        )?;
        unless(self.mem_storage, "mem_storage")?;
        unless(self.num_replicas > 1, "more than one replica")?;
        match &self.priority_policy {
            Some(Value::String(policy)) if !policy.is_empty() && policy != "none" => {
                unless(true, "priority_policy")?;
            }
            _ => {}
        }
        refuse_unsupported(
            [
                ("deliver_group", &self.deliver_group),
                ("rate_limit_bps", &self.rate_limit_bps),
                ("flow_control", &self.flow_control),
                ("idle_heartbeat", &self.idle_heartbeat),
                ("sample_freq", &self.sample_freq),
                ("direct", &self.direct),
                ("sourcing", &self.sourcing),
                ("pause_until", &self.pause_until),
                ("priority_groups", &self.priority_groups),
            ],
            errors::consumer_create,
        )
    }

    fn fill_in(&mut self, stream: &StreamConfig) {
        unlimited_if_zero(&mut self.max_deliver);
        let acks = self.ack_policy != AckPolicy::None;
        if let Some(&first) = self.backoff.first() {
            self.ack_wait = first;
        } else if self.ack_wait == 0 && acks {
            self.ack_wait = ACK_WAIT_DEFAULT;
        }
        if self.max_ack_pending == 0 && acks {
            let limit = stream.consumer_limits.max_ack_pending;
            self.max_ack_pending = if limit > 0 { limit } else { MAX_ACK_PENDING_DEFAULT };
        }
        if self.max_waiting == 0 {
            self.max_waiting = MAX_WAITING_DEFAULT;
        }
        if self.inactive_threshold == 0 && !self.is_durable() {
            let limit = stream.consumer_limits.inactive_threshold;
            self.inactive_threshold = if limit > 0 {
                limit
            } else {
                INACTIVE_THRESHOLD_DEFAULT
            };
        }
        self.num_replicas = 0;
        super::without_server_metadata(&mut self.metadata);
        let ConsumerConfig {
            deliver_subject,
            deliver_group,
            rate_limit_bps,
            flow_control,
            ..
        } = self;
        for field in [deliver_subject, deliver_group, rate_limit_bps, flow_control] {
            *field = None;
        }
        let ConsumerConfig {
            idle_heartbeat,
            sample_freq,
            direct,
            sourcing,
            pause_until,
            ..
        } = self;
        for field in [idle_heartbeat, sample_freq, direct, sourcing, pause_until] {
            *field = None;
        }
        let ConsumerConfig {
            priority_groups,
            priority_policy,
            priority_timeout,
            ..
        } = self;
        for field in [priority_groups, priority_policy, priority_timeout] {
            *field = None;
        }
    }

    fn check_acks(&self) -> Result<(), ApiError> {
        if self.max_waiting < 0 {
            return Err(errors::MAX_WAITING_NOT_POSITIVE);
        }
        if self.ack_wait < 0 {
            return Err(errors::ACK_WAIT_NOT_POSITIVE);
        }
        if self.backoff.iter().any(|&wait| wait < 0) {
            return Err(errors::BACKOFF_NOT_POSITIVE);
        }
        let deliveries = usize::try_from(self.max_deliver).unwrap_or(usize::MAX);
        if self.backoff.len() > deliveries {
            return Err(errors::BACKOFF_LONGER_THAN_DELIVERIES);
        }
        Ok(())
    }

    fn check_start(&self) -> Result<(), ApiError> {
        let policy = match self.deliver_policy {
            DeliverPolicy::All => "deliver all",
            DeliverPolicy::Last => "deliver last",
            DeliverPolicy::New => "deliver new",
            DeliverPolicy::ByStartSequence => "deliver by start sequence",
            DeliverPolicy::ByStartTime => "deliver by start time",
            DeliverPolicy::LastPerSubject => "deliver last per subject",
        };
        let wants_seq = self.deliver_policy == DeliverPolicy::ByStartSequence;
        let wants_time = self.deliver_policy == DeliverPolicy::ByStartTime;
        let is_wrong = |what: &str, state: &str| {
            let text = format!("consumer delivery policy is {policy}, but optional start {what} is {state}");
            Err(errors::consumer_config(text))
        };
        match (wants_seq, self.opt_start_seq > 0) {
            (true, false) => return is_wrong("sequence", "not set"),
            (false, true) => return is_wrong("sequence", "also set"),
            _ => {}
        }
        let time = self.opt_start_time.as_deref();
        match (wants_time, time) {
            (true, None) => is_wrong("time", "not set"),
            (false, Some(_)) => is_wrong("time", "also set"),
            (true, Some(text)) if json::parse_time(text).is_none() => {
                Err(errors::invalid_json(format!("parsing time \"{text}\"")))
            }
            _ => Ok(()),
        }
    }

    fn check_filters(&self) -> Result<(), ApiError> {
        if !self.filter_subject.is_empty() && !self.filter_subjects.is_empty() {
            return Err(errors::FILTER_AND_FILTERS);
        }
        let mut seen: Vec<Filter> = Vec::new();
        let single = Some(&self.filter_subject).filter(|subject| !subject.is_empty());
        for subject in self.filter_subjects.iter().chain(single) {
            if subject.is_empty() {
                return Err(errors::FILTER_EMPTY);
            }
            let Some(filter) = Filter::parse(subject.as_bytes()) else {
                return Err(errors::consumer_config(format!(
                    "filter subject {subject:?} is not valid"
                )));
            };
            if seen.iter().any(|other| other.overlaps(&filter)) {
                return Err(errors::FILTERS_OVERLAP);
            }
            seen.push(filter);
        }
        Ok(())
    }

    /// May `self` become `next`? Both are complete.
    pub fn check_update(&self, next: &ConsumerConfig) -> Result<(), ApiError> {
        let check = |is_bad: bool, what: &str| match is_bad {
            true => Err(errors::consumer_create(format!("{what} can not be updated"))),
            false => Ok(()),
        };
        check(self.deliver_policy != next.deliver_policy, "deliver policy")?;
        check(self.opt_start_seq != next.opt_start_seq, "start sequence")?;
        check(self.opt_start_time != next.opt_start_time, "start time")?;
        check(self.ack_policy != next.ack_policy, "ack policy")?;
        check(self.replay_policy != next.replay_policy, "replay policy")?;
        check(self.max_waiting != next.max_waiting, "max waiting")?;
        check(self.durable_name != next.durable_name, "durable name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> Result<ConsumerConfig, ApiError> {
        json::decode::<ConsumerConfig>(text.as_bytes())?.complete(&StreamConfig::default())
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
    }

    #[test]
    fn refusals() {
        let check = |text: &str, err_code: u16| {
            assert_eq!(complete(text).unwrap_err().err_code, err_code, "{text}");
        };
        check(r#"{"name":"a.b"}"#, 10103);
        check(r#"{"name":"a","durable_name":"b"}"#, 10132);
        check(r#"{"name":"C","deliver_policy":"by_start_sequence"}"#, 10094);
        check(r#"{"name":"C","deliver_policy":"last","opt_start_seq":4}"#, 10094);
        check(
            r#"{"name":"C","filter_subject":"a","filter_subjects":["b"]}"#,
            10136,
        );
        check(r#"{"name":"C","filter_subjects":["s.a","s.*"]}"#, 10138);
        check(r#"{"name":"C","filter_subjects":[""]}"#, 10139);
        check(r#"{"name":"C","max_deliver":1,"backoff":[1,2]}"#, 10116);
        check(r#"{"name":"C","deliver_subject":"d"}"#, 10012);
        check(r#"{"name":"C","bogus":1}"#, 10025);
    }

    #[test]
    fn backoff_repeats_its_last_step() {
        let config = complete(r#"{"name":"C","ack_policy":"explicit","backoff":[1,2]}"#).unwrap();
        let waits: Vec<u128> = (1..=4)
            .map(|count| config.ack_wait_after(count).as_nanos())
            .collect();
        assert_eq!(waits, [1, 2, 2, 2]);
    }
}
