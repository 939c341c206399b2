//! Connections to an account's relay that wait for its next mail, so that not each mail pays for TCP, TLS and a login.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroom::CancellationToken;
use tokio::time::Instant;

use super::smtp::Relay;

/// Servers under stress close a silent connection after ten seconds (Postfix), and nobody wants to find out by a mail.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// Relays count, and some refuse the rest of a long conversation.
const MAILS_PER_CONNECTION: u32 = 100;
/// As many as mails are sent at a time; more would only be closed again.
const MAX_IDLE: usize = 8;

/// The idle connections of one account. A handle: clones share them.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The newest last.
    idle: Vec<Idle>,
    is_closed: bool,
}

struct Idle {
    relay: Relay,
    since: Instant,
    mails: u32,
}

/// A connection, and how many mails went over it.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) relay: Relay,
    pub(super) mails: u32,
}

impl Pool {
    /// The connection that was used last, if it is still good by its age.
    pub(super) fn take(&self) -> Option<Pooled> {
        let Idle { relay, since, mails } = self.inner().idle.pop()?;
        (since.elapsed() < IDLE_LIMIT).then_some(Pooled { relay, mails })
    }

    /// Takes a connection over which `mails` went, the last one just now; or says goodbye on it.
    pub(super) async fn give_back(&self, relay: Relay, mails: u32) {
        let over = {
            let mut inner = self.inner();
            if inner.is_closed || mails >= MAILS_PER_CONNECTION || inner.idle.len() >= MAX_IDLE {
                Some(relay)
            } else {
                let since = Instant::now();
                inner.idle.push(Idle { relay, since, mails });
                None
            }
        };
        if let Some(relay) = over {
            relay.quit().await;
        }
    }

    /// Those that have waited too long, or all of them for ever.
    fn withdraw(&self, all: bool) -> Vec<Relay> {
        let mut inner = self.inner();
        inner.is_closed |= all;
        let (over, kept): (Vec<_>, Vec<_>) = mem::take(&mut inner.idle)
            .into_iter()
            .partition(|idle| all || idle.since.elapsed() >= IDLE_LIMIT);
        inner.idle = kept;
        over.into_iter().map(|idle| idle.relay).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A list is a list whatever happened; a connection in it was given back whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.inner().idle.len()).finish()
    }
}

/// Says goodbye on connections that nobody needs; see [`SendMail::keeper`](super::SendMail::keeper).
#[derive(Debug)]
pub struct PoolKeeper(Vec<Pool>);

impl PoolKeeper {
    pub(super) fn of(pools: &HashMap<String, Pool>) -> Self {
        Self(pools.values().cloned().collect())
    }

    /// Runs until `stop`, and closes all that are left then.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let is_over = stop
                .run_until_cancelled(tokio::time::sleep(IDLE_LIMIT))
                .await
                .is_none();
            let over = self.0.iter().flat_map(|pool| pool.withdraw(is_over));
            futures_util::future::join_all(over.map(Relay::quit)).await;
            if is_over {
                return;
            }
        }
    }
}
