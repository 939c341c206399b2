//! One mailbox, watched for ever: lease, connection, mails, waiting; and after trouble, all of it again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use postroom::explain::{panic_text, with_causes};
use postroom::redact::for_log;
use postroom::{CancellationToken, Store};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::after::{self, After};
use super::backoff::Backoff;
use super::error::IngestError;
use super::imap::{IdleEnd, ImapError, MAX_IDLE, Session};
use super::lease::Lease;
use super::tally::{self, Tally};
use super::turnstile::Turnstile;
use super::{batch, checkpoint};
use crate::blob::BlobStore;
use crate::gate::Gate;
use crate::login::Login;
use crate::reply::ReplySecret;
use crate::store::actions::{self, Action};
use crate::store::mails::State;
use crate::tls::{Dialer, Endpoint};

/// Which mails count when a mailbox is looked at for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Those that arrive from now on.
    #[default]
    New,
    /// Those that are there already, too.
    All,
}

/// How often and how patiently the server is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// IDLE is re-issued, and the mailbox searched, after this; at most [`MAX_IDLE`].
    pub idle: Duration,
    /// The mailbox is searched this often where the server has no IDLE, and while a mail is refused.
    pub poll: Duration,
    /// All that is in the mailbox is compared with all that is known this often, and when a connection begins.
    pub audit: Duration,
    /// The database is asked this often whether something is to be done on the server, such as marking what was answered.
    pub errands: Duration,
    /// The mails are counted, for the metrics, at most this often.
    pub tally: Duration,
    /// First and longest wait before a new connection.
    pub reconnect: (Duration, Duration),
    /// A process that died leaves its mailboxes to the others, or to its own next start, after this.
    pub lease: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            idle: MAX_IDLE,
            poll: Duration::from_secs(60),
            audit: Duration::from_secs(15 * 60),
            errands: Duration::from_secs(10),
            tally: Duration::from_secs(60),
            reconnect: (Duration::from_secs(1), Duration::from_secs(300)),
            lease: Duration::from_secs(6),
        }
    }
}

/// The broker confirms within milliseconds, and what is to be done then need not wait much longer.
const CONFIRMED: Duration = Duration::from_millis(200);

/// How often, during one lease, a process that stands by asks whether the mailbox is free.
const ASKED_PER_LEASE: u32 = 10;

/// What is configured about the mails of a mailbox.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What becomes of them on the server.
    pub after: After,
    /// The hosts whose `Authentication-Results` are believed.
    pub authserv_ids: Vec<String>,
    /// What marks of replies are signed with; without it none is believed.
    pub reply_secret: Option<ReplySecret>,
}

/// A mailbox to watch.
#[derive(Clone)]
pub struct Watched {
    pub account: String,
    pub mailbox: String,
    pub endpoint: Endpoint,
    pub login: Login,
    /// Shared by all mailboxes of the account: what one is refused, the others need not ask for.
    pub gate: Gate,
    /// Shared by all mailboxes of the server, whoever's they are.
    pub turnstile: Turnstile,
    pub start: Start,
    pub policy: Policy,
    pub pace: Pace,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("account", &self.account)
            .field("mailbox", &self.mailbox)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Watched {
    pub(super) fn count_seen(&self, mails: u64) {
        metrics::counter!("postroom_ingest_seen_total", "account" => self.account.clone()).increment(mails);
    }

    pub(super) fn count_actions(&self, action: Action, outcome: &'static str, mails: usize) {
        metrics::counter!("postroom_ingest_actions_total",
            "account" => self.account.clone(), "action" => action.as_str(), "outcome" => outcome)
        .increment(mails as u64);
    }

    pub(super) fn count_settled(&self, state: State, mails: u64) {
        if mails > 0 {
            metrics::counter!("postroom_ingest_settled_total", "account" => self.account.clone(), "state" => state.as_str())
                .increment(mails);
        }
    }
}

/// The worker of one mailbox; see [`App::service`](postroom::App::service).
#[derive(Debug)]
pub struct Ingest {
    pub(super) watched: Watched,
    pub(super) store: Store,
    pub(super) blobs: BlobStore,
    dialer: Dialer,
}

impl Ingest {
    pub fn new(watched: Watched, store: Store, blobs: BlobStore, dialer: Dialer) -> Self {
        Self {
            watched,
            store,
            blobs,
            dialer,
        }
    }

