//! The two clocks of JetStream, read once per turn and passed down as values.

#[cfg(feature = "testing")]
use std::sync::Arc;
#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::store::Nanos;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since the Unix epoch; what messages are stamped with. May jump.
    pub wall: Nanos,
    /// Since the clock was started; what waits are measured by. Never jumps.
    pub steady: u64,
}

#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    /// How far a test has moved both clocks ahead, in nanoseconds.
    #[cfg(feature = "testing")]
    ahead: Arc<AtomicU64>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            started: Instant::now(),
            #[cfg(feature = "testing")]
            ahead: Arc::default(),
        }
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            wall: Nanos::try_from((wall + self.ahead()).as_nanos()).unwrap_or(Nanos::MAX),
            steady: nanos(self.started.elapsed() + self.ahead()),
        }
    }

    pub fn instant(&self, steady: u64) -> Instant {
        self.started + Duration::from_nanos(steady).saturating_sub(self.ahead())
    }

    #[cfg(not(feature = "testing"))]
    const fn ahead(&self) -> Duration {
        Duration::ZERO
    }

    #[cfg(feature = "testing")]
    fn ahead(&self) -> Duration {
        Duration::from_nanos(self.ahead.load(Ordering::Relaxed))
    }

    #[cfg(feature = "testing")]
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(nanos(by), Ordering::Relaxed);
    }
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
