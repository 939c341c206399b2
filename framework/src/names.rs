//! The metrics, by name. Labels are bounded: handler ids, subjects of declared messages, and fixed words.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Outbox messages confirmed by the broker, by `subject`.
pub(crate) const PUBLISHED: &str = "postroom_published_total";
/// Deliveries taken up, by `handler`.
pub(crate) const CONSUMED: &str = "postroom_consumed_total";
/// Settled deliveries, by `handler` and `outcome`: `done`, `retry`, `snooze`, `pause`, `dead`, `discarded`, `released`.
pub(crate) const SETTLED: &str = "postroom_settled_total";
/// Retries, by `handler` and error `class`.
pub(crate) const RETRIES: &str = "postroom_retries_total";
/// Dead letters, by `handler` and `reason`.
pub(crate) const DEAD_LETTERS: &str = "postroom_dead_letters_total";
/// Deliveries of work that was done before, by `handler`.
pub(crate) const DUPLICATES: &str = "postroom_duplicates_suppressed_total";
/// Deliveries whose lease was lost, by `handler`: their writes were rolled back.
pub(crate) const FENCED: &str = "postroom_fenced_total";
/// Acks that the broker did not confirm, by `handler`.
pub(crate) const ACKS_UNCONFIRMED: &str = "postroom_acks_unconfirmed_total";
/// Whether a handler rests, by `handler`: 1 or 0.
pub(crate) const PAUSED: &str = "postroom_paused";
/// Handlers that do not end though their time is up, by `handler`.
pub(crate) const STUCK: &str = "postroom_stuck_handlers";
/// Age of the oldest message that a handler has still to settle, by `handler`.
pub(crate) const LAG: &str = "postroom_lag_seconds";
/// Time in the handler, by `handler`.
pub(crate) const HANDLER_SECONDS: &str = "postroom_handler_seconds";
/// Time from the commit to the confirmed ack, by `handler`.
pub(crate) const ACK_SECONDS: &str = "postroom_ack_seconds";
/// Transactions of the group commit.
pub(crate) const GROUP_COMMITS: &str = "postroom_group_commits_total";
/// Writes in each of them.
pub(crate) const GROUP_SIZE: &str = "postroom_group_size";
/// Rows waiting in the outbox.
pub(crate) const OUTBOX_ROWS: &str = "postroom_outbox_rows";
/// Age of the oldest of them.
pub(crate) const OUTBOX_AGE: &str = "postroom_outbox_age_seconds";
/// Messages of schedules, by `schedule`.
pub(crate) const FIRES: &str = "postroom_schedule_fires_total";

/// Tells the recorder what each means.
pub(crate) fn describe() {
    describe_counter!(PUBLISHED, Unit::Count, "Outbox messages confirmed by the broker");
    describe_counter!(CONSUMED, Unit::Count, "Deliveries taken up");
    describe_counter!(SETTLED, Unit::Count, "Deliveries settled, by outcome");
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Failed attempts to be tried again, by error class"
    );
    describe_counter!(DEAD_LETTERS, Unit::Count, "Messages dead-lettered, by reason");
    describe_counter!(DUPLICATES, Unit::Count, "Deliveries of work that was done before");
    describe_counter!(
        FENCED,
        Unit::Count,
        "Deliveries whose lease was lost and whose writes were rolled back"
    );
    describe_counter!(
        ACKS_UNCONFIRMED,
        Unit::Count,
        "Acks that the broker did not confirm"
    );
    describe_gauge!(
        STUCK,
        Unit::Count,
        "Handlers that do not end though their time is up"
    );
    describe_gauge!(PAUSED, Unit::Count, "1 while the handler is paused");
    describe_gauge!(
        LAG,
        Unit::Seconds,
        "Age of the oldest message that the handler has still to settle"
    );
    describe_histogram!(HANDLER_SECONDS, Unit::Seconds, "Time in the handler");
    describe_histogram!(
        ACK_SECONDS,
        Unit::Seconds,
        "Time from the commit to the confirmed ack"
    );
    describe_counter!(FIRES, Unit::Count, "Messages of schedules");
    describe_counter!(
        GROUP_COMMITS,
        Unit::Count,
        "Transactions that deliveries share for their writes"
    );
    describe_histogram!(GROUP_SIZE, Unit::Count, "Writes in each shared transaction");
    describe_gauge!(OUTBOX_ROWS, Unit::Count, "Messages waiting in the outbox");
    describe_gauge!(
        OUTBOX_AGE,
        Unit::Seconds,
        "Age of the oldest message in the outbox"
    );
}
