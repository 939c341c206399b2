//! A directory of the operating system.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Folder, StoredFile};
use crate::store::directory;

/// Where a folder goes to be removed: whatever bears this suffix holds nothing promised.
pub const GONE_SUFFIX: &str = "gone";

#[derive(Debug)]
pub struct OsFolder {
    path: PathBuf,
}

impl OsFolder {
    pub fn new(path: impl Into<PathBuf>) -> OsFolder {
        OsFolder { path: path.into() }
    }
}

impl Folder for OsFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        directory::list(&self.path)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(directory::create_file(&self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let path = self.path.join(name);
        Ok(Box::new(File::options().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        directory::sync_directory(&self.path)
    }

    /// Renamed first, so that a crash in between leaves no half stream behind.
    fn destroy(&self) -> io::Result<()> {
        let gone = self.path.with_extension(GONE_SUFFIX);
        fs::rename(&self.path, &gone)?;
        self.path.parent().map_or(Ok(()), directory::sync_directory)?;
        fs::remove_dir_all(&gone)
    }

    fn path(&self, name: &str) -> PathBuf {
        // Joining an empty name would leave a slash behind.
        if name.is_empty() {
            self.path.clone()
        } else {
            Path::join(&self.path, name)
        }
    }
}

impl StoredFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)?;
        self.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
