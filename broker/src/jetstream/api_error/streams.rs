//! What streams are refused for.

use std::fmt::Display;

use super::{ApiError, fixed, worded};

pub const REPLICAS_NEGATIVE: ApiError = fixed(400, 10133, "replicas count cannot be negative");
pub const TTL_INVALID: ApiError = fixed(400, 10165, "invalid per-message TTL");
pub const TTL_DISABLED: ApiError = fixed(400, 10166, "per-message TTL is disabled");
pub const SOURCE_HEADER: ApiError = fixed(400, 10227, "message stream source header is not allowed");
pub const COUNTER_DISABLED: ApiError = fixed(400, 10168, "message counters is disabled");
pub const COUNTER_INCREMENT_MISSING: ApiError = fixed(400, 10169, "message counter increment is missing");
pub const COUNTER_WITH_PAYLOAD: ApiError = fixed(400, 10170, "message counter has payload");
pub const COUNTER_INCREMENT_INVALID: ApiError = fixed(400, 10171, "message counter increment is invalid");
pub const COUNTER_BROKEN: ApiError = fixed(400, 10172, "message counter is broken");
pub const SEALED: ApiError = fixed(400, 10109, "invalid operation on sealed stream");
pub const EXPECTED_SEQUENCE_MISSING: ApiError = fixed(
    400,
    10193,
    "missing sequence for expected last sequence per subject",
);
pub const MIRROR_WITH_SOURCES: ApiError =
    fixed(400, 10031, "stream mirrors can not also contain other sources");
pub const MIRROR_WITH_SUBJECTS: ApiError = fixed(400, 10034, "stream mirrors can not contain subjects");
pub const MIRROR_NOT_UPDATABLE: ApiError =
    fixed(400, 10055, "stream mirror configuration can not be updated");
pub const SOURCE_TWICE: ApiError = fixed(400, 10140, "duplicate source configuration detected");
pub const SOURCE_NAME_INVALID: ApiError = fixed(400, 10141, "sourced stream name is invalid");
pub const MIRROR_NAME_INVALID: ApiError = fixed(400, 10142, "mirrored stream name is invalid");
pub const MIRROR_WITH_FIRST_SEQ: ApiError = fixed(
    400,
    10143,
    "stream mirrors can not have first sequence configured",
);
pub const SOURCE_FILTER_AND_TRANSFORMS: ApiError = fixed(
    400,
    10144,
    "source with multiple subject transforms cannot also have a single subject filter",
);
pub const SOURCE_FILTERS_OVERLAP: ApiError = fixed(400, 10147, "source filters can not overlap");
pub const MIRROR_FILTER_AND_TRANSFORMS: ApiError = fixed(
    400,
    10150,
    "mirror with multiple subject transforms cannot also have a single subject filter",
);
pub const MIRROR_FILTERS_OVERLAP: ApiError = fixed(400, 10152, "mirror subject filters can not overlap");
pub const MIRROR_WITH_COUNTERS: ApiError =
    fixed(400, 10173, "stream mirrors can not also calculate counters");
pub const MIRROR_WITH_SCHEDULES: ApiError =
    fixed(400, 10186, "stream mirrors can not also schedule messages");
pub const SOURCE_WITH_SCHEDULES: ApiError = fixed(400, 10187, "stream source can not also schedule messages");
pub const MIRROR_WITH_ATOMIC: ApiError =
    fixed(400, 10198, "stream mirrors can not also use atomic publishing");
pub const MIRROR_WITH_BATCHES: ApiError =
    fixed(400, 10209, "stream mirrors can not also use batch publishing");

pub fn pedantic(reason: impl Display) -> ApiError {
    worded(400, 10157, format!("pedantic mode: {reason}"))
}

pub fn source_transform_source(reason: impl Display) -> ApiError {
    worded(400, 10145, format!("source transform source: {reason}"))
}

pub fn source_transform(error: impl Display) -> ApiError {
    worded(400, 10146, format!("source transform: {error}"))
}

pub fn mirror_transform_source(reason: impl Display) -> ApiError {
    worded(400, 10151, format!("mirror transform source: {reason}"))
}

pub fn mirror_transform(error: impl Display) -> ApiError {
    worded(400, 10154, format!("mirror transform: {error}"))
}

pub fn stream_transform_source(reason: impl Display) -> ApiError {
    worded(400, 10155, format!("stream transform source: {reason}"))
}

pub fn stream_transform(error: impl Display) -> ApiError {
    worded(400, 10156, format!("stream transform: {error}"))
}