    /// Watches the mailbox until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (first, cap) = self.watched.pace.reconnect;
        let mut backoff = Backoff::new(first, cap);
        while !stop.is_cancelled() {
            let wait = match self.hold(&stop, &mut backoff).await {
                Ok(()) => continue,
                Err(error) => self.wait_after(&error, &mut backoff).await,
            };
            let _ = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// Errors end here: in the log, and in how long to wait.
    async fn wait_after(&self, error: &IngestError, backoff: &mut Backoff) -> Duration {
        let Watched { account, mailbox, .. } = &self.watched;
        if let IngestError::Imap(refused) = error
            && refused.is_login_refused()
        {
            metrics::counter!("postroom_ingest_logins_refused_total", "account" => account.clone())
                .increment(1);
            return self.watched.gate.refused(&self.store, &refused.to_string()).await;
        }
        let wait = backoff.wait(rand::random());
        let error = with_causes(error);
        tracing::warn!(
            account,
            mailbox,
            error = %for_log(&error),
            ?wait,
            "the mailbox connection ended; trying again"
        );
        wait
    }

    /// Waits for the lease, then works for as long as it is held.
    async fn hold(&self, stop: &CancellationToken, backoff: &mut Backoff) -> Result<(), IngestError> {
        let Watched {
            account,
            mailbox,
            pace,
            ..
        } = &self.watched;
        let lease = loop {
            if let Some(lease) = Lease::take(&self.store, account, mailbox, pace.lease).await? {
                break lease;
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(pace.lease / ASKED_PER_LEASE))
                .await
                .is_none()
            {
                return Ok(());
            }
        };
        let session = AssertUnwindSafe(self.session(&lease, stop, backoff)).catch_unwind();
        let result = tokio::select! {
            result = session => result.unwrap_or_else(|panic| Err(IngestError::Panicked(panic_text(panic.as_ref())))),
            () = lease.keep() => Err(IngestError::LeaseLost),
        };
        tally::hand_over(self);
        lease.release().await;
        result
    }

    /// One connection, from login to its end.
    async fn session(
        &self,
        lease: &Lease,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), IngestError> {
        let Watched {
            endpoint,
            login,
            gate,
            mailbox,
            ..
        } = &self.watched;
        while let Some(shut) = gate.is_shut() {
            if stop
                .run_until_cancelled(tokio::time::sleep(shut.wait))
                .await
                .is_none()
            {
                return Ok(());
            }
        }
        let login = async {
            let _turn = self.watched.turnstile.enter().await;
            Session::login(endpoint, &self.dialer, login).await
        };
        let Some(session) = stop.run_until_cancelled(login).await else {
            return Ok(());
        };
        let mut session = session?;
        gate.opened();
        let selected = session.select(mailbox).await?;
        let mut checkpoint = checkpoint::enter(&self.watched, lease, &mut session, selected).await?;
        let mut audit_at = Instant::now();
        let mut tally = Tally::default();
        while !stop.is_cancelled() {
            if audit_at <= Instant::now() {
                checkpoint::audit(&self.watched, lease, &mut session, &mut checkpoint).await?;
                audit_at = Instant::now() + self.watched.pace.audit;
            } else {
                checkpoint::discover(&self.watched, lease, &mut session, &mut checkpoint).await?;
            }
            let left = batch::work_off(self, lease, &mut session, checkpoint, stop).await?;
            after::work_off(self, lease, &mut session, checkpoint).await?;
            backoff.reset();
            tally.tell(self).await?;
            if !session.is_changed() {
                self.wait_for_news(&mut session, left, audit_at, stop).await?;
            }
        }
        session.logout().await;
        Ok(())
    }

    async fn wait_for_news(
        &self,
        session: &mut Session,
        left: bool,
        audit_at: Instant,
        stop: &CancellationToken,
    ) -> Result<(), IngestError> {
        let Pace { idle, poll, .. } = self.watched.pace;
        let idle = idle.min(audit_at.saturating_duration_since(Instant::now()));
        if session.can_idle() {
            let limit = if left { idle.min(poll) } else { idle };
            match session.idle(limit, Box::pin(self.called_away(stop))).await {
                Ok(IdleEnd::Changed | IdleEnd::Expired | IdleEnd::Stopped) => return Ok(()),
                Err(error @ ImapError::Refused { .. }) => {
                    tracing::info!(account = self.watched.account, error = %for_log(&error.to_string()), "polling instead of IDLE");
                    session.forgo_idle();
                }
                Err(error) => return Err(error.into()),
            }
        }
        if tokio::time::timeout(poll, Box::pin(self.called_away(stop)))
            .await
            .is_err()
        {
            session.noop().await?;
        }
        Ok(())
    }

    /// Ends when it is time to stop, or there is something to do on the server.
    async fn called_away(&self, stop: &CancellationToken) {
        let errand = async {
            let mut wait = CONFIRMED;
            loop {
                tokio::time::sleep(wait).await;
                wait = match self.errands().await {
                    Ok((true, _)) => return,
                    Ok((false, true)) => CONFIRMED,
                    // A database that is away is noticed by whatever is written next.
                    Ok((false, false)) | Err(_) => self.watched.pace.errands,
                };
            }
        };
        stop.run_until_cancelled(errand).await;
    }

    /// Whether something is to be done on the server now; and as soon as the broker has confirmed an event.
    async fn errands(&self) -> Result<(bool, bool), IngestError> {
        let Watched { account, mailbox, .. } = &self.watched;
        let mut read = self.store.read().await?;
        let due = actions::due(&mut read, account, mailbox, 1).await?;
        let soon = actions::are_unconfirmed(&mut read, account, mailbox).await?;
        read.rollback().await?;
        Ok((!due.is_empty(), soon))
    }
}
