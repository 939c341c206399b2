//! The mails that wait, a batch at a time: counted, fetched, and handed on to be stored, parsed and settled.

use jiff::Timestamp;
use postroom::CancellationToken;
use postroom::redact::for_log;

use super::digest::Digests;
use super::error::IngestError;
use super::found::Found;
use super::imap::{Fetched, ImapError, Session};
use super::lease::Lease;
use super::settle::{Finding, What, settle};
use super::watch::Ingest;
use crate::store::mailboxes::Checkpoint;
use crate::store::mails::{self, Place, Seen, Waiting};

/// Mails whose rows and events share one commit.
const BATCH: u32 = 32;
/// A mail that was begun so often without an end takes the process or the connection with it each time.
const MAX_ATTEMPTS: i64 = 10;

/// Works off every mail that waits, once. Tells whether the server refused some, which then wait for the next round.
pub(super) async fn work_off(
    ingest: &Ingest,
    lease: &Lease,
    session: &mut Session,
    checkpoint: Checkpoint,
    stop: &CancellationToken,
) -> Result<bool, IngestError> {
    let mut left = false;
    let mut after = 0;
    while !stop.is_cancelled() {
        let waiting = begin(ingest, lease, checkpoint, after).await?;
        let Some(last) = waiting.last() else { break };
        after = last.uid;
        let mut batch = Batch::new(ingest, checkpoint);
        let fetched = batch.fetch(session, &waiting, stop).await;
        batch.close(lease).await?;
        left |= fetched?;
    }
    Ok(left)
}

/// Picks the next mails and counts an attempt for each of them, before any is touched. A mail that was begun before is
/// taken alone: if it kills the process again, no other mail is blamed.
async fn begin(
    ingest: &Ingest,
    lease: &Lease,
    checkpoint: Checkpoint,
    after: u32,
) -> Result<Vec<Waiting>, IngestError> {
    let (account, mailbox) = (&ingest.watched.account, &ingest.watched.mailbox);
    let mut tx = lease.begin().await?;
    let mut waiting = mails::waiting(&mut tx, account, mailbox, checkpoint.epoch, after, BATCH).await?;
    let fresh = waiting.iter().take_while(|mail| mail.attempts == 0).count();
    waiting.truncate(fresh.max(1));
    for mail in &waiting {
        mails::count_attempt(&mut tx, &place(ingest, checkpoint, mail.uid), 1).await?;
    }
    tx.commit().await?;
    Ok(waiting)
}

struct Batch<'a> {
    ingest: &'a Ingest,
    checkpoint: Checkpoint,
    digests: Digests,
    findings: Vec<Finding>,
    /// Mails whose attempt was counted and not made.
    returned: Vec<Place>,
}

impl<'a> Batch<'a> {
    fn new(ingest: &'a Ingest, checkpoint: Checkpoint) -> Self {
        let digests = Digests::new(ingest.blobs.clone(), &ingest.watched.policy);
        Self {
            ingest,
            checkpoint,
            digests,
            findings: Vec::new(),
            returned: Vec::new(),
        }
    }

    /// Fetches until the batch, the patience of the program or the connection ends. Tells whether mails were refused.
    async fn fetch(
        &mut self,
        session: &mut Session,
        waiting: &[Waiting],
        stop: &CancellationToken,
    ) -> Result<bool, IngestError> {
        let mut left = false;
        for (at, mail) in waiting.iter().enumerate() {
            let place = place(self.ingest, self.checkpoint, mail.uid);
            let fetched = match stop.is_cancelled() || !self.digests.failed.is_empty() {
                true => Ok(None),
                false => self.fetch_one(session, &place, mail).await.map(Some),
            };
            match fetched {
                Ok(Some(())) => continue,
                Err(refusal) if refusal.is_refusal() => {
                    tracing::warn!(account = place.account, uid = place.uid, error = %for_log(&refusal.to_string()), "a mail is refused; it waits");
                    left = true;
                    continue;
                }
                Ok(None) => self.give_back(&waiting[at..]),
                Err(error) => {
                    self.give_back(&waiting[at + 1..]);
                    if let ImapError::TooLarge { .. } = error {
                        self.give_up(place, error.to_string());
                    }
                    return Err(error.into());
                }
            }
            break;
        }
        Ok(left)
    }

    async fn fetch_one(
        &mut self,
        session: &mut Session,
        place: &Place,
        mail: &Waiting,
    ) -> Result<(), ImapError> {
        if mail.attempts >= MAX_ATTEMPTS {
            let reason = format!("{} attempts to fetch and parse it came to no end", mail.attempts);
            self.give_up(place.clone(), reason);
            return Ok(());
        }
        match session.fetch(place.uid).await? {
            Some(Fetched {
                raw,
                internal_date,
                size,
                gmail: (provider_id, thread),
                ..
            }) => {
                let seen = Seen {
                    internal_date: internal_date.map(|date| date.as_millisecond()),
                    size: size.map(i64::from),
                    provider_id,
                };
                let mut found = self.found(place, internal_date.unwrap_or_else(Timestamp::now));
                found.provider_thread = thread.map(|id| id.to_string());
                self.digests
                    .begin(place.clone(), seen, found, raw, self.checkpoint.since)
                    .await;
            }
            None => self.findings.push(Finding {
                place: place.clone(),
                seen: Seen::default(),
                what: What::Gone,
            }),
        }
        Ok(())
    }

    /// Waits for what is under way and settles everything in one transaction.
    async fn close(mut self, lease: &Lease) -> Result<(), IngestError> {
        self.digests.finish().await;
        self.findings.append(&mut self.digests.done);
        // Events leave in the order in which the mails came.
        self.findings.sort_by_key(|finding| finding.place.uid);
        let mut trouble = Ok(());
        for (place, error) in self.digests.failed.drain(..) {
            self.returned.push(place);
            trouble = Err(error);
        }
        settle(
            &self.ingest.watched,
            lease,
            self.checkpoint,
            &self.findings,
            &self.returned,
        )
        .await?;
        trouble
    }

    fn give_back(&mut self, waiting: &[Waiting]) {
        let places = waiting
            .iter()
            .map(|mail| place(self.ingest, self.checkpoint, mail.uid));
        self.returned.extend(places);
    }

    fn give_up(&mut self, place: Place, reason: String) {
        let found = self.found(&place, Timestamp::now());
        self.findings.push(Finding {
            place,
            seen: Seen::default(),
            what: What::Unreadable(found.unreadable(None, reason)),
        });
    }

    fn found(&self, place: &Place, received_at: Timestamp) -> Found {
        Found {
            event_id: place.event_id(),
            account: place.account.clone(),
            mailbox: place.mailbox.clone(),
            uidvalidity: self.checkpoint.uidvalidity,
            uid: place.uid,
            received_at,
            provider_thread: None,
        }
    }
}

fn place(ingest: &Ingest, checkpoint: Checkpoint, uid: u32) -> Place {
    let (account, mailbox) = (ingest.watched.account.clone(), ingest.watched.mailbox.clone());
    Place {
        account,
        mailbox,
        epoch: checkpoint.epoch,
        uid,
    }
}
