//! A stream as everyone but its own thread sees it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::oneshot;

use super::inbox::Inbox;
use super::info::StreamDetail;
use super::stream::Command;
use crate::store::Seq;

#[derive(Debug, Clone)]
pub struct StreamHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    inbox: Inbox<Command>,
    /// Which consumers there are, so that a message to an unknown one is known to have no responders.
    consumers: RwLock<BTreeSet<String>>,
    allows_direct: AtomicBool,
    snapshot: Mutex<Snapshot>,
}

/// A stream's figures as of the end of its last turn, for monitoring.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: Seq,
    pub last_seq: Seq,
    pub consumers: usize,
    pub is_poisoned: bool,
    pub is_in_memory: bool,
}

impl Snapshot {
    pub fn memory_bytes(&self) -> u64 {
        if self.is_in_memory { self.bytes } else { 0 }
    }

    pub fn storage_bytes(&self) -> u64 {
        self.bytes - self.memory_bytes()
    }
}

impl StreamHandle {
    pub fn new(name: &str) -> StreamHandle {
        StreamHandle(Arc::new(Shared {
            name: name.to_owned(),
            inbox: Inbox::default(),
            consumers: RwLock::default(),
            allows_direct: AtomicBool::new(false),
            snapshot: Mutex::default(),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn inbox(&self) -> &Inbox<Command> {
        &self.0.inbox
    }

    pub fn is_congested(&self) -> bool {
        self.0.inbox.is_congested()
    }

    /// Resolves when the stream has taken what was queued.
    pub async fn wait_for_room(&self) {
        self.0.inbox.wait_for_room().await;
    }

    pub fn has_consumer(&self, name: &str) -> bool {
        self.0
            .consumers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(name)
    }

    pub(super) fn set_consumer(&self, name: &str, exists: bool) {
        let mut consumers = self.0.consumers.write().unwrap_or_else(PoisonError::into_inner);
        if exists {
            consumers.insert(name.to_owned());
        } else {
            consumers.remove(name);
        }
    }

    /// Does the stream answer DIRECT.GET?
    pub fn allows_direct(&self) -> bool {
        self.0.allows_direct.load(Ordering::Relaxed)
    }

    pub(super) fn set_allows_direct(&self, allows: bool) {
        self.0.allows_direct.store(allows, Ordering::Relaxed);
    }

    /// Whoever holds the guard is the stream's thread; when it goes, by a panic too, nothing more is taken in.
    pub(super) fn guard(&self) -> ThreadGuard {
        ThreadGuard(self.clone())
    }

    pub fn snapshot(&self) -> Snapshot {
        self.0
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the stream's own thread tells; `None` if it has ended.
    pub async fn detail(&self) -> Option<StreamDetail> {
        let (answer, detail) = oneshot::channel();
        self.0.inbox.push(Command::Detail(answer), 0);
        detail.await.ok()
    }

    pub(super) fn show(&self, snapshot: Snapshot) {
        *self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// Gives up the stream's inbox when its thread ends.
#[derive(Debug)]
pub(super) struct ThreadGuard(StreamHandle);

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.inbox().abandon();
        if std::thread::panicking() {
            tracing::error!(
                stream = self.0.name(),
                "the stream's thread panicked; it takes nothing any more"
            );
            let snapshot = Snapshot {
                is_poisoned: true,
                ..self.0.snapshot()
            };
            self.0.show(snapshot);
        }
    }
}
