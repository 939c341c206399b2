//! What consumers are refused for.

use std::time::Duration;

use super::{ApiError, fixed, worded};

pub const DELIVER_SUBJECT_HAS_WILDCARDS: ApiError =
    fixed(400, 10079, "consumer deliver subject has wildcards");
pub const PUSH_WITH_MAX_WAITING: ApiError =
    fixed(400, 10080, "consumer in push mode can not set max waiting");
pub const DELIVER_SUBJECT_FORMS_CYCLE: ApiError = fixed(400, 10081, "consumer deliver subject forms a cycle");
pub const MAX_ACK_PENDING_NEEDS_ACKS: ApiError =
    fixed(400, 10082, "consumer requires ack policy for max ack pending");
pub const HEARTBEAT_TOO_SMALL: ApiError = fixed(400, 10083, "consumer idle heartbeat needs to be >= 100ms");
pub const PULL_NEEDS_ACKS: ApiError = fixed(
    400,
    10084,
    "consumer in pull mode requires explicit ack policy on workqueue stream",
);
pub const PULL_WITH_RATE_LIMIT: ApiError =
    fixed(400, 10086, "consumer in pull mode can not have rate limit set");
pub const HEARTBEAT_NEEDS_PUSH: ApiError = fixed(
    400,
    10088,
    "consumer idle heartbeat requires a push based consumer",
);
pub const FLOW_CONTROL_NEEDS_PUSH: ApiError =
    fixed(400, 10089, "consumer flow control requires a push based consumer");
pub const DIRECT_NEEDS_PUSH: ApiError = fixed(400, 10090, "consumer direct requires a push based consumer");
pub const DIRECT_NEEDS_EPHEMERAL: ApiError =
    fixed(400, 10091, "consumer direct requires an ephemeral consumer");
pub const CONSUMER_DESCRIPTION_TOO_LONG: ApiError = fixed(
    400,
    10107,
    "consumer description is too long, maximum allowed is 4096",
);
pub const FLOW_CONTROL_NEEDS_HEARTBEAT: ApiError =
    fixed(400, 10108, "consumer with flow control also needs heartbeats");
pub const DELIVER_SUBJECT_INVALID: ApiError = fixed(400, 10112, "invalid push consumer deliver subject");
pub const MAX_EXPIRES_TOO_SMALL: ApiError =
    fixed(400, 10115, "consumer max request expires needs to be >= 1ms");
pub const CONSUMER_METADATA_TOO_LONG: ApiError =
    fixed(400, 10135, "consumer metadata exceeds maximum size of 128KB");
pub const PRIORITY_POLICY_NEEDS_GROUP: ApiError = fixed(
    400,
    10159,
    "Setting PriorityPolicy requires at least one PriorityGroup to be set",
);
pub const PRIORITY_GROUP_UNKNOWN: ApiError = fixed(
    400,
    10160,
    "Provided priority group does not exist for this consumer",
);
pub const PRIORITY_GROUP_EMPTY: ApiError = fixed(400, 10161, "Group name cannot be an empty string");
pub const PRIORITY_GROUP_INVALID: ApiError = fixed(
    400,
    10162,
    "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters",
);
pub const PRIORITY_GROUPS_WITH_PUSH: ApiError =
    fixed(400, 10178, "priority groups can not be used with push consumers");
pub const PRIORITY_GROUPS_NEED_POLICY: ApiError = fixed(
    400,
    10196,
    "consumer can not have priority groups when policy is none",
);
pub const PRIORITY_TIMEOUT_NEEDS_POLICY: ApiError =
    fixed(400, 10197, "PinnedTTL cannot be set when PriorityPolicy is none");
pub const FLOW_ACKS_NEED_PUSH: ApiError = fixed(
    400,
    10218,
    "flow control ack policy requires a push based consumer",
);
pub const FLOW_ACKS_NEED_FLOW_CONTROL: ApiError =
    fixed(400, 10219, "flow control ack policy requires flow control");
pub const FLOW_ACKS_NEED_MAX_ACK_PENDING: ApiError =
    fixed(400, 10220, "flow control ack policy requires max ack pending");
pub const FLOW_ACKS_WITH_ACK_WAIT: ApiError =
    fixed(400, 10221, "flow control ack policy requires unset ack wait");
pub const FLOW_ACKS_WITH_MAX_DELIVER: ApiError =
    fixed(400, 10222, "flow control ack policy requires unset max deliver");
pub const QUEUE_NEEDS_EXPLICIT_ACKS: ApiError = fixed(400, 10098, "workqueue stream requires explicit ack");
pub const QUEUE_WITH_SECOND_UNFILTERED: ApiError = fixed(
    400,
    10099,
    "multiple non-filtered consumers not allowed on workqueue stream",
);
pub const QUEUE_FILTER_NOT_UNIQUE: ApiError =
    fixed(400, 10100, "filtered consumer not unique on workqueue stream");
pub const QUEUE_NEEDS_DELIVER_ALL: ApiError =
    fixed(400, 10101, "consumer must be deliver all on workqueue stream");

pub fn invalid_reset(reason: &str) -> ApiError {
    worded(400, 10204, format!("invalid reset: {reason}"))
}

pub fn sampling(text: &str) -> ApiError {
    worded(
        400,
        10095,
        format!(
            "failed to parse consumer sampling configuration: strconv.Atoi: parsing {text:?}: invalid syntax"
        ),
    )
}

pub fn max_ack_pending_exceeds(limit: i64) -> ApiError {
    worded(
        400,
        10121,
        format!("consumer max ack pending exceeds system limit of {limit}"),
    )
}

pub fn inactive_threshold_exceeds(limit: i64) -> ApiError {
    let limit = Duration::from_nanos(limit.unsigned_abs());
    worded(
        400,
        10153,
        format!("consumer inactive threshold exceeds system limit of {limit:?}"),
    )
}
