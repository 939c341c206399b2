//! The API's errors: HTTP-like code, JetStream error code, and the text, as nats-server numbers them.

mod consumers;
mod messages;
mod streams;

use std::borrow::Cow;

use serde::Serialize;

pub use consumers::*;
pub use messages::*;
pub use streams::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiError {
    pub code: u16,
    pub err_code: u16,
    pub description: Cow<'static, str>,
}

const fn fixed(code: u16, err_code: u16, description: &'static str) -> ApiError {
    ApiError {
        code,
        err_code,
        description: Cow::Borrowed(description),
    }
}

pub const ACCOUNT_RESOURCES: ApiError = fixed(400, 10002, "resource limits exceeded for account");
pub const BAD_REQUEST: ApiError = fixed(400, 10003, "bad request");
pub const CONSUMER_NOT_FOUND: ApiError = fixed(404, 10014, "consumer not found");
pub const DURABLE_NAME_MISMATCH: ApiError = fixed(
    400,
    10017,
    "consumer name in subject does not match durable name in request",
);
pub const DURABLE_NAME_NOT_SET: ApiError = fixed(
    400,
    10018,
    "consumer expected to be durable but a durable name was not set",
);
pub const EPHEMERAL_WITH_DURABLE_NAME: ApiError = fixed(
    400,
    10020,
    "consumer expected to be ephemeral but a durable name was set in request",
);
pub const MAX_CONSUMERS: ApiError = fixed(400, 10026, "maximum consumers limit reached");
pub const MAX_STREAMS: ApiError = fixed(400, 10027, "maximum number of streams reached");
pub const NO_MESSAGE: ApiError = fixed(404, 10037, "no message found");
pub const MESSAGE_TOO_LARGE: ApiError = fixed(400, 10054, "message size exceeds maximum allowed");
pub const STREAM_NAME_MISMATCH: ApiError = fixed(400, 10056, "stream name in subject does not match request");
pub const STREAM_NAME_IN_USE: ApiError = fixed(
    400,
    10058,
    "stream name already in use with a different configuration",
);
pub const STREAM_NOT_FOUND: ApiError = fixed(404, 10059, "stream not found");
pub const EXPECTED_STREAM: ApiError = fixed(400, 10060, "expected stream does not match");
pub const SUBJECTS_OVERLAP: ApiError = fixed(400, 10065, "subjects overlap with an existing stream");
pub const REPLICAS: ApiError = fixed(500, 10074, "replicas > 1 not supported in non-clustered mode");
pub const MAX_WAITING_NOT_POSITIVE: ApiError = fixed(400, 10087, "consumer max waiting needs to be positive");
pub const CONSUMER_NAME_TOO_LONG: ApiError =
    fixed(400, 10102, "consumer name is too long, maximum allowed is 255");
pub const CONSUMER_NAME_INVALID: ApiError = fixed(400, 10103, "durable name can not contain '.', '*', '>'");
pub const BACKOFF_LONGER_THAN_DELIVERIES: ApiError = fixed(
    400,
    10116,
    "max deliver is required to be > length of backoff values",
);
pub const CONSUMER_NAME_WITH_SEPARATORS: ApiError =
    fixed(400, 10127, "Consumer name can not contain path separators");
pub const STREAM_NAME_WITH_SEPARATORS: ApiError =
    fixed(400, 10128, "Stream name can not contain path separators");
pub const FILTER_MISMATCH: ApiError = fixed(
    400,
    10131,
    "Consumer create request did not match filtered subject from create subject",
);
pub const DURABLE_AND_NAME_DIFFER: ApiError = fixed(
    400,
    10132,
    "Consumer Durable and Name have to be equal if both are provided",
);
pub const FILTER_AND_FILTERS: ApiError = fixed(
    400,
    10136,
    "consumer cannot have both FilterSubject and FilterSubjects specified",
);
pub const FILTERS_IN_SUBJECT: ApiError = fixed(
    400,
    10137,
    "consumer with multiple subject filters cannot use subject based API",
);
pub const FILTERS_OVERLAP: ApiError = fixed(400, 10138, "consumer subject filters cannot overlap");
pub const FILTER_EMPTY: ApiError = fixed(400, 10139, "consumer filter in FilterSubjects cannot be empty");
pub const CONSUMER_EXISTS: ApiError = fixed(400, 10148, "consumer already exists");
pub const CONSUMER_DOES_NOT_EXIST: ApiError = fixed(400, 10149, "consumer does not exist");
pub const ACK_WAIT_NOT_POSITIVE: ApiError = fixed(400, 10183, "consumer ack wait needs to be positive");
pub const BACKOFF_NOT_POSITIVE: ApiError = fixed(400, 10184, "consumer backoff needs to be positive");
pub const API_LEVEL_REQUIRED: ApiError = fixed(412, 10185, "JetStream minimum api level required");

fn worded(code: u16, err_code: u16, description: impl Into<String>) -> ApiError {
    ApiError {
        code,
        err_code,
        description: Cow::Owned(description.into()),
    }
}

pub fn invalid_json(reason: impl std::fmt::Display) -> ApiError {
    worded(400, 10025, format!("invalid JSON: {reason}"))
}

/// The message may not replace others, for what the text says.
pub fn roll_up(reason: impl Into<String>) -> ApiError {
    worded(500, 10111, reason)
}

/// The stream's configuration is refused, for what the text says.
pub fn stream_config(reason: impl Into<String>) -> ApiError {
    worded(500, 10052, reason)
}

/// The consumer's configuration is refused, for what the text says.
pub fn consumer_config(reason: impl Into<String>) -> ApiError {
    worded(400, 10094, reason)
}

pub fn consumer_create(reason: impl Into<String>) -> ApiError {
    worded(500, 10012, reason)
}

pub fn stream_create(reason: impl Into<String>) -> ApiError {
    worded(500, 10049, reason)
}

pub fn stream_purge(reason: impl Into<String>) -> ApiError {
    worded(500, 10110, reason)
}

pub fn stream_delete(reason: impl Into<String>) -> ApiError {
    worded(500, 10050, reason)
}

pub fn message_delete(reason: impl Into<String>) -> ApiError {
    worded(500, 10057, reason)
}

/// The message could not be stored.
pub fn store_failed(reason: impl Into<String>) -> ApiError {
    worded(503, 10077, reason)
}

pub fn wrong_last_id(id: &[u8]) -> ApiError {
    worded(
        400,
        10070,
        format!("wrong last msg ID: {}", String::from_utf8_lossy(id)),
    )
}

pub fn wrong_last_sequence(seq: u64) -> ApiError {
    worded(400, 10071, format!("wrong last sequence: {seq}"))
}
