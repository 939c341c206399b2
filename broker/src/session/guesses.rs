//! Slows down whoever tries credentials: each failure from one address, or for one user, doubles the next wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A mistyped password or two cost nothing.
const FREE_FAILURES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Less than the default time to authenticate, so that the right password still gets in.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Failures are forgotten after this long without another one.
const MEMORY: Duration = Duration::from_secs(300);
/// Addresses and users that are remembered; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    User(String),
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<Who, Failures>>);

impl Guesses {
    /// How long the next try is put off.
    pub fn wait(&self, address: IpAddr, user: &str, now: Instant) -> Duration {
        let failures = self.lock();
        let of = |who: &Who| {
            let known = failures
                .get(who)
                .filter(|known| now.duration_since(known.last) < MEMORY);
            known.map_or(Duration::ZERO, |known| wait_after(known.count))
        };
        of(&Who::Address(address)).max(of(&Who::User(user.to_owned())))
    }

    pub fn failed(&self, address: IpAddr, user: &str, now: Instant) {
        let mut failures = self.lock();
        if failures.len() + 2 > REMEMBERED_MAX {
            failures.retain(|_, known| now.duration_since(known.last) < MEMORY);
        }
        if failures.len() + 2 > REMEMBERED_MAX {
            let mut ages: Vec<Instant> = failures.values().map(|known| known.last).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            failures.retain(|_, known| known.last > middle);
        }
        for who in [Who::Address(address), Who::User(user.to_owned())] {
            let known = failures.entry(who).or_insert(Failures { count: 0, last: now });
            if now.duration_since(known.last) >= MEMORY {
                known.count = 0;
            }
            known.count = known.count.saturating_add(1);
            known.last = now;
        }
    }

    pub fn succeeded(&self, address: IpAddr, user: &str) {
        let mut failures = self.lock();
        failures.remove(&Who::Address(address));
        failures.remove(&Who::User(user.to_owned()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Who, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_after(count: u32) -> Duration {
    match count.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(WAIT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn waits_double_by_address_and_by_user() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for expect in [0, 0, 0, 50, 100, 200, 400, 800, 1000, 1000] {
            assert_eq!(guesses.wait(ip(1), "ann", now).as_millis(), expect);
            guesses.failed(ip(1), "ann", now);
        }
        // Another user from there, and the same user from elsewhere, are slowed just so; a stranger is not.
        assert_eq!(guesses.wait(ip(1), "bob", now), WAIT_MAX);
        assert_eq!(guesses.wait(ip(2), "ann", now), WAIT_MAX);
        assert_eq!(guesses.wait(ip(2), "bob", now), Duration::ZERO);
        assert_eq!(guesses.wait(ip(1), "ann", now + MEMORY), Duration::ZERO);
        guesses.succeeded(ip(1), "ann");
        assert_eq!(guesses.wait(ip(1), "ann", now), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded() {
        let guesses = Guesses::default();
        let start = Instant::now();
        for at in 0..REMEMBERED_MAX as u64 {
            let user = format!("u{at}");
            guesses.failed(ip((at % 200) as u8), &user, start + Duration::from_millis(at));
        }
        assert!(guesses.lock().len() <= REMEMBERED_MAX);
    }
}
