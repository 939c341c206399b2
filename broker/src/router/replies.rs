//! The reply subjects that a client was sent and may answer on, for users who may publish nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::Responses;

/// Requests that one client has not answered yet; past this the oldest can not be answered any more.
const OPEN_MAX: usize = 4096;
/// Stands for "without limit"; nobody waits for longer.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[derive(Debug, Default)]
pub struct Replies {
    /// Read on every delivery; most clients need no such memory.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rule: Option<Responses>,
    open: HashMap<Bytes, Open>,
}

#[derive(Debug)]
struct Open {
    left: u64,
    until: Instant,
}

impl Replies {
    pub fn follow(&self, rule: Option<Responses>) {
        let mut state = self.lock();
        state.rule = rule;
        state.open.clear();
        self.is_on.store(rule.is_some(), Ordering::Release);
    }

    /// A message that asks for an answer on `reply` is on its way to the client.
    pub fn note(&self, reply: &[u8]) {
        if reply.is_empty() || !self.is_on.load(Ordering::Acquire) {
            return;
        }
        self.lock().note(reply, Instant::now());
    }

    /// Counts one answer on `reply`; false if none is due.
    pub fn take(&self, reply: &[u8]) -> bool {
        self.is_on.load(Ordering::Acquire) && self.lock().take(reply, Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, reply: &[u8], now: Instant) {
        let Some(rule) = self.rule else {
            return;
        };
        if self.open.len() >= OPEN_MAX {
            self.open.retain(|_, open| open.until > now);
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, open)| open.until)
                .map(|(reply, _)| reply.clone());
            if let Some(oldest) = oldest.filter(|_| self.open.len() >= OPEN_MAX) {
                self.open.remove(&oldest);
            }
        }
        let open = Open {
            left: rule.max.unwrap_or(u64::MAX),
            until: now + rule.expires.unwrap_or(FOR_EVER).min(FOR_EVER),
        };
        self.open.insert(Bytes::copy_from_slice(reply), open);
    }

    fn take(&mut self, reply: &[u8], now: Instant) -> bool {
        let Some(open) = self.open.get_mut(reply) else {
            return false;
        };
        if open.until <= now {
            self.open.remove(reply);
            return false;
        }
        open.left -= 1;
        if open.left == 0 {
            self.open.remove(reply);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_as_allowed_and_as_long() {
        let rule = Responses {
            max: Some(2),
            expires: Some(Duration::from_secs(1)),
        };
        let mut state = State {
            rule: Some(rule),
            ..State::default()
        };
        let start = Instant::now();
        state.note(b"r", start);
        assert!(!state.take(b"other", start));
        assert!(state.take(b"r", start) && state.take(b"r", start) && !state.take(b"r", start));
        state.note(b"r", start);
        assert!(!state.take(b"r", start + Duration::from_secs(1)));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut state = State {
            rule: Some(Responses::default()),
            ..State::default()
        };
        let start = Instant::now();
        for at in 0..=OPEN_MAX {
            state.note(
                at.to_string().as_bytes(),
                start + Duration::from_millis(at as u64),
            );
        }
        assert_eq!(state.open.len(), OPEN_MAX);
        assert!(!state.take(b"0", start) && state.take(b"1", start));
    }
}
