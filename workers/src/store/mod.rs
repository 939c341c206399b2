//! The workers' own tables, one file each. Every statement is one text for SQLite and Postgres; see `postroom::store`.

pub mod actions;
pub mod held;
pub mod known;
pub mod mailboxes;
pub mod mails;
pub mod outgoing;
pub mod replies;
pub mod sends;
pub mod sent_per_day;
pub mod sign_ins;
pub mod suppressions;
