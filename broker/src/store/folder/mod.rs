//! The files of one stream, and as much of a file system as the store needs.
//!
//! [`OsFolder`] is a directory on disk, [`MemoryFolder`] holds memory streams, and tests put a disk that loses, tears
//! and reorders what was not synced in the same place. So one log serves all, and one simulator tests all of it.

mod memory;
mod os;
#[cfg(test)]
pub mod simulated;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

use super::StoreError;
pub use memory::MemoryFolder;
pub use os::{GONE_SUFFIX, OsFolder};

const SEGMENT_SUFFIX: &str = ".seg";
const SUMMARY_SUFFIX: &str = ".sum";
/// What is not finished yet has this suffix and counts for nothing.
pub const STAGED_SUFFIX: &str = ".new";

/// A flat directory. Creating, renaming and removing are durable after [`Folder::sync`].
pub trait Folder: Debug + Send + Sync {
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; there may be none of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>>;
    /// Puts `from` in the place of `to`: after a crash there is one of the two, whole.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Removes the folder itself; after a crash it is there as a whole or not at all.
    fn destroy(&self) -> io::Result<()>;
    /// Where a person finds the file.
    fn path(&self, name: &str) -> PathBuf;
}

/// Bytes in a [`Folder`], durable after [`StoredFile::sync`].
pub trait StoredFile: Debug + Send {
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to `size`, durably.
    fn truncate(&self, size: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

pub fn segment_name(number: u64) -> String {
    format!("{number:016}{SEGMENT_SUFFIX}")
}

pub fn summary_name(number: u64) -> String {
    format!("{number:016}{SUMMARY_SUFFIX}")
}

/// A summary without its segment says nothing to anybody, so it may as well stay.
pub fn remove_summary(folder: &dyn Folder, number: u64) {
    let name = summary_name(number);
    match folder.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(file = %folder.path(&name).display(), %error, "not removed");
        }
        _ => {}
    }
}

/// The numbers of the segments in `folder`, in order.
pub fn list_segments(folder: &dyn Folder) -> Result<Vec<u64>, StoreError> {
    let names = folder.list().map_err(StoreError::io("list", folder.path("")))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes what was never put in place, and summaries of segments other than `known`.
pub fn clear_leftovers(folder: &dyn Folder, known: &[u64]) -> Result<(), StoreError> {
    let names = folder.list().map_err(StoreError::io("list", folder.path("")))?;
    for name in names {
        let of = name
            .strip_suffix(SUMMARY_SUFFIX)
            .and_then(|stem| stem.parse().ok());
        let is_orphan = of.is_some_and(|number: u64| !known.contains(&number));
        if is_orphan || name.ends_with(STAGED_SUFFIX) {
            let removed = folder.remove(&name);
            removed.map_err(StoreError::io("remove", folder.path(&name)))?;
        }
    }
    Ok(())
}

pub fn read(folder: &dyn Folder, name: &str) -> Result<Vec<u8>, StoreError> {
    let read = || {
        let file = folder.open(name)?;
        let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; size];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    read().map_err(StoreError::io("read", folder.path(name)))
}

/// Puts `content` in place of `name` so that a crash leaves either the old or the new, never a mixture.
pub fn replace(folder: &dyn Folder, name: &str, content: &[u8]) -> Result<(), StoreError> {
    let staged = format!("{name}{STAGED_SUFFIX}");
    match folder.remove(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", folder.path(&staged))(error));
        }
        _ => {}
    }
    let write = || {
        let file = folder.create(&staged)?;
        file.write_at(content, 0)?;
        file.sync()
    };
    write().map_err(StoreError::io("write", folder.path(&staged)))?;
    folder
        .rename(&staged, name)
        .and_then(|()| folder.sync())
        .map_err(StoreError::io("replace", folder.path(name)))
}
