//! `postroom bench worker`: how fast messages go through a handler, and whether each of them did, once.
//!
//! ```text
//! options   what is asked for
//! parcel    the message, its handler, and the count that the handler keeps of its own
//! disk      which file system, and how fast it syncs
//! stage     broker, database and folder of one run
//! measure   publish, drain, pace: one run with a clock beside it
//! store     what the database says about its durability; what a run leaves there, taken away
//! report    the numbers, for people and for machines
//! run       all runs, from the first to the report
//! ```

mod disk;
mod measure;
mod options;
mod parcel;
mod report;
mod run;
mod stage;
mod store;

pub use options::{BenchOptions, OptionsError, Percent, Work};
pub use report::Report;
pub use run::{BenchError, run};
