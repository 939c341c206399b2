//! The mails that wait: fetched, stored, parsed, and settled in one transaction a batch.
//!
//! Nothing is decided before that transaction. A crash at any point leaves rows that are still `discovered`; fetching,
//! storing and parsing again gives the same blob, the same event id and the same payload.

use jiff::Timestamp;
use postroom::{CancellationToken, Tx};

use super::error::IngestError;
use super::found::{self, Found};
use super::imap::{Fetched, ImapError, Session};
use super::lease::Lease;
use super::watch::Ingest;
use crate::messages::{BlobRef, NewMail, UnreadableMail};
use crate::mime::{self, Summary};
use crate::store::mailboxes::Checkpoint;
use crate::store::mails::{self, Kept, Place, State, Waiting};

/// Mails whose rows, events and checkpoints share one commit.
const BATCH: u32 = 32;
/// A mail that was begun so often without an end takes the process or the connection with it each time.
const MAX_ATTEMPTS: i64 = 10;

/// What was found out about one mail, before anything of it is written.
struct Finding {
    place: Place,
    what: What,
}

enum What {
    New(Box<NewMail>),
    Unreadable(UnreadableMail),
    Old(BlobRef),
    Gone,
}

impl What {
    fn raw(&self) -> Option<&BlobRef> {
        match self {
            Self::New(mail) => Some(&mail.raw),
            Self::Unreadable(mail) => mail.raw.as_ref(),
            Self::Old(raw) => Some(raw),
            Self::Gone => None,
        }
    }
}

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
        let batch = begin(ingest, lease, checkpoint, after).await?;
        let Some(last) = batch.last() else { break };
        after = last.uid;
        let mut findings = Vec::with_capacity(batch.len());
        let mut trouble = None;
        let mut begun = 0;
        for waiting in &batch {
            if stop.is_cancelled() {
                break;
            }
            begun += 1;
            let place = place(ingest, checkpoint, waiting.uid);
            match find_out(ingest, session, checkpoint, &place, waiting).await {
                Ok(what) => findings.push(Finding { place, what }),
                Err(IngestError::Imap(refusal)) if refusal.is_refusal() => {
                    tracing::warn!(account = place.account, uid = place.uid, error = %refusal, "a mail is refused; it waits");
                    left = true;
                }
                Err(error) => {
                    // A full disk or an absent database is not this mail's fault.
                    begun -= usize::from(!matches!(error, IngestError::Imap(_)));
                    if let IngestError::Imap(ImapError::TooLarge { .. }) = error {
                        let found = found(&place, checkpoint, Timestamp::now());
                        let what = What::Unreadable(found.unreadable(None, error.to_string()));
                        findings.push(Finding { place, what });
                    }
                    trouble = Some(error);
                    break;
                }
            }
        }
        settle(ingest, lease, &findings, &batch[begun..], checkpoint).await?;
        if let Some(error) = trouble {
            return Err(error);
        }
    }
    Ok(left)
}

/// Picks the next batch and counts an attempt for each of its mails, before any is touched. A mail that was begun
/// before is taken alone: if it kills the process again, no other mail is blamed.
async fn begin(
    ingest: &Ingest,
    lease: &Lease,
    checkpoint: Checkpoint,
    after: u32,
) -> Result<Vec<Waiting>, IngestError> {
    let (account, mailbox) = (&ingest.watched.account, &ingest.watched.mailbox);
    let mut tx = lease.begin().await?;
    let mut batch = mails::waiting(&mut tx, account, mailbox, checkpoint.epoch, after, BATCH).await?;
    let fresh = batch.iter().take_while(|mail| mail.attempts == 0).count();
    batch.truncate(fresh.max(1));
    for mail in &batch {
        mails::count_attempt(&mut tx, &place(ingest, checkpoint, mail.uid), 1).await?;
    }
    tx.commit().await?;
    Ok(batch)
}

async fn find_out(
    ingest: &Ingest,
    session: &mut Session,
    checkpoint: Checkpoint,
    place: &Place,
    waiting: &Waiting,
) -> Result<What, IngestError> {
    if waiting.attempts >= MAX_ATTEMPTS {
        let reason = format!(
            "{} attempts to fetch and parse it came to no end",
            waiting.attempts
        );
        return Ok(What::Unreadable(
            found(place, checkpoint, Timestamp::now()).unreadable(None, reason),
        ));
    }
    let Some(Fetched {
        raw, internal_date, ..
    }) = session.fetch(place.uid).await?
    else {
        return Ok(What::Gone);
    };
    let received_at = internal_date.unwrap_or_else(Timestamp::now);
    // The raw mail first: whatever the parser makes of it, it can be parsed again.
    let blob = ingest.blobs.put(raw.clone()).await?;
    if received_at.as_millisecond() < checkpoint.since {
        return Ok(What::Old(blob));
    }
    let found = found(place, checkpoint, received_at);
    Ok(match parse(raw, blob.sha256.clone()).await {
        Ok(summary) => What::New(Box::new(found.announce(blob, summary))),
        Err(reason) => What::Unreadable(found.unreadable(Some(blob), reason)),
    })
}

/// Parsing takes milliseconds of pure computing, and for hostile mail more, so it leaves the event loop alone.
pub(super) async fn parse(raw: Vec<u8>, sha256: String) -> Result<Summary, String> {
    match tokio::task::spawn_blocking(move || mime::parse(&raw, &sha256)).await {
        Ok(parsed) => parsed.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the parser did not finish: {error}")),
    }
}

/// One transaction for the whole batch: rows, events, dead letters. Mails that were not begun get their attempt back.
async fn settle(
    ingest: &Ingest,
    lease: &Lease,
    findings: &[Finding],
    untouched: &[Waiting],
    checkpoint: Checkpoint,
) -> Result<(), IngestError> {
    if findings.is_empty() && untouched.is_empty() {
        return Ok(());
    }
    let mut tx = lease.begin().await?;
    let mut settled = Vec::with_capacity(findings.len());
    for finding in findings {
        settled.extend(write(&mut tx, finding).await?);
    }
    for waiting in untouched {
        mails::count_attempt(&mut tx, &place(ingest, checkpoint, waiting.uid), -1).await?;
    }
    tx.commit().await?;
    for state in settled {
        ingest.watched.count_settled(state, 1);
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
        What::New(mail) => {
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
        What::New(mail) if !carried => tx.publish(mail.as_ref()).await?,
        What::Unreadable(mail) if !carried => drop(tx.dead_letter(&found::letter(mail)?).await?),
        _ => {}
    }
    Ok(Some(state))
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

fn found(place: &Place, checkpoint: Checkpoint, received_at: Timestamp) -> Found {
    Found {
        event_id: place.event_id(),
        account: place.account.clone(),
        mailbox: place.mailbox.clone(),
        uidvalidity: checkpoint.uidvalidity,
        uid: place.uid,
        received_at,
    }
}
