//! The end of a batch: one transaction with all that was decided.
//!
//! Nothing is decided before it. A crash at any point leaves rows that are still `discovered`; fetching, storing and
//! parsing again gives the same blob, the same event id and the same payload.

use postroom::{Terms, Tx};

use super::bounced;
use super::error::IngestError;
use super::found;
use super::lease::Lease;
use super::watch::Watched;
use crate::messages::{BlobRef, Bounce, NewMail, UnreadableMail};
use crate::store::mailboxes::{self, Checkpoint};
use crate::store::mails::{self, Kept, Place, Seen, State};

/// What was found out about one mail, before anything of it is written.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) seen: Seen,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    New(Box<NewMail>, Option<Bounce>),
    Unreadable(UnreadableMail),
    Old(BlobRef),
    Gone,
}

impl What {
    fn raw(&self) -> Option<&BlobRef> {
        match self {
            Self::New(mail, _) => Some(&mail.raw),
            Self::Unreadable(mail) => mail.raw.as_ref(),
            Self::Old(raw) => Some(raw),
            Self::Gone => None,
        }
    }

    fn message_id(&self) -> Option<&str> {
        match self {
            Self::New(mail, _) => Some(&mail.message_id),
            _ => None,
        }
    }
}

/// Writes rows, events and dead letters. Mails that were begun without their fault in it get their attempt back.
pub(super) async fn settle(
    watched: &Watched,
    lease: &Lease,
    checkpoint: Checkpoint,
    findings: &[Finding],
    returned: &[Place],
) -> Result<(), IngestError> {
    if findings.is_empty() && returned.is_empty() {
        return Ok(());
    }
    let mut tx = lease.begin().await?;
    let held_below = match checkpoint.held_below {
        0 => 0,
        // A person may have released them meanwhile.
        _ => mailboxes::find(&mut tx, &watched.account, &watched.mailbox)
            .await?
            .map_or(0, |now| now.held_below),
    };
    let mut settled = Vec::with_capacity(findings.len());
    for finding in findings {
        settled.extend(write(&mut tx, watched, finding, held_below).await?);
    }
    for place in returned {
        mails::count_attempt(&mut tx, place, -1).await?;
    }
    tx.commit().await?;
    for state in settled {
        watched.count_settled(state, 1);
    }
    Ok(())
}

/// The row, and what is to be published with it. `None` when the row was settled before.
async fn write(
    tx: &mut Tx,
    watched: &Watched,
    finding: &Finding,
    held_below: u32,
) -> Result<Option<State>, IngestError> {
    let Finding { place, seen, what } = finding;
    let mut kept = Kept {
        raw: what.raw(),
        message_id: what.message_id(),
        seen: *seen,
        ..Kept::default()
    };
    let carried = match what.raw() {
        Some(raw) => mails::carry_over(tx, place, &raw.sha256).await? || is_copy(tx, place, seen).await?,
        None => false,
    };
    let state = match what {
        _ if carried => State::Carried,
        What::Gone => State::Gone,
        What::Old(_) => State::Old,
        What::New(..) if place.uid < held_below => State::Held,
        What::New(mail, _) => {
            kept.summary = Some(mail);
            State::Published
        }
        What::Unreadable(mail) => {
            kept.error = Some(&mail.reason);
            State::Dead
        }
    };
    if !mails::settle(tx, place.event_id(), state, kept).await? {
        return Ok(None);
    }
    match what {
        What::New(mail, bounce) if state == State::Published => {
            let row = tx.publish_on(&Terms::default(), mail.as_ref()).await?;
            let of = (watched.account.as_str(), watched.mailbox.as_str());
            watched.policy.after.decide(tx, mail.event_id, of, &row).await?;
            if let Some(bounce) = bounce {
                bounced::publish(tx, mail, bounce).await?;
            }
        }
        What::Unreadable(mail) if !carried => drop(tx.dead_letter(&found::letter(mail)?).await?),
        _ => {}
    }
    Ok(Some(state))
}

async fn is_copy(tx: &mut Tx, place: &Place, seen: &Seen) -> Result<bool, IngestError> {
    match seen.provider_id {
        Some(id) => Ok(!mails::is_first_copy(tx, place, id).await?),
        None => Ok(false),
    }
}
