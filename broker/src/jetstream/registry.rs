//! All streams: by name, by subject, and on disk.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use serde::{Deserialize, Serialize};

use super::api_error::{self, ApiError};
use super::config::{Storage, StreamConfig};
use super::handle::StreamHandle;
use super::stream::{self, Stream, StreamMeta};
use super::{OpenError, Shared};
use crate::router::Trie;
use crate::store::folder::{self, Folder, GONE_SUFFIX, MemoryFolder, OsFolder};
use crate::store::{StoreError, directory};
use crate::subject::Filter;

const LOCK_FILE: &str = "broker.lock";
const FORMAT_FILE: &str = "format.json";
const STREAMS_DIRECTORY: &str = "streams";
/// A stream's directory that is not finished yet.
const NEW_SUFFIX: &str = "new";
const FORMAT: u32 = 1;

#[derive(Debug, Default)]
pub struct Registry {
    by_name: BTreeMap<String, Registered>,
    interest: Trie<StreamHandle>,
    /// Directories are numbered: a stream's name never becomes a path.
    next_id: u64,
}

#[derive(Debug)]
struct Registered {
    handle: StreamHandle,
    filters: Vec<Filter>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

/// Locks the store directory for this process and checks its format.
pub fn claim(root: &Path) -> Result<File, OpenError> {
    let unusable = |source: StoreError| OpenError::NotWritable {
        path: root.to_owned(),
        source,
    };
    directory::create_directory(root).map_err(unusable)?;
    let lock = directory::open_or_create(&root.join(LOCK_FILE)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked {
                path: root.to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => {
            return Err(unusable(StoreError::io("lock", root.join(LOCK_FILE))(error)));
        }
    }
    let path = root.join(FORMAT_FILE);
    if path.exists() {
        let json = fs::read(&path).map_err(StoreError::io("read", &path))?;
        let Format { format } = serde_json::from_slice(&json).map_err(|error| StoreError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if format > FORMAT {
            return Err(StoreError::NewerFormat {
                path,
                found: format,
                supported: FORMAT,
            }
            .into());
        }
    } else {
        let json = serde_json::to_vec(&Format { format: FORMAT }).unwrap_or_default();
        folder::replace(&OsFolder::new(root), FORMAT_FILE, &json).map_err(unusable)?;
    }
    directory::create_directory(&root.join(STREAMS_DIRECTORY)).map_err(unusable)?;
    Ok(lock)
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams_directory(&self) -> PathBuf {
        self.root.join(STREAMS_DIRECTORY)
    }

    /// Opens every stream on disk. Directories that were being made or removed are cleared away.
    pub fn open_all(self: &Arc<Self>) -> Result<(), StoreError> {
        let parent = self.streams_directory();
        let mut ids = Vec::new();
        let names = directory::list(&parent).map_err(StoreError::io("list", &parent))?;
        for name in names {
            let path = parent.join(&name);
            let is_unfinished = [GONE_SUFFIX, NEW_SUFFIX]
                .iter()
                .any(|suffix| path.extension().is_some_and(|extension| extension == *suffix));
            if is_unfinished {
                fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
            } else if let Ok(id) = name.parse::<u64>() {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        for id in ids {
            let path = parent.join(id.to_string());
            let opened = stream::open(Arc::new(OsFolder::new(path)), self.around.clone())?;
            self.register(id, opened);
        }
        Ok(())
    }

    pub fn find(&self, name: &str) -> Option<StreamHandle> {
        self.read().by_name.get(name).map(|stream| stream.handle.clone())
    }

    pub fn handles(&self) -> Vec<StreamHandle> {
        self.read()
            .by_name
            .values()
            .map(|stream| stream.handle.clone())
            .collect()
    }

    pub fn handles_overlapping(&self, filter: &Filter) -> Vec<StreamHandle> {
        let registry = self.read();
        let overlaps = |stream: &&Registered| stream.filters.iter().any(|other| other.overlaps(filter));
        registry
            .by_name
            .values()
            .filter(overlaps)
            .map(|stream| stream.handle.clone())
            .collect()
    }

    /// The stream that stores what is published on `subject`.
    pub fn capturing(&self, subject: &[u8]) -> Option<StreamHandle> {
        let registry = self.read();
        let mut found = None;
        registry
            .interest
            .for_each_match(subject, |handle| found = Some(handle.clone()));
        found
    }

    /// No two streams may store the same message.
    pub fn check_overlap(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let overlaps = config
            .filters()
            .iter()
            .flat_map(|filter| self.handles_overlapping(filter))
            .any(|other| other.name() != config.name);
        if overlaps {
            Err(api_error::SUBJECTS_OVERLAP)
        } else {
            Ok(())
        }
    }

    pub fn create(self: &Arc<Self>, config: &StreamConfig) -> Result<StreamHandle, StoreError> {
        let id = self.read().next_id.max(1);
        let meta = StreamMeta::new(config, self.around.clock.now().wall);
        let folder: Arc<dyn Folder> = match config.storage {
            Storage::File => Arc::new(self.create_folder(id, &meta)?),
            Storage::Memory => {
                let folder = MemoryFolder::default();
                meta.write(&folder)?;
                Arc::new(folder)
            }
        };
        let opened = stream::open(folder, self.around.clone())?;
        Ok(self.register(id, opened))
    }

    /// Made under a provisional name and renamed when complete.
    fn create_folder(&self, id: u64, meta: &StreamMeta) -> Result<OsFolder, StoreError> {
        let parent = self.streams_directory();
        let path = parent.join(id.to_string());
        let staged = path.with_extension(NEW_SUFFIX);
        directory::create_directory(&staged)?;
        meta.write(&OsFolder::new(&staged))?;
        fs::rename(&staged, &path)
            .and_then(|()| directory::sync_directory(&parent))
            .map_err(StoreError::io("rename", &staged))?;
        Ok(OsFolder::new(path))
    }

    fn register(self: &Arc<Self>, id: u64, (stream, handle): (Stream, StreamHandle)) -> StreamHandle {
        let (filters, takes_direct_gets) = (stream.filters(), stream.allows_direct());
        let thread_name = format!("stream-{id}");
        let spawned = thread::Builder::new()
            .name(thread_name)
            .spawn(move || stream.run());
        match spawned {
            Ok(thread) => self
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(thread),
            Err(error) => tracing::error!(stream = handle.name(), %error, "no thread for the stream"),
        }
        handle.set_allows_direct(takes_direct_gets);
        let mut registry = self.write();
        registry.next_id = registry.next_id.max(id + 1);
        for filter in &filters {
            registry.interest.insert(filter, handle.clone());
        }
        registry.by_name.insert(
            handle.name().to_owned(),
            Registered {
                handle: handle.clone(),
                filters,
            },
        );
        drop(registry);
        self.changed();
        handle
    }

    pub fn set_interest(&self, handle: &StreamHandle, filters: &[Filter]) {
        let mut registry = self.write();
        if let Some(registered) = registry.by_name.get_mut(handle.name()) {
            let before = std::mem::replace(&mut registered.filters, filters.to_vec());
            for filter in &before {
                registry
                    .interest
                    .remove(filter, |other| other.name() == handle.name());
            }
            for filter in filters {
                registry.interest.insert(filter, handle.clone());
            }
        }
        drop(registry);
        self.changed();
    }

    /// From now on nobody finds the stream.
    pub fn forget(&self, name: &str) -> Option<StreamHandle> {
        let mut registry = self.write();
        let registered = registry.by_name.remove(name)?;
        for filter in &registered.filters {
            registry.interest.remove(filter, |other| other.name() == name);
        }
        drop(registry);
        self.changed();
        Some(registered.handle)
    }
}
