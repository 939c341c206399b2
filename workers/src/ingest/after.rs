//! What is done on the server with a mail once it was announced or answered.
//!
//! It is decided in the transaction that settles the mail (`store::actions`), and done when the broker has confirmed the
//! event. A crash in between leaves the decision, and doing it twice is as good as once. What the server refuses is tried
//! again, less and less often, and never holds up the mails that come.

use std::time::Duration;

use postroom::redact::for_log;
use postroom::{StoreError, Tx};
use uuid::Uuid;

use super::error::IngestError;
use super::imap::{ImapError, Session};
use super::lease::Lease;
use super::watch::Ingest;
use crate::store::actions::{self, Action, Due, End};
use crate::store::mailboxes::Checkpoint;

/// Mails in one command: a line that every server takes.
const BATCH: i64 = 200;
/// After the first refusal, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// What becomes of a mail in its mailbox after its event was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum After {
    /// It stays as it is.
    #[default]
    Keep,
    /// It gets this flag.
    Flag(String),
    /// It goes into this folder.
    Move(String),
    /// It is removed for good; its raw message is in the blob store.
    Expunge,
}

/// Why it can't be done.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    #[error(
        "the server offers neither MOVE nor UIDPLUS, without which a mail can't be moved without touching others"
    )]
    NoMove,
    #[error(
        "the server does not offer UIDPLUS, without which a mail can't be expunged without touching others"
    )]
    NoUidPlus,
    #[error("the mailbox does not keep the flag {0}")]
    NoFlag(String),
    #[error("there is no folder {0:?}; create it")]
    NoFolder(String),
    #[error("the mailbox is read-only")]
    ReadOnly,
    #[error(transparent)]
    Imap(#[from] ImapError),
}

impl After {
    fn action(&self) -> Option<(Action, &str)> {
        match self {
            Self::Keep => None,
            Self::Flag(flag) => Some((Action::Flag, flag)),
            Self::Move(folder) => Some((Action::Move, folder)),
            Self::Expunge => Some((Action::Expunge, "")),
        }
    }

    /// Whether the server can do this with mails of the selected mailbox.
    ///
    /// # Errors
    /// Says what is missing.
    pub async fn check(&self, session: &mut Session) -> Result<(), Unable> {
        let Some((action, argument)) = self.action() else {
            return Ok(());
        };
        can(session, action, argument)?;
        match self {
            Self::Move(folder) if !session.has_folder(folder).await? => Err(Unable::NoFolder(folder.clone())),
            _ => Ok(()),
        }
    }

    /// Decides it, in the transaction that publishes the event of the mail as the outbox row `published_as`.
    pub(super) async fn decide(
        &self,
        tx: &mut Tx,
        event_id: Uuid,
        of: (&str, &str),
        published_as: &str,
    ) -> Result<(), StoreError> {
        match self.action() {
            Some(action) => actions::decide(tx, event_id, of, action, Some(published_as)).await,
            None => Ok(()),
        }
    }
}

fn can(session: &Session, action: Action, argument: &str) -> Result<(), Unable> {
    let (uidplus, moves) = (session.offers("UIDPLUS"), session.offers("MOVE"));
    match action {
        Action::Flag | Action::Answered if !session.keeps_flag(argument) => {
            Err(Unable::NoFlag(argument.to_owned()))
        }
        Action::Expunge | Action::Move if session.is_read_only() => Err(Unable::ReadOnly),
        Action::Expunge if !uidplus => Err(Unable::NoUidPlus),
        Action::Move if !uidplus && !moves => Err(Unable::NoMove),
        _ => Ok(()),
    }
}

/// Does all whose time has come.
pub(super) async fn work_off(
    ingest: &Ingest,
    lease: &Lease,
    session: &mut Session,
    checkpoint: Checkpoint,
) -> Result<(), IngestError> {
    let watched = &ingest.watched;
    loop {
        let mut read = ingest.store.read().await?;
        let due = actions::due(&mut read, &watched.account, &watched.mailbox, BATCH).await?;
        let mut placed = Vec::with_capacity(due.len());
        for due in due {
            let uid = actions::uid_in(&mut read, &due.place, checkpoint.epoch).await?;
            placed.push((due, uid));
        }
        read.rollback().await?;
        if placed.is_empty() {
            return Ok(());
        }
        for alike in placed.chunk_by(|(one, _), (other, _)| is_alike(one, other)) {
            let gone: Vec<Due> = alike
                .iter()
                .filter(|(_, uid)| uid.is_none())
                .map(|(due, _)| due.clone())
                .collect();
            end(ingest, lease, &gone, End::Gone, None).await?;
            let (due, uids): (Vec<Due>, Vec<u32>) = alike
                .iter()
                .filter_map(|(due, uid)| Some((due.clone(), (*uid)?)))
                .unzip();
            perform(ingest, lease, session, &due, &uids).await?;
        }
    }
}

