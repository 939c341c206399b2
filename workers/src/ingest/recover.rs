//! A server's UIDs begin anew: its mails are found again by what it tells of each, and what can't be is looked into.
//!
//! Mails are matched as often as they were known by (Message-ID, INTERNALDATE, RFC822.SIZE), without being fetched. The
//! others are fetched, and matched by their content (`store::mails::carry_over`). What is still left is new. But where
//! most of a mailbox is left, more likely the server gives other dates than before or was given another's mails than that
//! everybody wrote at once: those mails are held, and a person releases or dismisses them (`postroom mailboxes`).

use std::collections::HashMap;

use postroom::Tx;

use super::checkpoint::CHUNK;
use super::error::IngestError;
use super::imap::{Label, Session};
use super::lease::Lease;
use super::watch::Watched;
use crate::messages::MailboxReset;
use crate::mime;
use crate::store::known::{self, Entry, Identity, Known};
use crate::store::mailboxes::{self, Checkpoint};
use crate::store::mails::{self, Place, State};

/// Mails whose labels come in one answer.
const LABELS: usize = 500;
/// Fewer mails than these are no flood, and a mailbox in which fewer were known says nothing about what is usual.
const MANY: usize = 20;
/// The newest known mails are compared when a connection begins: a server that lost its memory gives their UIDs again.
const COMPARED: u32 = 100;

/// Begins the next epoch, in one transaction with all that is known of its mails.
pub(super) async fn recover(
    watched: &Watched,
    lease: &Lease,
    session: &mut Session,
    known: Checkpoint,
    uidvalidity: u32,
) -> Result<Checkpoint, IngestError> {
    let (account, mailbox) = (watched.account.as_str(), watched.mailbox.as_str());
    let labels = labels(session, known.since).await?;
    let epoch = known.epoch + 1;
    let mut tx = lease.begin().await?;
    let forgotten = mails::forget_before(&mut tx, account, mailbox, epoch).await?;
    let earlier = known::count(&mut tx, account, mailbox, epoch).await?;
    let matched = matched(&labels, known::all(&mut tx, account, mailbox, epoch).await?);
    let left = matched
        .iter()
        .filter(|(labelled, known)| known.is_none() && !labelled.is_old)
        .count();
    let old = labels.iter().filter(|labelled| labelled.is_old).count();
    let low_uid = labels.last().map_or(1, |last| last.label.uid.saturating_add(1));
    let held = is_flood(left, labels.len() - old, usize::try_from(earlier).unwrap_or(0));
    let checkpoint = Checkpoint {
        epoch,
        uidvalidity,
        low_uid,
        first_uid: 1,
        held_below: if held { low_uid } else { 0 },
        since: known.since,
    };
    enter(&mut tx, watched, epoch, &matched).await?;
    mailboxes::save(&mut tx, account, mailbox, checkpoint).await?;
    let carried = matched.iter().filter(|(_, known)| known.is_some()).count() as u64;
    let reset = MailboxReset {
        account: account.to_owned(),
        mailbox: mailbox.to_owned(),
        was: known.uidvalidity,
        is: uidvalidity,
        found_again: carried,
        unknown: left as u64,
        held,
    };
    tx.publish(&reset).await?;
    tx.commit().await?;
    tracing::warn!(
        account,
        mailbox,
        epoch,
        forgotten,
        carried,
        left,
        held,
        was = known.uidvalidity,
        is = uidvalidity,
        "the server's UIDs begin anew; mails that are not known by Message-ID, date and size are matched by content"
    );
    watched.count_seen(labels.len() as u64);
    watched.count_settled(State::Gone, forgotten);
    watched.count_settled(State::Carried, carried);
    metrics::counter!("postroom_ingest_resets_total", "account" => watched.account.clone()).increment(1);
    Ok(checkpoint)
}

