//! The circuit breaker of a relay's host: when it is away, busy or speaks no TLS, the mails of all accounts leave it alone
//! for a while, and then one of them, not a thousand, finds out whether it is back.
//!
//! ```text
//! closed ──trouble──▶ open ──its time is over──▶ half open: one mail tries
//!    ▲                  ▲                             │
//!    │                  └──────────trouble, twice the time
//!    └───────────────────────it answers───────────────┘
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroom::redact::for_log;
use tokio::time::Instant;

use crate::gate::Wait;

/// First and longest wait for a host that is away or busy; it doubles from one to the other.
const FIRST: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(60);
/// While one mail tries, the others look again after this.
const WHILE_ONE_TRIES: Duration = Duration::from_secs(1);
/// A mail that tries and is never heard of again, since its process gave it up, holds up the others no longer.
const TRY_LIMIT: Duration = Duration::from_secs(120);

/// A handle: clones share the breaker.
#[derive(Clone)]
pub(super) struct Breaker(Arc<Inner>);

struct Inner {
    host: String,
    state: Mutex<State>,
}

enum State {
    Closed,
    Open {
        until: Instant,
        wait: Duration,
        why: String,
    },
    HalfOpen {
        since: Instant,
        wait: Duration,
        why: String,
    },
}

impl Breaker {
    /// Closed. `host` is told in logs and metrics.
    pub(super) fn new(host: String) -> Self {
        Self(Arc::new(Inner {
            host,
            state: Mutex::new(State::Closed),
        }))
    }

    /// `None`: go and knock, and tell what came of it.
    pub(super) fn ask(&self) -> Option<Wait> {
        let now = Instant::now();
        let mut state = self.state();
        let (wait, why) = match &*state {
            State::Closed => return None,
            State::Open { until, why, .. } if *until > now => {
                return Some(Wait {
                    wait: *until - now,
                    why: why.clone(),
                });
            }
            State::HalfOpen { since, why, .. } if now.duration_since(*since) < TRY_LIMIT => {
                return Some(Wait {
                    wait: WHILE_ONE_TRIES,
                    why: why.clone(),
                });
            }
            State::Open { wait, why, .. } | State::HalfOpen { wait, why, .. } => (*wait, why.clone()),
        };
        tracing::info!(host = self.0.host, "one mail tries whether the relay is back");
        *state = State::HalfOpen {
            since: now,
            wait,
            why,
        };
        drop(state);
        self.gauge(0.5);
        None
    }

    /// The host answered as a relay does.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        if matches!(*state, State::Closed) {
            return;
        }
        *state = State::Closed;
        drop(state);
        tracing::info!(host = self.0.host, "the relay is back");
        self.gauge(0.0);
    }

    /// The host is in trouble. Those who knocked at the same moment count once. Gives the wait.
    pub(super) fn failed(&self, why: &str) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        let wait = match &*state {
            State::Open { until, .. } if *until > now => return *until - now,
            State::Closed => FIRST,
            State::Open { wait, .. } | State::HalfOpen { wait, .. } => (*wait * 2).min(CAP),
        };
        *state = State::Open {
            until: now + wait,
            wait,
            why: why.to_owned(),
        };
        drop(state);
        tracing::warn!(host = self.0.host, error = %for_log(why), ?wait, "the relay is in trouble; its mails wait");
        self.gauge(1.0);
        wait
    }

    fn gauge(&self, value: f64) {
        metrics::gauge!("postroom_relay_breaker", "host" => self.0.host.clone()).set(value);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment: after a panic the state is still a state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state() {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half open",
        };
        write!(f, "Breaker({}, {state})", self.0.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_away_is_asked_less_and_less_often_and_by_one_mail() {
        let breaker = Breaker::new("mx".into());
        assert_eq!(breaker.ask(), None);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_secs(wait);
            assert_eq!(breaker.failed("connection refused"), wait);
            // Another mail that knocked at the same moment.
            assert_eq!(breaker.failed("connection refused"), wait);
            let why = "connection refused".to_owned();
            assert_eq!(
                breaker.ask(),
                Some(Wait {
                    wait,
                    why: why.clone()
                })
            );
            tokio::time::advance(wait).await;
            assert_eq!(breaker.ask(), None, "one may try");
            assert_eq!(
                breaker.ask(),
                Some(Wait {
                    wait: WHILE_ONE_TRIES,
                    why
                }),
                "and no other"
            );
        }
        breaker.answered();
        assert_eq!((breaker.ask(), breaker.ask()), (None, None));
        assert_eq!(breaker.failed("connection refused"), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_is_never_heard_of_again_is_taken_over() {
        let breaker = Breaker::new("mx".into());
        tokio::time::advance(breaker.failed("421")).await;
        assert_eq!(breaker.ask(), None);
        tokio::time::advance(TRY_LIMIT - Duration::from_millis(1)).await;
        assert!(breaker.ask().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(breaker.ask(), None);
        assert!(breaker.ask().is_some());
    }
}
