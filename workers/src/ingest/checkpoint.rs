//! What the server says, against what is known: which epoch the UIDs belong to, and which mails are new.

use super::error::IngestError;
use super::imap::{Selected, Session};
use super::lease::Lease;
use super::watch::{Start, Watched};
use crate::store::mailboxes::{self, Checkpoint};
use crate::store::mails::{self, Place};

/// Rows written in one transaction; SQLite has one writer, and others want it too.
const CHUNK: usize = 1_000;

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
    let checkpoint = match known {
        Some(known) if !begins_anew(known, selected) => return Ok(known),
        Some(known) => {
            let epoch = known.epoch + 1;
            let forgotten = mails::forget_before(&mut tx, account, mailbox, epoch).await?;
            tracing::warn!(
                account,
                mailbox,
                epoch,
                forgotten,
                was = known.uidvalidity,
                is = selected.uidvalidity,
                "the server's UIDs begin anew; mails are matched by their content"
            );
            watched.count_settled(mails::State::Gone, forgotten);
            metrics::counter!("postroom_ingest_resets_total", "account" => watched.account.clone())
                .increment(1);
            Checkpoint {
                epoch,
                uidvalidity: selected.uidvalidity,
                low_uid: 1,
                since: known.since,
            }
        }
        None => {
            // Not while a transaction waits for the server: on SQLite it would hold up every other writer.
            let now = mailboxes::now(&mut tx).await?;
            tx.rollback().await?;
            let first = first_look(watched.start, session, selected, now).await?;
            tx = lease.begin().await?;
            first
        }
    };
    mailboxes::save(&mut tx, account, mailbox, checkpoint).await?;
    tx.commit().await?;
    Ok(checkpoint)
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
        since,
    })
}

/// Notes every mail that has come since, then moves the checkpoint past it. Rows first: a mail below the checkpoint
/// without a row would never be looked for again.
pub(super) async fn discover(
    watched: &Watched,
    lease: &Lease,
    session: &mut Session,
    checkpoint: &mut Checkpoint,
) -> Result<(), IngestError> {
    let uids = session.search_from(checkpoint.low_uid).await?;
    for uids in uids.chunks(CHUNK) {
        let mut tx = lease.begin().await?;
        for &uid in uids {
            let (account, mailbox) = (watched.account.clone(), watched.mailbox.clone());
            mails::discover(
                &mut tx,
                &Place {
                    account,
                    mailbox,
                    epoch: checkpoint.epoch,
                    uid,
                },
            )
            .await?;
        }
        let mut moved = *checkpoint;
        moved.low_uid = uids.last().map_or(moved.low_uid, |uid| uid.saturating_add(1));
        mailboxes::save(&mut tx, &watched.account, &watched.mailbox, moved).await?;
        tx.commit().await?;
        *checkpoint = moved;
        metrics::counter!("postroom_ingest_seen_total", "account" => watched.account.clone())
            .increment(uids.len() as u64);
    }
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
