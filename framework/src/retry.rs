//! When to try again. Pure: the attempt and a random number in, a delay out.

use std::time::Duration;

/// How often a message is tried, and how long to wait between the tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Attempts in all, the first included.
    pub(crate) max_attempts: u32,
    /// The shortest wait.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// Eight attempts over about half an hour.
    pub(crate) const DEFAULT: Self = Self {
        max_attempts: 8,
        first: Duration::from_secs(2),
        cap: Duration::from_secs(15 * 60),
    };

    /// How long to wait after the `attempt`-th failure (from 1): a random time between `first` and the bound, which
    /// doubles with each failure up to `cap`. `unit` is uniform in 0..1.
    ///
    /// The jitter is full, so that messages that failed together don't come back together.
    #[must_use]
    pub(crate) fn delay(&self, attempt: u32, unit: f64) -> Duration {
        let bound = self.bound(attempt);
        self.first + bound.saturating_sub(self.first).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// The longest that all attempts can take, each running for `timeout`: what a dedupe ttl must outlast.
    #[must_use]
    pub(crate) fn horizon(&self, timeout: Duration) -> Duration {
        let waits = (1..self.max_attempts)
            .map(|attempt| self.bound(attempt))
            .fold(Duration::ZERO, Duration::saturating_add);
        waits.saturating_add(timeout.saturating_mul(self.max_attempts))
    }

    fn bound(&self, attempt: u32) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(attempt.min(31)));
        doubled.min(self.cap).max(self.first)
    }
}

/// The longest that one delivery can wait for its verdict in a batch: until the batch has gathered, for its turn behind
/// two others, for the batch, and for a run of its own after that.
#[must_use]
pub(crate) fn batch_limit(timeout: Duration, within: Duration) -> Duration {
    timeout.saturating_mul(4).saturating_add(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BACKOFF: Backoff = Backoff {
        max_attempts: 5,
        first: SECOND,
        cap: Duration::from_secs(10),
    };

    #[test]
    fn delays_double_up_to_the_cap_and_are_never_shorter_than_the_first() {
        let check = |attempt, unit, seconds| {
            assert_eq!(
                BACKOFF.delay(attempt, unit),
                Duration::from_secs_f64(seconds),
                "attempt {attempt}, unit {unit}"
            );
        };
        check(1, 0.0, 1.0);
        check(1, 1.0, 2.0);
        check(2, 1.0, 4.0);
        check(3, 0.5, 4.5);
        check(4, 1.0, 10.0);
        check(40, 1.0, 10.0);
        check(u32::MAX, 0.0, 1.0);
    }

    #[test]
    fn the_horizon_is_the_sum_of_the_longest_waits_and_runs() {
        // Waits of at most 2, 4, 8 and 10 seconds between five runs of three.
        assert_eq!(BACKOFF.horizon(3 * SECOND), Duration::from_secs(24 + 15));
        let once = Backoff {
            max_attempts: 1,
            ..BACKOFF
        };
        assert_eq!(once.horizon(3 * SECOND), 3 * SECOND);
    }
}
