//! The mails of a mailbox by what has become of them, as metrics: whatever was seen is in one of the states, and once none
//! is `discovered`, seen = published + carried + old + gone + dead + held.
//!
//! The table is counted, so that the figures hold after crashes as well, which no counter in memory does.

use postroom::StoreError;
use tokio::time::Instant;

use super::watch::Ingest;
use crate::store::mails::{self, STATES};

/// When it was told last.
#[derive(Debug, Default)]
pub(super) struct Tally(Option<Instant>);

impl Tally {
    /// Tells, unless it did a moment ago: of a large mailbox, counting takes a while.
    pub(super) async fn tell(&mut self, ingest: &Ingest) -> Result<(), StoreError> {
        let watched = &ingest.watched;
        if self.0.is_some_and(|told| told.elapsed() < watched.pace.tally) {
            return Ok(());
        }
        let mut read = ingest.store.read().await?;
        let counts = mails::count_of(&mut read, &watched.account, &watched.mailbox).await?;
        read.rollback().await?;
        for state in STATES {
            set(ingest, state, counts.get(state).copied().unwrap_or(0));
        }
        self.0 = Some(Instant::now());
        Ok(())
    }
}

/// Another process tells from now on.
pub(super) fn hand_over(ingest: &Ingest) {
    for state in STATES {
        set(ingest, state, 0);
    }
}

fn set(ingest: &Ingest, state: &'static str, mails: i64) {
    let (account, mailbox) = (ingest.watched.account.clone(), ingest.watched.mailbox.clone());
    let mails = u32::try_from(mails).unwrap_or(u32::MAX);
    metrics::gauge!("postroom_ingest_mails", "account" => account, "mailbox" => mailbox, "state" => state)
        .set(f64::from(mails));
}
