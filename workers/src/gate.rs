//! The way from an account to one of its servers: shut for a while when the server lets nobody in, so that a thousand
//! mails don't knock a thousand times and get the account locked.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use postroom::redact::for_log;
use postroom::{Store, StoreError};
use tokio::time::Instant;

use crate::messages::{AccountPaused, Service};

/// A refused login is tried again after this: servers lock accounts that try too often.
pub const REFUSED: Duration = Duration::from_secs(300);
/// A handle: clones share the gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    account: String,
    service: Service,
    refused: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shut: Option<Shut>,
    /// The refusal was told, and nobody was let in since.
    is_paused: bool,
}

#[derive(Clone)]
struct Shut {
    until: Instant,
    why: String,
}

/// Why a gate is shut, and for how long yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub wait: Duration,
    pub why: String,
}

impl Gate {
    /// Open. After a refusal it stays shut for `refused`; see [`REFUSED`].
    pub fn new(account: impl Into<String>, service: Service, refused: Duration) -> Self {
        Self(Arc::new(Inner {
            account: account.into(),
            service,
            refused,
            state: Mutex::default(),
        }))
    }

    /// `None`: go and knock.
    pub fn is_shut(&self) -> Option<Wait> {
        let now = Instant::now();
        let state = self.state();
        let shut = state.shut.as_ref().filter(|shut| shut.until > now)?;
        Some(Wait {
            wait: shut.until - now,
            why: shut.why.clone(),
        })
    }

    /// The server let the account in.
    pub fn opened(&self) {
        let was_paused = {
            let mut state = self.state();
            state.shut = None;
            std::mem::take(&mut state.is_paused)
        };
        if was_paused {
            tracing::info!(
                account = self.0.account,
                service = self.0.service.as_str(),
                "the account is let in again"
            );
            self.gauge(0.0);
        }
    }

    /// The server refused the account. Told once, in the log and as `accounts.paused`. Gives the wait.
    pub async fn refused(&self, store: &Store, why: &str) -> Duration {
        let Inner {
            account,
            service,
            refused,
            ..
        } = &*self.0;
        let is_news = {
            let mut state = self.state();
            state.shut = Some(Shut {
                until: Instant::now() + *refused,
                why: why.to_owned(),
            });
            !std::mem::replace(&mut state.is_paused, true)
        };
        tracing::error!(account, service = service.as_str(), error = %for_log(why), wait = ?refused,
            "the server refuses this account; check its login. Nothing is lost, and nothing moves until that is mended");
        if is_news {
            self.gauge(1.0);
            let event = AccountPaused {
                account: account.clone(),
                service: *service,
                reason: why.to_owned(),
                retry_at: Timestamp::now() + *refused,
            };
            if let Err(error) = publish(store, &event).await {
                tracing::warn!(account, %error, "the pause could not be published; it will be with the next refusal");
                self.state().is_paused = false;
            }
        }
        *refused
    }

    fn gauge(&self, value: f64) {
        let (account, service) = (self.0.account.clone(), self.0.service.as_str());
        metrics::gauge!("postroom_account_paused", "account" => account, "service" => service).set(value);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment: after a panic the state is still a state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn publish(store: &Store, event: &AccountPaused) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.publish(event).await?;
    tx.commit().await
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("account", &self.0.account)
            .field("service", &self.0.service)
            .field("shut", &self.is_shut())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new("help", Service::Smtp, REFUSED)
    }

    #[tokio::test]
    async fn a_refusal_is_told_once_until_the_account_is_let_in() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let gate = gate();
        let events = async || {
            let mut tx = store.read().await.unwrap();
            let rows = postroom::store::outbox::backlog(&mut tx).await.unwrap().rows;
            tx.rollback().await.unwrap();
            rows
        };
        assert_eq!(gate.refused(&store, "535 no").await, REFUSED);
        gate.refused(&store, "535 no").await;
        assert_eq!(events().await, 1);
        assert!(gate.is_shut().is_some());
        gate.opened();
        assert_eq!(gate.is_shut(), None);
        gate.refused(&store, "535 no").await;
        assert_eq!(events().await, 2);
    }
}