fn is_alike(one: &Due, other: &Due) -> bool {
    (one.action, &one.argument, one.is_copied) == (other.action, &other.argument, other.is_copied)
}

/// Does one thing with some mails; where the server refuses that, with each of them alone.
async fn perform(
    ingest: &Ingest,
    lease: &Lease,
    session: &mut Session,
    due: &[Due],
    uids: &[u32],
) -> Result<(), IngestError> {
    match act(lease, session, due, uids).await {
        Ok(()) => end(ingest, lease, due, End::Done, None).await,
        Err(Trouble::Unable(error @ Unable::NoFlag(_))) if due[0].action == Action::Answered => {
            end(ingest, lease, due, End::Refused, Some(&error.to_string())).await
        }
        Err(Trouble::Unable(Unable::Imap(error))) if !error.is_refusal() => Err(error.into()),
        Err(Trouble::Unable(Unable::Imap(_))) if due.len() > 1 => {
            for (due, uid) in due.iter().zip(uids) {
                Box::pin(perform(
                    ingest,
                    lease,
                    session,
                    std::slice::from_ref(due),
                    &[*uid],
                ))
                .await?;
            }
            Ok(())
        }
        Err(Trouble::Unable(error)) => postpone(ingest, lease, due, &error).await,
        Err(Trouble::Ingest(error)) => Err(error),
    }
}

enum Trouble {
    Unable(Unable),
    Ingest(IngestError),
}

impl From<ImapError> for Trouble {
    fn from(error: ImapError) -> Self {
        Self::Unable(Unable::Imap(error))
    }
}

async fn act(lease: &Lease, session: &mut Session, due: &[Due], uids: &[u32]) -> Result<(), Trouble> {
    let Some(Due {
        action,
        argument,
        is_copied,
        ..
    }) = due.first()
    else {
        return Ok(());
    };
    can(session, *action, argument).map_err(Trouble::Unable)?;
    match action {
        Action::Flag | Action::Answered => session.set_flag(uids, argument).await?,
        Action::Expunge => session.expunge(uids).await?,
        Action::Move if session.offers("MOVE") && !is_copied => session.move_to(uids, argument).await?,
        Action::Move => {
            if !is_copied {
                session.copy_to(uids, argument).await?;
                note_copied(lease, due).await.map_err(Trouble::Ingest)?;
            }
            session.expunge(uids).await?;
        }
    }
    Ok(())
}

/// From here on a crash makes no second copy; only one between the server's OK and this commit does.
async fn note_copied(lease: &Lease, due: &[Due]) -> Result<(), IngestError> {
    let mut tx = lease.begin().await?;
    actions::copied(&mut tx, due).await?;
    Ok(tx.commit().await?)
}

async fn end(
    ingest: &Ingest,
    lease: &Lease,
    due: &[Due],
    end: End,
    error: Option<&str>,
) -> Result<(), IngestError> {
    let Some(first) = due.first() else {
        return Ok(());
    };
    let mut tx = lease.begin().await?;
    actions::settle(&mut tx, due, end, error).await?;
    tx.commit().await?;
    ingest
        .watched
        .count_actions(first.action, end.as_str(), due.len());
    Ok(())
}

async fn postpone(ingest: &Ingest, lease: &Lease, due: &[Due], error: &Unable) -> Result<(), IngestError> {
    let Some(first) = due.first() else {
        return Ok(());
    };
    let mut tx = lease.begin().await?;
    actions::postpone(&mut tx, due, &error.to_string(), RETRY).await?;
    tx.commit().await?;
    ingest.watched.count_actions(first.action, "postponed", due.len());
    tracing::warn!(
        account = ingest.watched.account,
        mailbox = ingest.watched.mailbox,
        action = first.action.as_str(),
        mails = due.len(),
        error = %for_log(&error.to_string()),
        "mails that were announced can't be dealt with as configured; they stay where they are, and it is tried again"
    );
    Ok(())
}
