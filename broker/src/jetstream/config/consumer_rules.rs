//! What a consumer's configuration may not be, and what it may become.

use super::consumer::FLOW_CONTROL_HEARTBEAT;
use super::{
    AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy, StreamConfig, errors, has_path_separators,
    is_plain_name,
};
use crate::jetstream::api_error::ApiError;
use crate::jetstream::json;
use crate::subject::{self, Filter};

/// nats-server's bounds; times are nanoseconds.
const HEARTBEAT_MIN: i64 = 100 * 1_000_000;
const MAX_EXPIRES_MIN: i64 = 1_000_000;
const DESCRIPTION_MAX: usize = 4096;
const METADATA_MAX: usize = 128 * 1024;
const GROUP_NAME_MAX: usize = 16;

fn refuse_if(is_bad: bool, error: ApiError) -> Result<(), ApiError> {
    if is_bad { Err(error) } else { Ok(()) }
}

impl ConsumerConfig {
    pub(super) fn check_names(&mut self) -> Result<(), ApiError> {
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

    /// Pedantic clients are told of what would be corrected in silence.
    pub(super) fn check_pedantically(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        for (name, value) in [
            ("max_batch", self.max_batch),
            ("max_expires", self.max_expires),
            ("max_bytes", self.max_bytes),
            ("idle_heartbeat", self.idle_heartbeat),
            ("inactive_threshold", self.inactive_threshold),
            ("priority_timeout", self.priority_timeout),
        ] {
            if value < 0 {
                return Err(errors::pedantic(format!("{name} must not be negative")));
            }
        }
        let limits = &stream.consumer_limits;
        let refusals = [
            (
                self.backoff.first().is_some_and(|&first| first != self.ack_wait),
                "first backoff value has to equal batch AckWait",
            ),
            (
                self.max_ack_pending == 0 && limits.max_ack_pending > 0,
                "max_ack_pending must be set if it's configured in stream limits",
            ),
            (
                self.inactive_threshold == 0 && limits.inactive_threshold > 0,
                "inactive_threshold must be set if it's configured in stream limits",
            ),
        ];
        let found = refusals.into_iter().find(|(is_bad, _)| *is_bad);
        found.map_or(Ok(()), |(_, text)| Err(errors::pedantic(text)))
    }

    pub(super) fn check(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        refuse_if(self.num_replicas < 0, errors::REPLICAS_NEGATIVE)?;
        refuse_if(self.num_replicas > 1, errors::REPLICAS)?;
        self.check_acks(stream)?;
        if self.is_push() {
            self.check_push(stream)?;
        } else {
            self.check_pull(stream)?;
        }
        self.check_direct()?;
        self.check_filters()?;
        self.check_start()?;
        self.check_described()?;
        refuse_if(
            self.flow_control && self.idle_heartbeat == 0,
            errors::FLOW_CONTROL_NEEDS_HEARTBEAT,
        )?;
        self.check_groups()
    }

    fn check_acks(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        refuse_if(
            self.backoff.iter().any(|&wait| wait < 0),
            errors::BACKOFF_NOT_POSITIVE,
        )?;
        refuse_if(self.ack_wait < 0, errors::ACK_WAIT_NOT_POSITIVE)?;
        if self.ack_policy == AckPolicy::FlowControl {
            refuse_if(!self.is_push(), errors::FLOW_ACKS_NEED_PUSH)?;
            refuse_if(!self.flow_control, errors::FLOW_ACKS_NEED_FLOW_CONTROL)?;
            refuse_if(
                self.idle_heartbeat != FLOW_CONTROL_HEARTBEAT,
                errors::stream_config("flow control ack policy heartbeat needs to be 1s"),
            )?;
            refuse_if(self.max_ack_pending <= 0, errors::FLOW_ACKS_NEED_MAX_ACK_PENDING)?;
            let waits = self.ack_wait != 0 || !self.backoff.is_empty();
            refuse_if(waits, errors::FLOW_ACKS_WITH_ACK_WAIT)?;
            refuse_if(self.max_deliver > 0, errors::FLOW_ACKS_WITH_MAX_DELIVER)?;
        }
        let deliveries = usize::try_from(self.max_deliver).unwrap_or(usize::MAX);
        refuse_if(
            self.backoff.len() > deliveries,
            errors::BACKOFF_LONGER_THAN_DELIVERIES,
        )?;
        let limits = &stream.consumer_limits;
        refuse_if(
            limits.max_ack_pending > 0 && self.max_ack_pending > limits.max_ack_pending,
            errors::max_ack_pending_exceeds(limits.max_ack_pending),
        )?;
        refuse_if(
            limits.inactive_threshold > 0 && self.inactive_threshold > limits.inactive_threshold,
            errors::inactive_threshold_exceeds(limits.inactive_threshold),
        )
    }

    fn check_push(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        let subject = self.deliver_subject.as_bytes();
        let has_wildcards = subject::tokens(subject).any(subject::is_wildcard);
        refuse_if(has_wildcards, errors::DELIVER_SUBJECT_HAS_WILDCARDS)?;
        refuse_if(!subject::is_valid(subject), errors::DELIVER_SUBJECT_INVALID)?;
        let forms_cycle = stream.filters().iter().any(|filter| filter.matches(subject));
        refuse_if(forms_cycle, errors::DELIVER_SUBJECT_FORMS_CYCLE)?;
        refuse_if(self.max_waiting != 0, errors::PUSH_WITH_MAX_WAITING)?;
        refuse_if(
            self.max_ack_pending > 0 && self.ack_policy == AckPolicy::None,
            errors::MAX_ACK_PENDING_NEEDS_ACKS,
        )?;
        refuse_if(
            (1..HEARTBEAT_MIN).contains(&self.idle_heartbeat),
            errors::HEARTBEAT_TOO_SMALL,
        )
    }

    fn check_pull(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        use super::Retention::WorkQueue;
        let is_queue = stream.retention == WorkQueue;
        refuse_if(
            self.ack_policy == AckPolicy::None && is_queue,
            errors::PULL_NEEDS_ACKS,
        )?;
        refuse_if(self.rate_limit_bps > 0, errors::PULL_WITH_RATE_LIMIT)?;
        refuse_if(self.max_waiting < 0, errors::MAX_WAITING_NOT_POSITIVE)?;
        refuse_if(self.idle_heartbeat > 0, errors::HEARTBEAT_NEEDS_PUSH)?;
        refuse_if(self.flow_control, errors::FLOW_CONTROL_NEEDS_PUSH)?;
        let expires = (1..MAX_EXPIRES_MIN).contains(&self.max_expires);
        refuse_if(expires, errors::MAX_EXPIRES_TOO_SMALL)
    }

    fn check_direct(&self) -> Result<(), ApiError> {
        refuse_if(self.direct && !self.is_push(), errors::DIRECT_NEEDS_PUSH)?;
        refuse_if(self.direct && self.is_durable(), errors::DIRECT_NEEDS_EPHEMERAL)
    }

    fn check_start(&self) -> Result<(), ApiError> {
        use DeliverPolicy::{All, ByStartSequence, ByStartTime, Last, LastPerSubject, New};
        let (policy, wants_seq, wants_time) = match self.deliver_policy {
            All => ("all", false, false),
            Last => ("last", false, false),
            New => ("new", false, false),
            ByStartSequence => ("by start sequence", true, false),
            ByStartTime => ("by start time", false, true),
            LastPerSubject => ("last per subject", false, false),
        };
        let refused = |what: &str| {
            let text = format!("consumer delivery policy is deliver {policy}, but optional {what}");
            Err(errors::consumer_config(text))
        };
        let time = self.opt_start_time.as_deref();
        if let Some(text) = time.filter(|text| json::parse_time(text).is_none()) {
            return Err(errors::invalid_json(format!("parsing time \"{text}\"")));
        }
        let seq = if wants_time {
            "start start sequence"
        } else {
            "start sequence"
        };
        match (wants_seq, self.opt_start_seq > 0) {
            (true, false) => return refused("start sequence is not set"),
            (false, true) => return refused(&format!("{seq} is also set")),
            _ => {}
        }
        match (wants_time, time.is_some()) {
            (true, false) => return refused("start time is not set"),
            (false, true) => return refused("start time is also set"),
            _ => {}
        }
        let has_filter = !self.filter_subject.is_empty() || !self.filter_subjects.is_empty();
        if self.deliver_policy == LastPerSubject && !has_filter {
            return refused("filter subject is not set");
        }
        Ok(())
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
                return Err(errors::stream_config("invalid subject"));
            };
            // As in nats-server: `a.*` and `*.b` may stand side by side although both mean `a.b`.
            if seen
                .iter()
                .any(|other| other.covers(&filter) || filter.covers(other))
            {
                return Err(errors::FILTERS_OVERLAP);
            }
            seen.push(filter);
        }
        Ok(())
    }

    fn check_described(&self) -> Result<(), ApiError> {
        refuse_if(
            self.description.len() > DESCRIPTION_MAX,
            errors::CONSUMER_DESCRIPTION_TOO_LONG,
        )?;
        let metadata = self.metadata.iter().map(|(key, value)| key.len() + value.len());
        refuse_if(
            metadata.sum::<usize>() > METADATA_MAX,
            errors::CONSUMER_METADATA_TOO_LONG,
        )?;
        if self.sample_freq.is_empty() {
            return Ok(());
        }
        let percent: Result<u32, _> = self.sample_freq.trim_end_matches('%').parse();
        percent.map(drop).map_err(|_| errors::sampling(&self.sample_freq))
    }

    fn check_groups(&self) -> Result<(), ApiError> {
        if self.priority_policy == PriorityPolicy::None {
            refuse_if(
                !self.priority_groups.is_empty(),
                errors::PRIORITY_GROUPS_NEED_POLICY,
            )?;
            return refuse_if(self.priority_timeout > 0, errors::PRIORITY_TIMEOUT_NEEDS_POLICY);
        }
        refuse_if(self.is_push(), errors::PRIORITY_GROUPS_WITH_PUSH)?;
        refuse_if(
            self.priority_groups.is_empty(),
            errors::PRIORITY_POLICY_NEEDS_GROUP,
        )?;
        for group in &self.priority_groups {
            refuse_if(group.is_empty(), errors::PRIORITY_GROUP_EMPTY)?;
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_/=)+".contains(c);
            let is_good = group.len() <= GROUP_NAME_MAX && group.chars().all(is_allowed);
            refuse_if(!is_good, errors::PRIORITY_GROUP_INVALID)?;
        }
        Ok(())
    }

    /// May `self` become `next`? Both are complete.
    pub fn check_update(&self, next: &ConsumerConfig) -> Result<(), ApiError> {
        let check = |is_bad: bool, what: &str| {
            refuse_if(
                is_bad,
                errors::consumer_create(format!("{what} can not be updated")),
            )
        };
        check(self.deliver_policy != next.deliver_policy, "deliver policy")?;
        check(self.opt_start_seq != next.opt_start_seq, "start sequence")?;
        check(self.opt_start_time != next.opt_start_time, "start time")?;
        check(self.ack_policy != next.ack_policy, "ack policy")?;
        check(self.replay_policy != next.replay_policy, "replay policy")?;
        check(self.idle_heartbeat != next.idle_heartbeat, "heart beats")?;
        check(self.flow_control != next.flow_control, "flow control")?;
        let refused = |text: &str| Err(errors::consumer_create(text.to_owned()));
        match (self.is_push(), next.is_push()) {
            (true, false) => return refused("can not update push consumer to pull based"),
            (false, true) => return refused("can not update pull consumer to push based"),
            _ => {}
        }
        check(self.max_waiting != next.max_waiting, "max waiting")?;
        check(self.durable_name != next.durable_name, "durable name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        let check = |text: &str, err_code: u16| {
            let config: ConsumerConfig = json::decode(text.as_bytes()).unwrap();
            let error = config.complete(&StreamConfig::default(), false).unwrap_err();
            assert_eq!(error.err_code, err_code, "{text}");
        };
        check(r#"{"name":"a.b"}"#, 10103);
        check(r#"{"name":"a","durable_name":"b"}"#, 10132);
        check(r#"{"name":"C","deliver_policy":"by_start_sequence"}"#, 10094);
        check(r#"{"name":"C","deliver_policy":"last","opt_start_seq":4}"#, 10094);
        check(r#"{"name":"C","deliver_policy":"last_per_subject"}"#, 10094);
        check(
            r#"{"name":"C","filter_subject":"a","filter_subjects":["b"]}"#,
            10136,
        );
        check(r#"{"name":"C","filter_subjects":["s.a","s.*"]}"#, 10138);
        check(r#"{"name":"C","filter_subjects":[""]}"#, 10139);
        check(r#"{"name":"C","deliver_subject":"a.*"}"#, 10079);
        check(r#"{"name":"C","deliver_subject":"a","max_waiting":5}"#, 10080);
        check(r#"{"name":"C","deliver_subject":"a","idle_heartbeat":5}"#, 10083);
        check(r#"{"name":"C","deliver_subject":"a","flow_control":true}"#, 10108);
        check(r#"{"name":"C","flow_control":true}"#, 10089);
        check(r#"{"name":"C","idle_heartbeat":1000000000}"#, 10088);
        check(r#"{"name":"C","sample_freq":"often"}"#, 10095);
        check(r#"{"name":"C","priority_groups":["A"]}"#, 10196);
        check(r#"{"name":"C","priority_policy":"overflow"}"#, 10159);
        check(
            r#"{"name":"C","priority_policy":"overflow","priority_groups":["no good"]}"#,
            10162,
        );
    }
}
