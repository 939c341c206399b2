//! What the server says, against what is known: which epoch the UIDs belong to, and which mails are new.

use super::error::IngestError;
use super::imap::{Selected, Session};
use super::lease::Lease;
use super::recover::{is_reused, recover};
use super::watch::{Start, Watched};
use crate::store::known;
use crate::store::mailboxes::{self, Checkpoint};
use crate::store::mails::{self, Place};

/// Rows written in one transaction; SQLite has one writer, and others want it too.
pub(super) const CHUNK: usize = 1_000;

/// Finds or makes the checkpoint for the mailbox as it was selected.
pub(super) async fn enter(
    watched: &Watched,
    lease: &Lease,
    session: &mut Session,
    selected: Selected,
) -> Result<Checkpoint, IngestError> {
    let (account, mailbox) = (watched.account.as_str(), watched.mailbox.as_str());
    let mut tx = lease.begin().await?;
    let known = mailboxes::find(&mut tx, account, mailbox).await?;
    let now = mailboxes::now(&mut tx).await?;
    // Not while a transaction waits for the server: on SQLite it would hold up every other writer.
    tx.rollback().await?;
    match known {
        Some(known) if begins_anew(known, selected) => {
            recover(watched, lease, session, known, selected.uidvalidity).await
        }
        Some(known) => Ok(known),
        None => {
            let first = first_look(watched.start, session, selected, now).await?;
            let mut tx = lease.begin().await?;
            mailboxes::save(&mut tx, account, mailbox, first).await?;
            tx.commit().await?;
            Ok(first)
        }
    }
}

/// A new UIDVALIDITY says so; a UIDNEXT below a UID that was seen already says that the server lost its memory.
fn begins_anew(known: Checkpoint, selected: Selected) -> bool {
    selected.uidvalidity != known.uidvalidity || selected.uidnext.is_some_and(|next| next < known.low_uid)
}

async fn first_look(
    start: Start,
    session: &mut Session,
    selected: Selected,
    now: i64,
) -> Result<Checkpoint, IngestError> {
    let (low_uid, since) = match start {
        Start::All => (1, 0),
        // From what is there, never from UIDNEXT: a mail may arrive between the two.
        Start::New => (
            session
                .search_from(1)
                .await?
                .last()
                .map_or(1, |uid| uid.saturating_add(1)),
            now,
        ),
    };
    Ok(Checkpoint {
        epoch: 1,
        uidvalidity: selected.uidvalidity,
        low_uid,
        first_uid: low_uid,
        held_below: 0,
        since,
    })
}

/// Notes every mail that has come since, then moves the checkpoint past it. Rows first: a mail below the checkpoint
/// without a row would only be found by the next audit.
pub(super) async fn discover(
    watched: &Watched,
    lease: &Lease,
    session: &mut Session,
    checkpoint: &mut Checkpoint,
) -> Result<(), IngestError> {
    let uids = session.search_from(checkpoint.low_uid).await?;
    for uids in uids.chunks(CHUNK) {
        let mut moved = *checkpoint;
        moved.low_uid = uids.last().map_or(moved.low_uid, |uid| uid.saturating_add(1));
        note(watched, lease, uids, moved).await?;
        *checkpoint = moved;
    }
    Ok(())
}

/// Compares all that is there with all that is known, and notes what the server has not shown before: some give UIDs in
/// one order and show their mails in another.
pub(super) async fn audit(
    watched: &Watched,
    lease: &Lease,
    session: &mut Session,
    checkpoint: &mut Checkpoint,
) -> Result<(), IngestError> {
    if is_reused(watched, lease, session, *checkpoint).await? {
        *checkpoint = recover(watched, lease, session, *checkpoint, checkpoint.uidvalidity).await?;
    }
    let uids = session.search_from(checkpoint.first_uid).await?;
    for uids in uids.chunks(CHUNK) {
        let mut tx = lease.begin().await?;
        let (account, mailbox) = (&watched.account, &watched.mailbox);
        let missing = known::rowless(&mut tx, account, mailbox, checkpoint.epoch, uids).await?;
        tx.rollback().await?;
        let late = missing.iter().filter(|&&uid| uid < checkpoint.low_uid).count();
        if late > 0 {
            tracing::warn!(
                account,
                mailbox,
                late,
                "the server shows mails late, below UIDs that it had shown before"
            );
            metrics::counter!("postroom_ingest_late_total", "account" => account.clone())
                .increment(late as u64);
        }
        if !missing.is_empty() {
            let mut moved = *checkpoint;
            moved.low_uid = uids
                .last()
                .map_or(moved.low_uid, |uid| moved.low_uid.max(uid.saturating_add(1)));
            note(watched, lease, &missing, moved).await?;
            *checkpoint = moved;
        }
    }
    Ok(())
}

/// Rows for these mails and the checkpoint beyond them, in one transaction.
async fn note(watched: &Watched, lease: &Lease, uids: &[u32], moved: Checkpoint) -> Result<(), IngestError> {
    let mut tx = lease.begin().await?;
    for &uid in uids {
        let place = Place {
            account: watched.account.clone(),
            mailbox: watched.mailbox.clone(),
            epoch: moved.epoch,
            uid,
        };
        mails::discover(&mut tx, &place).await?;
    }
    mailboxes::save(&mut tx, &watched.account, &watched.mailbox, moved).await?;
    tx.commit().await?;
    watched.count_seen(uids.len() as u64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_uids_begin_anew() {
        let check = |uidvalidity, uidnext, expect| {
            let known = Checkpoint {
                epoch: 1,
                uidvalidity: 7,
                low_uid: 100,
                first_uid: 1,
                held_below: 0,
                since: 0,
            };
            assert_eq!(
                begins_anew(
                    known,
                    Selected {
                        uidvalidity,
                        uidnext,
                        exists: 0
                    }
                ),
                expect
            );
        };
        check(7, Some(100), false);
        check(7, Some(5_000), false);
        check(7, None, false);
        check(7, Some(99), true);
        check(8, Some(100), true);
    }
}
