//! Files and their durability: a file counts as there only once its directory entry is synced too.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

/// What streams hold is nobody else's business on the machine.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const SEGMENT_SUFFIX: &str = ".seg";

/// Creates `path` and what is missing above it, and syncs the entry.
pub fn create_directory(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let created = DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path);
    created.map_err(StoreError::io("create directory", path))?;
    path.parent().map_or(Ok(()), sync_directory)
}

pub fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::io("sync directory", path))
}

/// A new file for appending and reading. Its entry is durable only after [`sync_directory`].
pub fn create_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(StoreError::io("create", path))
}

pub fn open_or_create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE);
    options.open(path).map_err(StoreError::io("open", path))
}

pub fn open_file(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(StoreError::io("open", path))
}

/// Puts `content` in place of `path` so that a crash leaves either the old or the new, never a mixture.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let staged = path.with_extension("new");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", staged)(error));
        }
        _ => {}
    }
    let mut file = create_file(&staged)?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(StoreError::io("write", &staged))?;
    fs::rename(&staged, path).map_err(StoreError::io("replace", path))?;
    path.parent().map_or(Ok(()), sync_directory)
}

pub fn remove_file(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(StoreError::io("remove", path))
}

pub fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016}{SEGMENT_SUFFIX}"))
}

/// The numbers of the segments in `directory`, in order.
pub fn list_segments(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let names = list(directory)?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The names of the entries in `directory`, as far as they are UTF-8, which all of ours are.
pub fn list(directory: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(StoreError::io("list", directory))? {
        let entry = entry.map_err(StoreError::io("list", directory))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}
