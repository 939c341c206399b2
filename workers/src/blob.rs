//! Raw messages on disk, named by what they hold.
//!
//! ```text
//! <root>/ab/abcdef…64 hex digits     one message, mode 0600, never changed
//! <root>/tmp/<uuid>                  a write that has not finished, or that a crash cut short
//! ```
//!
//! A blob is written to `tmp/`, synced, renamed to its name and its directory synced, in this order: whoever sees
//! the name sees the whole content, and a returned [`BlobRef`] survives a power cut. Putting the same bytes again
//! is free. Files left in `tmp/` are harmless and are removed when the store is opened.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::messages::BlobRef;

/// A store was opened, written or read without success.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob store: cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("blob {0} is not in the store")]
    Missing(String),
    #[error("blob {expected} holds other bytes than its name says ({found})")]
    Damaged { expected: String, found: String },
    #[error("{0:?} is not a blob's name")]
    BadName(String),
    #[error("blob store: the write was interrupted")]
    Interrupted,
}

/// The content-addressed store; clones share the directory.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: PathBuf,
}

impl BlobStore {
    /// Opens the store, creating its directory (0700) where it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        let tmp = root.join("tmp");
        make_dir(&tmp)?;
        for entry in fs::read_dir(&tmp).map_err(failed("list", &tmp))? {
            let path = entry.map_err(failed("list", &tmp))?.path();
            // Another process may be writing it this moment; it would only have to fetch its mail again.
            if is_stale(&path) {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(Self { root })
    }

    /// Stores the bytes durably and says under which name.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<BlobRef, BlobError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.put_blocking(&bytes))
            .await
            .map_err(|_| BlobError::Interrupted)?
    }

    /// Reads a blob whole and checks that it still is what its name says.
    pub async fn get(&self, blob: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let store = self.clone();
        let name = blob.sha256.clone();
        tokio::task::spawn_blocking(move || store.get_blocking(&name))
            .await
            .map_err(|_| BlobError::Interrupted)?
    }

    fn put_blocking(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let sha256 = hash(bytes);
        let blob = BlobRef {
            size: bytes.len() as u64,
            sha256,
        };
        let path = self.path(&blob.sha256)?;
        let dir = path.parent().unwrap_or(&self.root).to_path_buf();
        if is_whole(&path, blob.size) {
            // Whoever renamed it a moment ago may not have come to this sync yet.
            sync_dir(&dir)?;
            return Ok(blob);
        }
        make_dir(&dir)?;
        let tmp = self.root.join("tmp").join(Uuid::new_v4().to_string());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)
            .map_err(failed("create", &tmp))?;
        file.write_all(bytes).map_err(failed("write", &tmp))?;
        file.sync_all().map_err(failed("sync", &tmp))?;
        fs::rename(&tmp, &path).map_err(failed("rename", &path))?;
        sync_dir(&dir)?;
        Ok(blob)
    }

    fn get_blocking(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        let path = self.path(name)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(BlobError::Missing(name.to_owned())),
            Err(e) => return Err(failed("read", &path)(e)),
        };
        let found = hash(&bytes);
        if found != name {
            return Err(BlobError::Damaged {
                expected: name.to_owned(),
                found,
            });
        }
        Ok(bytes)
    }

    /// Names come back from payloads, so they are checked before they become a path.
    fn path(&self, name: &str) -> Result<PathBuf, BlobError> {
        let is_hash = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash {
            return Err(BlobError::BadName(name.chars().take(80).collect()));
        }
        Ok(self.root.join(&name[..2]).join(name))
    }
}

/// SHA-256 in lower-case hex.
pub fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A file of the right length under the right name was renamed there whole; anything else is written anew.
fn is_whole(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == size)
}

fn is_stale(path: &Path) -> bool {
    const HOUR: u64 = 3600;
    fs::metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > HOUR))
}

fn make_dir(dir: &Path) -> Result<(), BlobError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("create", dir))?;
    // The new directory's own name must survive a crash too.
    match dir.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), BlobError> {
    // A relative root such as `blobs` has the empty path as its parent: the current directory.
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(failed("sync", dir))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError + use<> {
    let path = path.to_owned();
    move |source| BlobError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_put_comes_back_under_the_name_of_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().join("blobs")).unwrap();
        let blob = store.put(b"abc".to_vec()).await.unwrap();
        assert_eq!(
            blob.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(blob.size, 3);
        assert_eq!(
            store.put(b"abc".to_vec()).await.unwrap(),
            blob,
            "putting again changes nothing"
        );
        assert_eq!(store.get(&blob).await.unwrap(), b"abc");
        let path = store.path(&blob.sha256).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn damage_and_absence_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        let blob = store.put(b"abc".to_vec()).await.unwrap();
        fs::write(store.path(&blob.sha256).unwrap(), b"abd").unwrap();
        assert!(matches!(store.get(&blob).await, Err(BlobError::Damaged { .. })));
        // A file cut short by a crash of the disk is healed by the next put of the same mail.
        fs::write(store.path(&blob.sha256).unwrap(), b"a").unwrap();
        store.put(b"abc".to_vec()).await.unwrap();
        assert_eq!(store.get(&blob).await.unwrap(), b"abc");
        let absent = BlobRef {
            sha256: hash(b"never put"),
            size: 9,
        };
        assert!(matches!(store.get(&absent).await, Err(BlobError::Missing(_))));
    }

    #[tokio::test]
    async fn a_name_from_a_payload_cannot_leave_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        for name in [
            "",
            "../../etc/passwd",
            &"A".repeat(64),
            &format!("../{}", "a".repeat(61)),
            &"é".repeat(32),
        ] {
            let blob = BlobRef {
                sha256: name.to_owned(),
                size: 1,
            };
            assert!(
                matches!(store.get(&blob).await, Err(BlobError::BadName(_))),
                "{name:?}"
            );
        }
    }
}
