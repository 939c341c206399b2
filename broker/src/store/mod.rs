//! What a stream keeps: its messages and everything its consumers have been promised, in one log.
//!
//! Layout: [`record`] bodies, [`frame`] checksummed envelopes, [`scan`] finding them again after a crash,
//! [`folder`] files and their durability, [`log`] segments, [`index`] where each message lies, and
//! [`StreamStore`], which puts these together. `FORMAT.md` draws the bytes.
//!
//! No tokio here: one thread owns a store and may block on the disk.

pub mod accounting;
mod append;
mod batches;
mod compact;
pub mod directory;
mod entry;
pub mod folder;
pub mod frame;
pub mod index;
pub mod log;
pub mod record;
mod replay;
pub mod scan;
mod scrub;
pub mod segment;
mod stream_store;
mod summary;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use record::{Delivery, Part, Record, StoredMessage};
pub use scan::Damage;
pub use stream_store::{Loaded, Recovery, StreamStore};

/// Position of a message in its stream; the first one is 1, and none is ever given twice.
pub type Seq = u64;
/// Nanoseconds since the Unix epoch.
pub type Nanos = i64;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the log has failed and takes no more writes: {0}")]
    Poisoned(String),
    #[error("message {seq} is damaged on disk ({path} at byte {offset})")]
    Damaged { seq: Seq, path: PathBuf, offset: u64 },
    #[error("{path} is written in format {found}, this server reads up to {supported}")]
    NewerFormat {
        path: PathBuf,
        found: u32,
        supported: u32,
    },
    #[error("{path} is not what this server wrote: {reason}")]
    Unreadable { path: PathBuf, reason: String },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io { action, path, source }
    }
}
