//! What messages are refused for that come in batches or by schedule.

use super::{ApiError, fixed, worded};

pub const WRONG_LAST_SEQUENCE: ApiError = fixed(400, 10164, "wrong last sequence");
pub const BATCHES_DISABLED: ApiError = fixed(400, 10174, "atomic publish is disabled");
pub const BATCH_SEQUENCE_MISSING: ApiError = fixed(400, 10175, "atomic publish sequence is missing");
pub const BATCH_INCOMPLETE: ApiError = fixed(400, 10176, "atomic publish batch is incomplete");
pub const BATCH_ID_INVALID: ApiError = fixed(400, 10179, "atomic publish batch ID is invalid");
pub const BATCH_COMMIT_INVALID: ApiError = fixed(400, 10200, "atomic publish batch commit is invalid");
pub const BATCH_WITH_DUPLICATE: ApiError =
    fixed(400, 10201, "atomic publish batch contains duplicate message id");
pub const BATCHES_TOO_MANY: ApiError = fixed(429, 10210, "atomic publish too many inflight");
pub const SCHEDULES_DISABLED: ApiError = fixed(400, 10188, "message schedules is disabled");

pub const SCHEDULE_PATTERN: ApiError = fixed(400, 10189, "message schedules pattern is invalid");
pub const SCHEDULE_TARGET: ApiError = fixed(400, 10190, "message schedules target is invalid");
pub const SCHEDULE_TTL: ApiError = fixed(400, 10191, "message schedules invalid per-message TTL");
pub const SCHEDULE_ROLL_UP: ApiError = fixed(400, 10192, "message schedules invalid rollup");
pub const SCHEDULE_SOURCE: ApiError = fixed(400, 10203, "message schedules source is invalid");
pub const SCHEDULER_INVALID: ApiError = fixed(400, 10212, "message schedules invalid scheduler");
pub const SCHEDULE_TIME_ZONE: ApiError = fixed(400, 10223, "message schedules time zone is invalid");

pub fn batch_header_unsupported(header: &str) -> ApiError {
    worded(
        400,
        10177,
        format!("atomic publish unsupported header used: {header}"),
    )
}

pub fn batch_too_large(max: u64) -> ApiError {
    worded(400, 10199, format!("atomic publish batch is too large: {max}"))
}
