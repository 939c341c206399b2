//! The place in which one delivery runs, and how long it may hold it.
//!
//! A handler that awaits is cut off by its timeout. One that blocks its thread can't be: it is found here to be overdue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::Abandon;

/// A handler is stuck when it has not ended so long after its timeout.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// The runtime is poked this often.
const POKE: Duration = Duration::from_millis(250);

/// Wakes the runtime from a thread of its own, until the future is done or dropped. A blocked thread may be the one that was
/// to look for timers and sockets, and the idle ones don't know that they should: without a poke, nobody would find it stuck.
pub(crate) fn poked(stop: CancellationToken) -> impl Future<Output = ()> {
    let alive = Arc::new(());
    let watched = Arc::downgrade(&alive);
    let runtime = Handle::current();
    // With one thread, nobody is left to be woken.
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        let poke = move || {
            while watched.strong_count() > 0 {
                std::thread::sleep(POKE);
                drop(runtime.spawn(async {}));
            }
        };
        let started = std::thread::Builder::new()
            .name("postroom-poke".into())
            .spawn(poke);
        if let Err(error) = started {
            tracing::warn!(%error, "no thread to look after the others; a handler that blocks may go unnoticed");
        }
    }
    async move {
        stop.cancelled().await;
        drop(alive);
    }
}

/// A handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Armed>>>);

#[derive(Debug)]
struct Armed {
    until: Instant,
    abandon: Abandon,
}

impl Slot {
    /// The handler begins; it is to end by itself within `timeout`.
    pub(crate) fn arm(&self, timeout: Duration, abandon: Abandon) {
        let until = Instant::now() + timeout + GRACE;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Armed { until, abandon });
    }

    /// It has ended.
    pub(crate) fn disarm(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is stuck. Its lease is no longer prolonged then, so somebody else can take the message over; the fence
    /// keeps whatever the stuck one does after all from counting.
    pub(crate) fn give_up(&self) -> bool {
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = armed.as_ref().is_some_and(|armed| armed.until <= Instant::now());
        if overdue && let Some(armed) = armed.take() {
            armed.abandon.now();
        }
        overdue
    }
}
