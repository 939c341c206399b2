//! All that is kept: each user's folders and the sent box. Disk work runs on blocking threads, behind handles.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio::sync::watch;

use super::config::{StartError, User, is_plain_name};
use super::disk::{self, DiskError};
use super::folder::{Flags, Folder, FolderError, NewMessage, Source, Uid};
use super::sent::{SentBox, SentError, SentMail};

pub(super) const INBOX: &str = "INBOX";

/// Folders that every account has.
const FIRST_FOLDERS: [&str; 3] = [INBOX, "Processed", "Sent"];

/// A client in a CREATE loop must not fill the disk with directories.
const MAX_FOLDERS: usize = 100;

/// Runs disk work where it does not hold up the sockets.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Blocking work is never cancelled, so this carries a panic on.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one file operation followed by its note in memory: a panic in between leaves the truth on disk.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Handle to everything kept under one directory.
#[derive(Debug, Clone)]
pub(super) struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    accounts: Vec<Account>,
    sent: Mutex<SentBox>,
    /// Held for as long as the store lives: two writers would give the same UID twice.
    _lock: File,
}

impl Store {
    pub(super) fn open(dir: &Path, users: Vec<User>) -> Result<Self, StartError> {
        let directory = |source| StartError::Directory {
            dir: dir.to_owned(),
            source,
        };
        disk::create_dir(dir).map_err(directory)?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path)
            .map_err(disk::on("create", &lock_path))
            .map_err(directory)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StartError::Locked { dir: dir.to_owned() }),
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(directory(disk::on("lock", &lock_path)(error)));
            }
        }
        let mut accounts = Vec::with_capacity(users.len());
        for user in users {
            let home = dir.join("users").join(&user.name);
            accounts.push(Account::open(user, home)?);
        }
        let sent = Mutex::new(SentBox::open(&dir.join("sent"))?);
        Ok(Self(Arc::new(Shared {
            accounts,
            sent,
            _lock: lock,
        })))
    }

    pub(super) fn account(&self, name: &str) -> Option<Account> {
        self.0
            .accounts
            .iter()
            .find(|account| account.user().name == name)
            .cloned()
    }

    pub(super) fn login(&self, name: &str, password: &[u8]) -> Option<Account> {
        self.account(name)
            .filter(|account| account.user().password.as_bytes() == password)
    }

    pub(super) fn account_at(&self, address: &str) -> Option<Account> {
        self.0
            .accounts
            .iter()
            .find(|account| account.user().address.eq_ignore_ascii_case(address))
            .cloned()
    }

    pub(super) fn inboxes(&self) -> Vec<FolderHandle> {
        self.0.accounts.iter().filter_map(Account::inbox).collect()
    }

    pub(super) async fn sent(&self) -> Vec<SentMail> {
        let this = self.clone();
        blocking(move || lock(&this.0.sent).mails().to_vec()).await
    }

    pub(super) async fn sent_raw(&self, number: u64) -> Result<Vec<u8>, SentError> {
        let this = self.clone();
        blocking(move || lock(&this.0.sent).raw(number)).await
    }

    pub(super) async fn keep_sent(
        &self,
        from: String,
        to: Vec<String>,
        raw: Arc<[u8]>,
    ) -> Result<u64, SentError> {
        let this = self.clone();
        blocking(move || lock(&this.0.sent).keep(from, to, &raw, Timestamp::now())).await
    }
}

/// Handle to one user's folders.
#[derive(Debug, Clone)]
pub(super) struct Account(Arc<Home>);

#[derive(Debug)]
struct Home {
    user: User,
    dir: PathBuf,
    folders: Mutex<BTreeMap<String, FolderHandle>>,
}

impl Account {
    fn open(user: User, dir: PathBuf) -> Result<Self, StartError> {
        disk::create_dir(&dir).map_err(|source| StartError::Directory {
            dir: dir.clone(),
            source,
        })?;
        let mut names: Vec<String> = FIRST_FOLDERS.iter().map(|name| (*name).to_owned()).collect();
        names.extend(
            disk::names(&dir)
                .map_err(FolderError::from)?
                .into_iter()
                .filter(|name| is_plain_name(name)),
        );
        let mut folders = BTreeMap::new();
        for name in names {
            let folder = Folder::open(&dir.join(&name), fresh_validity())?;
            folders.insert(name, FolderHandle::new(folder));
        }
        Ok(Self(Arc::new(Home {
            user,
            dir,
            folders: Mutex::new(folders),
        })))
    }

    pub(super) fn user(&self) -> &User {
        &self.0.user
    }

    pub(super) fn folder_names(&self) -> Vec<String> {
        lock(&self.0.folders).keys().cloned().collect()
    }

    pub(super) fn folder(&self, name: &str) -> Option<FolderHandle> {
        lock(&self.0.folders).get(name).cloned()
    }

    pub(super) fn inbox(&self) -> Option<FolderHandle> {
        self.folder(INBOX)
    }

    /// Creates a folder. `Ok(false)`: the name cannot be had (taken, not plain, or one too many).
    pub(super) async fn create(&self, name: String) -> Result<bool, FolderError> {
        let this = self.clone();
        blocking(move || {
            let mut folders = lock(&this.0.folders);
            if !is_plain_name(&name) || folders.contains_key(&name) || folders.len() >= MAX_FOLDERS {
                return Ok(false);
            }
            let folder = Folder::open(&this.0.dir.join(&name), fresh_validity())?;
            folders.insert(name, FolderHandle::new(folder));
            Ok(true)
        })
        .await
    }
}

/// RFC 3501 2.3.1.1 suggests the time of creation, which only grows.
fn fresh_validity() -> NonZeroU32 {
    u32::try_from(unix_now())
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}

/// Handle to one folder; tells its watchers of each change.
#[derive(Debug, Clone)]
pub(super) struct FolderHandle(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    folder: Mutex<Folder>,
    version: watch::Sender<u64>,
}

impl FolderHandle {
    fn new(folder: Folder) -> Self {
        let version = watch::Sender::new(folder.version());
        Self(Arc::new(Watched {
            folder: Mutex::new(folder),
            version,
        }))
    }

    /// Runs `work` on the folder, alone.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Folder) -> T + Send + 'static,
    ) -> T {
        let this = self.clone();
        blocking(move || {
            let mut folder = lock(&this.0.folder);
            let done = work(&mut folder);
            let version = folder.version();
            this.0
                .version
                .send_if_modified(|known| std::mem::replace(known, version) != version);
            done
        })
        .await
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Adds one message, received now, with no flags.
    pub(super) async fn deliver(&self, raw: Vec<u8>) -> Result<Uid, FolderError> {
        let message = NewMessage {
            source: Source::Bytes(storable(raw)),
            received: unix_now(),
            flags: Flags::new(),
        };
        let uids = self.with(move |folder| folder.append(vec![message])).await?;
        uids.first().copied().ok_or(FolderError::UidsUsedUp)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// An IMAP literal cannot hold NUL (RFC 3501 CHAR8); Dovecot shows 0x80 in its place, and so do we.
pub(super) fn storable(mut raw: Vec<u8>) -> Vec<u8> {
    for byte in raw.iter_mut().filter(|byte| **byte == 0) {
        *byte = 0x80;
    }
    raw
}

/// Something went wrong with the files of a running mailbox.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Sent(#[from] SentError),
}
