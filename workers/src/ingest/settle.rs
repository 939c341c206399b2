//! The end of a batch: one transaction with all that was decided.
//!
//! Nothing is decided before it. A crash at any point leaves rows that are still `discovered`; fetching, storing and
//! parsing again gives the same blob, the same event id and the same payload.

use postroom::Tx;

use super::bounced;
use super::error::IngestError;
use super::found;
use super::lease::Lease;
use super::watch::Watched;
use crate::messages::{BlobRef, Bounce, NewMail, UnreadableMail};
use crate::store::mails::{self, Kept, Place, State};

/// What was found out about one mail, before anything of it is written.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
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
}

/// Writes rows, events and dead letters. Mails that were begun without their fault in it get their attempt back.
pub(super) async fn settle(
    watched: &Watched,
    lease: &Lease,
    findings: &[Finding],
    returned: &[Place],
) -> Result<(), IngestError> {
    if findings.is_empty() && returned.is_empty() {
        return Ok(());
    }
    let mut tx = lease.begin().await?;
    let mut settled = Vec::with_capacity(findings.len());
    for finding in findings {
        settled.extend(write(&mut tx, finding).await?);
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
async fn write(tx: &mut Tx, finding: &Finding) -> Result<Option<State>, IngestError> {
    let Finding { place, what } = finding;
    let mut kept = Kept {
        raw: what.raw(),
        ..Kept::default()
    };
    let carried = match what.raw() {
        Some(raw) => mails::carry_over(tx, place, &raw.sha256).await?,
        None => false,
    };
    let state = match what {
        _ if carried => State::Carried,
        What::Gone => State::Gone,
        What::Old(_) => State::Old,
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
        What::New(mail, bounce) if !carried => {
            tx.publish(mail.as_ref()).await?;
            if let Some(bounce) = bounce {
                bounced::publish(tx, mail, bounce).await?;
            }
        }
        What::Unreadable(mail) if !carried => drop(tx.dead_letter(&found::letter(mail)?).await?),
        _ => {}
    }
    Ok(Some(state))
}
