//! `postroom demo`: the whole pipeline on a mailbox full of awkward mail, in one process, with nothing installed.
//!
//! ```text
//! corpus  the mails, and what must become of each; pure
//! stage   broker, development mailbox and data folder
//! run     from the first mail to the summary
//! report  the summary: from the database, for people and for machines
//! ```

pub mod corpus;
mod report;
mod run;
mod stage;

pub use report::Report;
pub use run::{DemoError, DemoOptions, run};
pub use stage::StageError;
