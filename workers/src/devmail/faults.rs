//! The armed faults and how often each has struck.
//!
//! A limited fault is counted on disk **before** it strikes. So "refused twice, then taken" never refuses a third time,
//! across any number of kills; what a kill can do is to turn a refusal into a connection lost before its reply.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{self, DiskError};
use super::fault::{Fault, FaultKind, Occasion};
use super::store::blocking;

const FILE: &str = "faults";

/// Handle to the one list of faults.
#[derive(Debug, Clone)]
pub(super) struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    armed: Mutex<Vec<Armed>>,
    imap_commands: AtomicU64,
}

#[derive(Debug, Clone)]
struct Armed {
    fault: Fault,
    struck: u32,
}

impl Armed {
    fn is_spent(&self) -> bool {
        self.fault.times.is_some_and(|times| self.struck >= times.get())
    }
}

impl Faults {
    /// Arms the configured faults. One that struck before, under the same text, goes on counting where it was.
    pub(super) fn open(dir: &Path, configured: Vec<Fault>) -> Result<Self, DiskError> {
        let counted = disk::read_text(&dir.join(FILE))?.unwrap_or_default();
        let struck = |fault: &Fault| {
            let text = fault.to_string();
            let line = counted
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .find(|(_, known)| *known == text);
            line.and_then(|(struck, _)| struck.parse().ok()).unwrap_or(0)
        };
        let armed = configured
            .into_iter()
            .map(|fault| Armed {
                struck: struck(&fault),
                fault,
            })
            .collect();
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            armed: Mutex::new(armed),
            imap_commands: AtomicU64::new(0),
        })))
    }

    /// Arms one more, its count at zero.
    pub(super) async fn arm(&self, fault: Fault) -> Result<(), DiskError> {
        let this = self.clone();
        blocking(move || {
            let mut armed = this.lock();
            armed.retain(|old| old.fault != fault);
            armed.push(Armed { fault, struck: 0 });
            this.persist(&armed)
        })
        .await
    }

    pub(super) async fn disarm_all(&self) -> Result<(), DiskError> {
        let this = self.clone();
        blocking(move || {
            let mut armed = this.lock();
            armed.clear();
            this.persist(&armed)
        })
        .await
    }

    /// Each armed fault and how often it has struck since it was first armed.
    pub(super) fn list(&self) -> Vec<(Fault, u32)> {
        self.lock()
            .iter()
            .map(|armed| (armed.fault.clone(), armed.struck))
            .collect()
    }

    pub(super) fn next_imap_command(&self) -> u64 {
        self.0.imap_commands.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The first fault that strikes here, counted on disk before it is returned.
    pub(super) async fn strike(&self, occasion: Occasion) -> Result<Option<FaultKind>, DiskError> {
        let can_strike = |armed: &Armed| !armed.is_spent() && armed.fault.kind.strikes(&occasion);
        if !self.lock().iter().any(can_strike) {
            return Ok(None);
        }
        let this = self.clone();
        blocking(move || {
            let mut armed = this.lock();
            let can_strike = |armed: &&mut Armed| !armed.is_spent() && armed.fault.kind.strikes(&occasion);
            let Some(hit) = armed.iter_mut().find(can_strike) else {
                return Ok(None);
            };
            hit.struck = hit.struck.saturating_add(1);
            let (kind, is_limited) = (hit.fault.kind.clone(), hit.fault.times.is_some());
            if is_limited {
                this.persist(&armed)?;
            }
            Ok(Some(kind))
        })
        .await
    }

    fn persist(&self, armed: &[Armed]) -> Result<(), DiskError> {
        let lines: String = armed
            .iter()
            .map(|armed| format!("{}\t{}\n", armed.struck, armed.fault))
            .collect();
        disk::replace_file(&self.0.dir, FILE, lines.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice() -> Vec<Fault> {
        vec!["rcpt busy@x.test 451 4.7.1 try again, 2 times".parse().unwrap()]
    }

    fn rcpt() -> Occasion {
        Occasion::Rcpt("busy@x.test".into())
    }

    #[tokio::test]
    async fn twice_is_twice_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::open(dir.path(), twice()).unwrap();
        assert!(faults.strike(rcpt()).await.unwrap().is_some());
        drop(faults);
        let faults = Faults::open(dir.path(), twice()).unwrap();
        assert!(faults.strike(rcpt()).await.unwrap().is_some());
        assert!(faults.strike(rcpt()).await.unwrap().is_none());
        drop(faults);
        let faults = Faults::open(dir.path(), twice()).unwrap();
        assert!(faults.strike(rcpt()).await.unwrap().is_none());
        assert_eq!(faults.list()[0].1, 2);
    }

    #[tokio::test]
    async fn arming_again_starts_the_count_again() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::open(dir.path(), twice()).unwrap();
        while faults.strike(rcpt()).await.unwrap().is_some() {}
        faults.arm(twice().remove(0)).await.unwrap();
        assert!(faults.strike(rcpt()).await.unwrap().is_some());
        faults.disarm_all().await.unwrap();
        assert!(faults.strike(rcpt()).await.unwrap().is_none());
    }
}
