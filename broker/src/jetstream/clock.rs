//! The two clocks of JetStream, read once per turn and passed down as values.

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

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            started: Instant::now(),
        }
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            wall: Nanos::try_from(wall.as_nanos()).unwrap_or(Nanos::MAX),
            steady: nanos(self.started.elapsed()),
        }
    }

    pub fn instant(&self, steady: u64) -> Instant {
        self.started + Duration::from_nanos(steady)
    }
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
