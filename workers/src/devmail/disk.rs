//! Durable file writes. A file appears under its name whole or not at all, and stays there across a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Unfinished writes carry this prefix; a start sweeps them away.
const UNFINISHED: &str = ".tmp-";

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    pub action: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// Turns an I/O error into one that names what was tried, and on what.
pub(super) fn on<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> DiskError + 'p {
    move |source| DiskError {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Creates `dir` and its parents, durably.
pub(super) fn create_dir(dir: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(dir).map_err(on("create the directory", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Makes the names in `dir` (created, renamed, removed) durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(on("sync the directory", dir))
}

/// Writes a file under its final name; the caller makes the name durable with [`sync_dir`].
pub(super) fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let unfinished = dir.join(format!("{UNFINISHED}{name}"));
    let finished = dir.join(name);
    let mut file = File::create(&unfinished).map_err(on("create", &unfinished))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(on("write", &unfinished))?;
    fs::rename(&unfinished, &finished).map_err(on("rename into place", &finished))
}

/// Replaces a small file atomically and durably.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    write_file(dir, name, bytes)?;
    sync_dir(dir)
}

/// The text of a small file, or `None` where there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, DiskError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(on("read", path)(error)),
    }
}

/// The names in `dir` in no order. Leftovers of unfinished writes are removed, not listed.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(on("list", dir))? {
        let entry = entry.map_err(on("list", dir))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with(UNFINISHED) {
            fs::remove_file(entry.path()).map_err(on("remove", &entry.path()))?;
        } else {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_read_back_and_leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        replace_file(dir.path(), "uidnext", b"7\n").unwrap();
        replace_file(dir.path(), "uidnext", b"8\n").unwrap();
        fs::write(dir.path().join(".tmp-half"), b"torn").unwrap();

        assert_eq!(names(dir.path()).unwrap(), ["uidnext"]);
        assert_eq!(
            read_text(&dir.path().join("uidnext")).unwrap().as_deref(),
            Some("8\n")
        );
        assert_eq!(read_text(&dir.path().join("absent")).unwrap(), None);
        assert!(!dir.path().join(".tmp-half").exists());
    }

    #[test]
    fn an_error_names_the_file() {
        let error = read_text(Path::new("/")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /: "), "{error}");
    }
}
