//! How many of us log in to a server at a time: a hundred mailboxes that were cut off in one moment do not all knock in the
//! next one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Servers count logins by address, and refuse or slow down whoever has many under way: Dovecot's default is ten for each
/// user and address, Gmail's fifteen for each account.
pub const LOGINS: usize = 4;

/// A handle: clones share the turnstile of one server.
#[derive(Debug, Clone)]
pub struct Turnstile(Arc<Semaphore>);

impl Default for Turnstile {
    fn default() -> Self {
        Self::new(LOGINS)
    }
}

impl Turnstile {
    /// Lets so many in at a time.
    #[must_use]
    pub fn new(logins: usize) -> Self {
        Self(Arc::new(Semaphore::new(logins)))
    }

    /// Waits for its turn, in the order of coming, and keeps it for as long as what it gives is held.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed; and if it were, nobody should wait for ever.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn so_many_log_in_at_a_time_and_no_more() {
        let turnstile = Turnstile::default();
        let mut inside = Vec::new();
        for _ in 0..LOGINS {
            inside.push(turnstile.clone().enter().now_or_never().expect("there is room"));
        }
        assert!(turnstile.enter().now_or_never().is_none(), "one more waits");
        inside.pop();
        assert!(
            turnstile.enter().now_or_never().is_some(),
            "and comes in when another is through"
        );
    }
}
