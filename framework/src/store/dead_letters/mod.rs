//! Table `dead_letters`: every message that failed for good, kept as it was received until a person has dealt with it.
//!
//! `dead → replaying → replayed`, or back to `dead` when the replay fails too; `dead → discarded`. Each death is on
//! `emails.dlq` as well, and each act of a person is in `dead_letter_actions`.

mod discard;
mod edit;
mod filter;
mod foreign;
mod groups;
mod letter;
mod purge;
mod replay;
mod rounds;
mod row;
mod trail;

use std::time::SystemTime;

pub use discard::{Discard, discard};
pub use edit::{Edit, edit};
pub use filter::{Extent, Filter, extent, ids, list, newest, page};
pub(crate) use foreign::{insert_foreign, is_known, letter_of_termination, termination};
pub use groups::{Group, groups};
pub(crate) use letter::Burial;
pub(super) use letter::insert;
pub(crate) use letter::message_id_in;
pub use letter::{Letter, Reason};
pub use purge::purge;
pub use replay::{Replay, replay};
pub(crate) use replay::{replay_ended_elsewhere, replay_refused, replayed, replayed_key, resent};
pub use rounds::{MAX_ROUNDS, Round, rounds};
pub use row::{DeadLetter, find};
pub use trail::{Action, trail};

use super::StoreError;

/// Now, as people read it.
pub(crate) fn now_text() -> String {
    time_text(SystemTime::now())
}

/// As this table tells the time: RFC 3339 with milliseconds, UTC. All of one length, so that their order is that of time.
#[must_use]
pub fn time_text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// Postgres keeps no NUL in TEXT; an error that quotes hostile bytes must not keep its letter out of the table.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn unreadable_headers(source: serde_json::Error) -> StoreError {
    StoreError::Json {
        table: "dead_letters",
        column: "headers",
        source,
    }
}