/// Rows for all that is there now, and the word to the old ones that they were found again.
async fn enter(
    tx: &mut Tx,
    watched: &Watched,
    epoch: i64,
    matched: &[(&Labelled, Option<Known>)],
) -> Result<(), IngestError> {
    let (account, mailbox) = (watched.account.as_str(), watched.mailbox.as_str());
    for chunk in matched.chunks(CHUNK) {
        let entries: Vec<Entry<'_>> = chunk
            .iter()
            .map(|(labelled, known)| entry(watched, epoch, labelled, known.as_ref()))
            .collect();
        known::enter(tx, account, mailbox, epoch, &entries).await?;
        let found: Vec<(u32, &Known)> = chunk
            .iter()
            .filter_map(|(labelled, known)| Some((labelled.label.uid, known.as_ref()?)))
            .collect();
        known::carry(tx, account, mailbox, epoch, &found).await?;
    }
    Ok(())
}

/// Whether a UID of a mail that is known names another mail now, though the server says that nothing has changed.
pub(super) async fn is_reused(
    watched: &Watched,
    lease: &Lease,
    session: &mut Session,
    known: Checkpoint,
) -> Result<bool, IngestError> {
    let mut tx = lease.begin().await?;
    let newest = known::newest(&mut tx, &watched.account, &watched.mailbox, known.epoch, COMPARED).await?;
    tx.rollback().await?;
    let dates: HashMap<i64, i64> = newest.into_iter().collect();
    let uid = |uid: Option<&i64>| uid.and_then(|&uid| u32::try_from(uid).ok());
    let (Some(first), Some(last)) = (uid(dates.keys().min()), uid(dates.keys().max())) else {
        return Ok(false);
    };
    let labels = match session.labels(first, last).await {
        Ok(labels) => labels,
        // A server that does not tell leaves it at what it says of UIDVALIDITY.
        Err(error) if error.is_refusal() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let other = |label: &Label| {
        let now = label.internal_date.map(|date| date.as_millisecond());
        let was = dates.get(&i64::from(label.uid));
        now.zip(was).is_some_and(|(now, &was)| now != was)
    };
    Ok(labels.iter().any(other))
}

/// A mail of the new epoch, as the server labels it.
#[derive(Debug)]
struct Labelled {
    label: Label,
    /// `None` where the server tells too little.
    identity: Option<Identity>,
    /// It was there before the mailbox was watched.
    is_old: bool,
}

/// All mails that are there, in the order of their UIDs. Those whose labels the server refuses are told by their content.
async fn labels(session: &mut Session, since: i64) -> Result<Vec<Labelled>, IngestError> {
    let uids = session.search_from(1).await?;
    let mut labelled = Vec::with_capacity(uids.len());
    for uids in uids.chunks(LABELS) {
        let (Some(&first), Some(&last)) = (uids.first(), uids.last()) else {
            continue;
        };
        let mut found: HashMap<u32, Label> = match session.labels(first, last).await {
            Ok(labels) => labels.into_iter().map(|label| (label.uid, label)).collect(),
            Err(error) if error.is_refusal() => HashMap::new(),
            Err(error) => return Err(error.into()),
        };
        let nameless = |uid| Label {
            uid,
            internal_date: None,
            size: None,
            header: Vec::new(),
        };
        labelled.extend(
            uids.iter()
                .map(|&uid| label(found.remove(&uid).unwrap_or_else(|| nameless(uid)), since)),
        );
    }
    Ok(labelled)
}

fn label(label: Label, since: i64) -> Labelled {
    let internal_date = label.internal_date.map(|date| date.as_millisecond());
    let identity = match (mime::message_id(&label.header), internal_date, label.size) {
        (Some(message_id), Some(internal_date), Some(size)) => Some(Identity {
            message_id,
            internal_date,
            server_size: i64::from(size),
        }),
        _ => None,
    };
    Labelled {
        is_old: internal_date.is_some_and(|date| date < since),
        identity,
        label,
    }
}

/// Each mail with the one that it was. Of an identity that has become more frequent none is matched: which of them is the
/// new one only their content tells.
fn matched(labels: &[Labelled], known: Vec<Known>) -> Vec<(&Labelled, Option<Known>)> {
    let mut frequent: HashMap<&Identity, usize> = HashMap::new();
    for identity in labels.iter().filter_map(|labelled| labelled.identity.as_ref()) {
        *frequent.entry(identity).or_default() += 1;
    }
    let mut by_identity: HashMap<Identity, Vec<Known>> = HashMap::new();
    // From the last, so that they are taken in the order in which they are known.
    for known in known.into_iter().rev() {
        by_identity.entry(known.identity.clone()).or_default().push(known);
    }
    by_identity.retain(|identity, known| frequent.get(identity).is_some_and(|now| *now <= known.len()));
    labels
        .iter()
        .map(|labelled| {
            let known = labelled
                .identity
                .as_ref()
                .and_then(|identity| by_identity.get_mut(identity));
            (labelled, known.and_then(Vec::pop))
        })
        .collect()
}

fn entry<'a>(watched: &Watched, epoch: i64, labelled: &'a Labelled, known: Option<&'a Known>) -> Entry<'a> {
    let place = Place {
        account: watched.account.clone(),
        mailbox: watched.mailbox.clone(),
        epoch,
        uid: labelled.label.uid,
    };
    Entry {
        uid: place.uid,
        event_id: place.event_id().to_string(),
        state: known.map_or("discovered", |_| State::Carried.as_str()),
        message_id: labelled
            .identity
            .as_ref()
            .map(|identity| identity.message_id.as_str()),
        internal_date: labelled.label.internal_date.map(|date| date.as_millisecond()),
        server_size: labelled.label.size.map(i64::from),
        sha256: known.and_then(|known| known.sha256.as_deref()),
        size: known.and_then(|known| known.size),
    }
}

/// More than half of what is there is unknown, and that is many mails.
fn is_flood(left: usize, there: usize, known: usize) -> bool {
    known >= MANY && left > MANY && left * 2 > there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: &str) -> Identity {
        Identity {
            message_id: id.into(),
            internal_date: 1_000,
            server_size: 10,
        }
    }

    fn labelled(uid: u32, id: &str) -> Labelled {
        let header = format!("Message-ID: <{id}>\r\n\r\n");
        label(
            Label {
                uid,
                internal_date: Some("1970-01-01T00:00:01Z".parse().unwrap()),
                size: Some(10),
                header: if id.is_empty() {
                    b"\r\n".to_vec()
                } else {
                    header.into_bytes()
                },
            },
            0,
        )
    }

    #[test]
    fn mails_are_matched_as_often_as_they_were_known() {
        let check = |now: &[&str], was: &[&str], expect: &[Option<i64>]| {
            let labels: Vec<Labelled> = (1..).zip(now).map(|(uid, id)| labelled(uid, id)).collect();
            let known = (1..).zip(was).map(|(uid, id)| Known {
                epoch: 1,
                uid,
                identity: identity(id),
                sha256: None,
                size: None,
            });
            let found: Vec<Option<i64>> = matched(&labels, known.collect())
                .iter()
                .map(|(_, known)| known.as_ref().map(|k| k.uid))
                .collect();
            assert_eq!(found, expect, "{now:?} of {was:?}");
        };
        check(&["a@x", "b@x"], &["b@x", "a@x"], &[Some(2), Some(1)]);
        check(&["a@x", "a@x"], &["a@x", "a@x", "a@x"], &[Some(1), Some(2)]);
        check(&["a@x", "a@x", "b@x"], &["a@x", "b@x"], &[None, None, Some(2)]);
        check(&["", "c@x"], &["a@x"], &[None, None]);
    }

    #[test]
    fn a_flood_is_many_and_most() {
        assert!(is_flood(MANY + 1, 2 * MANY + 1, MANY));
        assert!(!is_flood(MANY + 1, 2 * MANY + 2, MANY), "half is not most");
        assert!(!is_flood(MANY, MANY, MANY), "not many");
        assert!(!is_flood(MANY + 1, MANY + 1, MANY - 1), "little was known");
    }
}
