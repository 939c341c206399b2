//! Another chance for mails that could not be read: after a better parser, or by a person's replay.

use std::collections::HashMap;
use std::time::Duration;

use postroom::{Cx, CxError, Handle, Handler, HandlerError, Key, Spec, Terms};

use super::bounced;
use super::digest::{keep_parts, parse};
use super::found::Found;
use super::watch::Policy;
use crate::blob::{BlobError, BlobStore};
use crate::messages::UnreadableMail;
use crate::store::mails::{self, Kept, State};

pub(super) const ID: &str = "ingest-reparse";

/// Parses the stored mail once more and announces it. A mail that was never fetched is put back for ingest to fetch.
#[derive(Debug)]
pub struct Reparse {
    blobs: BlobStore,
    policies: Policies,
}

/// What is configured about the mails of each mailbox, by account and mailbox.
pub type Policies = HashMap<(String, String), Policy>;

/// Why the mail is still unread.
#[derive(Debug, thiserror::Error, HandlerError)]
pub enum ReparseError {
    #[error("{0}")]
    #[on(dead_letter)]
    Unreadable(String),
    #[error("the mail was never fetched, and the server has given its UID to another mail since")]
    #[on(dead_letter)]
    NotFetched,
    #[error("the stored mail is missing or damaged")]
    #[on(dead_letter)]
    Lost(#[source] BlobError),
    #[error(transparent)]
    #[on(retry)]
    Blob(BlobError),
    #[error(transparent)]
    #[on(inherit)]
    Cx(#[from] CxError),
}

impl ReparseError {
    fn of(error: BlobError) -> Self {
        match error {
            BlobError::Io { .. } | BlobError::Interrupted => Self::Blob(error),
            lost => Self::Lost(lost),
        }
    }
}

impl Reparse {
    /// Nothing is done with mails of mailboxes that `policies` does not name, and nobody believed.
    pub fn new(blobs: BlobStore, policies: Policies) -> Self {
        Self { blobs, policies }
    }
}

impl Handler for Reparse {
    type Message = UnreadableMail;

    fn spec() -> Spec<UnreadableMail> {
        /// As long as events are kept.
        const TTL: Duration = Duration::from_secs(14 * 24 * 3600);
        Spec::new(ID)
            .idempotent(|mail: &UnreadableMail| Key::of(&[&mail.event_id]), TTL)
            .retry(8, Duration::from_secs(2), Duration::from_secs(900))
            .timeout(Duration::from_secs(120))
            .concurrency(2)
    }
}

impl Handle<UnreadableMail> for Reparse {
    type Error = ReparseError;

    async fn handle(&self, mail: UnreadableMail, cx: &mut Cx<'_>) -> Result<(), ReparseError> {
        let found = Found::again(&mail);
        let Some(raw) = mail.raw else {
            let returned = mails::return_to_queue(cx.tx().await?, mail.event_id)
                .await
                .map_err(CxError::from)?;
            return if returned {
                Ok(())
            } else {
                Err(ReparseError::NotFetched)
            };
        };
        let bytes = self.blobs.get(&raw).await.map_err(ReparseError::of)?;
        let mut summary = parse(bytes, raw.sha256.clone())
            .await
            .map_err(ReparseError::Unreadable)?;
        let html = keep_parts(&self.blobs, &mut summary)
            .await
            .map_err(ReparseError::of)?;
        let bounce = summary.bounce.take();
        let of = (found.account.clone(), found.mailbox.clone());
        let policy = self.policies.get(&of).cloned().unwrap_or_default();
        let mail = found.announce(raw, summary, html, &policy);
        let kept = Kept {
            raw: Some(&mail.raw),
            message_id: Some(&mail.message_id),
            summary: Some(&mail),
            ..Kept::default()
        };
        let settled = mails::settle(cx.tx().await?, mail.event_id, State::Published, kept).await;
        if settled.map_err(CxError::from)? {
            let row = cx.publish_on(&Terms::default(), &mail).await?;
            let tx = cx.tx().await?;
            let decided = policy.after.decide(tx, mail.event_id, (&of.0, &of.1), &row).await;
            decided.map_err(CxError::from)?;
            if let Some(bounce) = &bounce {
                let published = bounced::publish(cx.tx().await?, &mail, bounce).await;
                published.map_err(CxError::from)?;
            }
        }
        Ok(())
    }
}
