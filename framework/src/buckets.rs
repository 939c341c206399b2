//! A token bucket for each key: `per_key(to.domain, rate = "10/s")`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use crate::key::Key;
use crate::rate::Rate;

/// Keys whose buckets are not full: so many at a time, since keys come from mail and anybody can think of new ones. A key
/// beyond waits until one of these is full again, and so forgotten.
pub(crate) const MOST_KEYS: usize = 4096;

/// A token is not asked for again before.
const SHORTEST: Duration = Duration::from_millis(1);

pub(crate) struct Buckets {
    rate: Rate,
    buckets: HashMap<Key, Bucket>,
}

struct Bucket {
    limiter: DefaultDirectRateLimiter,
    /// By then at the latest; it is then no other than a new one.
    full_at: Instant,
}

impl Buckets {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: HashMap::new(),
        }
    }

    /// Takes a token of this key, or says when to ask again.
    pub(crate) fn take(&mut self, key: &Key, now: Instant) -> Result<(), Instant> {
        if !self.buckets.contains_key(key) {
            self.make_room(now)?;
            let Some(limiter) = limiter(self.rate) else {
                return Ok(());
            };
            let full_at = now;
            self.buckets.insert(key.clone(), Bucket { limiter, full_at });
        }
        let Some(bucket) = self.buckets.get_mut(key) else {
            return Ok(());
        };
        match bucket.limiter.check() {
            Ok(()) => {
                bucket.full_at = now + self.rate.per;
                Ok(())
            }
            // Never at once, which would be asked for ever.
            Err(not_yet) => Err(now
                + not_yet
                    .wait_time_from(DefaultClock::default().now())
                    .max(SHORTEST)),
        }
    }

    fn make_room(&mut self, now: Instant) -> Result<(), Instant> {
        if self.buckets.len() < MOST_KEYS {
            return Ok(());
        }
        self.buckets.retain(|_, bucket| bucket.full_at > now);
        match self.buckets.values().map(|bucket| bucket.full_at).min() {
            Some(earliest) if self.buckets.len() >= MOST_KEYS => Err(earliest),
            _ => Ok(()),
        }
    }
}

/// One bucket, full; none for a rate that is none.
pub(crate) fn limiter(rate: Rate) -> Option<DefaultDirectRateLimiter> {
    let quota = Quota::with_period(rate.refill())?.allow_burst(NonZeroU32::new(rate.count)?);
    Some(RateLimiter::direct(quota))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::of(&[&number.to_string()])
    }

    #[test]
    fn each_key_has_its_own_tokens() {
        let hour = Duration::from_secs(3600);
        let mut buckets = Buckets::new(Rate::new(2, hour));
        let now = Instant::now();
        let mut take = |number| buckets.take(&key(number), now).is_ok();
        assert!(take(1) && take(1) && !take(1));
        assert!(take(2) && take(2) && !take(2));
        let due = buckets.take(&key(1), now).expect_err("no token is left");
        assert!(
            due > now && due <= now + hour / 2,
            "a token comes back in half an hour"
        );
    }

    #[test]
    fn so_many_keys_are_remembered_and_the_next_one_waits_for_one_to_be_forgotten() {
        let hour = Duration::from_secs(3600);
        let mut buckets = Buckets::new(Rate::new(1, hour));
        let begun = Instant::now();
        for number in 0..MOST_KEYS {
            assert_eq!(buckets.take(&key(number), begun), Ok(()), "{number}");
        }
        let due = buckets.take(&key(MOST_KEYS), begun);
        assert_eq!(due, Err(begun + hour), "one past the limit");
        assert!(
            buckets.take(&key(0), begun).is_err(),
            "those that are known keep their rate"
        );
        assert_eq!(buckets.take(&key(MOST_KEYS), begun + hour), Ok(()));
        assert_eq!(buckets.buckets.len(), 1);
    }
}
