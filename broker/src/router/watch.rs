//! Who wants to know when somebody starts or stops listening on a subject.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::subject::{Filter, is_wildcard, tokens};

type Notice = Arc<dyn Fn() + Send + Sync>;

/// Literal subjects and whom to tell.
#[derive(Default)]
pub(super) struct Watches {
    by_subject: RwLock<HashMap<Bytes, Vec<(u64, Notice)>>>,
    next: AtomicU64,
}

/// Ends the watch when dropped.
pub struct Watch {
    watches: Arc<Watches>,
    subject: Bytes,
    id: u64,
}

impl Watches {
    pub(super) fn watch(self: &Arc<Self>, subject: Bytes, notice: Notice) -> Watch {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.by_subject
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(subject.clone())
            .or_default()
            .push((id, notice));
        Watch {
            watches: Arc::clone(self),
            subject,
            id,
        }
    }

    /// A subscription with this filter came or went.
    pub(super) fn on_change(&self, filter: &Filter) {
        let by_subject = self.by_subject.read().unwrap_or_else(PoisonError::into_inner);
        if by_subject.is_empty() {
            return;
        }
        let tell = |watchers: &Vec<(u64, Notice)>| watchers.iter().for_each(|(_, notice)| notice());
        if tokens(filter.as_bytes()).any(is_wildcard) {
            let concerned = by_subject.iter().filter(|(subject, _)| filter.matches(subject));
            concerned.for_each(|(_, watchers)| tell(watchers));
        } else if let Some(watchers) = by_subject.get(filter.as_bytes()) {
            tell(watchers);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut by_subject = self
            .watches
            .by_subject
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(watchers) = by_subject.get_mut(&self.subject) {
            watchers.retain(|(id, _)| *id != self.id);
            if watchers.is_empty() {
                by_subject.remove(&self.subject);
            }
        }
    }
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watches")
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.subject).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_of_what_matches_until_dropped() {
        let watches = Arc::new(Watches::default());
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let notice = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let watch = watches.watch(Bytes::from_static(b"a.b"), notice);
        for filter in ["a.b", "a.*", "a.c", ">"] {
            watches.on_change(&Filter::parse(filter.as_bytes()).unwrap());
        }
        assert_eq!(count.load(Ordering::Relaxed), 3);
        drop(watch);
        watches.on_change(&Filter::parse(b"a.b").unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}
