//! How long to wait before the next connection. Pure.

use std::time::Duration;

/// Grows by this factor with each failure.
const GROWTH: f64 = 1.7;

/// Waits that grow from `first` to `cap`, each shortened by chance, so that many workers whose server was restarted do
/// not come back in one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            next: first,
        }
    }

    /// The next wait; `chance` is in 0..1.
    pub(super) fn wait(&mut self, chance: f64) -> Duration {
        let wait = self.next;
        self.next = wait.mul_f64(GROWTH).min(self.cap);
        wait.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }

    /// Only a mailbox that was read through proves that the trouble is over; a login alone does not.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_begin_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<_> = (0..5).map(|_| backoff.wait(1.0).as_millis()).collect();
        assert_eq!(waits, [1_000, 1_700, 2_890, 4_913, 5_000]);
        backoff.reset();
        assert_eq!(backoff.wait(0.0), Duration::from_millis(500));
    }
}
