//! The selected mailbox as this session has been told of it.
//!
//! Sequence numbers count in what the client knows, not in what the folder holds. So the session keeps its own list and
//! lets go of removed messages only when it may say EXPUNGE (RFC 3501 7.4.1).

use std::num::NonZeroU32;

use imap_next::imap_types::core::Vec1;
use imap_next::imap_types::fetch::MessageDataItem;
use imap_next::imap_types::response::Data;
use imap_next::imap_types::sequence::SequenceSet;
use tokio::sync::watch;

use super::{flags, sets};
use crate::devmail::folder::{Flags, Folder, Uid};
use crate::devmail::store::FolderHandle;

/// The folder has another UIDVALIDITY: every number this session knows is void, and it must end.
#[derive(Debug)]
pub(super) struct Reset;

/// A set names a sequence number that is not there.
#[derive(Debug)]
pub(super) struct NoSuchNumber;

#[derive(Debug)]
pub(super) struct Selected {
    pub(super) folder: FolderHandle,
    pub(super) is_read_only: bool,
    pub(super) uid_validity: NonZeroU32,
    known: Vec<(Uid, Flags)>,
    /// The folder's version up to which the client knows everything.
    version: Option<u64>,
    changes: watch::Receiver<u64>,
}

/// What a client is told of a folder at one moment.
struct Snapshot {
    version: u64,
    uid_validity: NonZeroU32,
    messages: Vec<(Uid, Flags)>,
}

impl Snapshot {
    fn take(folder: &Folder) -> Self {
        let messages = folder
            .messages()
            .iter()
            .map(|(uid, message)| (*uid, message.flags.clone()));
        Self {
            version: folder.version(),
            uid_validity: folder.uid_validity(),
            messages: messages.collect(),
        }
    }
}

impl Selected {
    pub(super) async fn open(folder: FolderHandle, is_read_only: bool) -> Self {
        let changes = folder.watch();
        let now = folder.with(|folder| Snapshot::take(folder)).await;
        Self {
            folder,
            is_read_only,
            uid_validity: now.uid_validity,
            known: now.messages,
            version: Some(now.version),
            changes,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    pub(super) fn first_unseen(&self) -> Option<NonZeroU32> {
        self.known
            .iter()
            .position(|(_, known)| !known.contains(flags::SEEN))
            .and_then(sequence_number)
    }

    /// Sequence number and UID of each message in the set, in order. UIDs that are not there are passed over.
    pub(super) fn pick(
        &self,
        set: &SequenceSet,
        by_uid: bool,
    ) -> Result<Vec<(NonZeroU32, Uid)>, NoSuchNumber> {
        if !by_uid && sets::exceeds(set, self.count()) {
            return Err(NoSuchNumber);
        }
        let Some((last_number, last_uid)) = self.last() else {
            return Ok(Vec::new());
        };
        let is_picked = |(number, uid): &(NonZeroU32, Uid)| {
            if by_uid {
                sets::contains(set, uid.0, last_uid.0)
            } else {
                sets::contains(set, *number, last_number)
            }
        };
        Ok(self.numbered().filter(is_picked).collect())
    }

    pub(super) fn numbered(&self) -> impl Iterator<Item = (NonZeroU32, Uid)> + '_ {
        self.known
            .iter()
            .enumerate()
            .filter_map(|(index, (uid, _))| Some((sequence_number(index)?, *uid)))
    }

    pub(super) fn last(&self) -> Option<(NonZeroU32, Uid)> {
        let (uid, _) = self.known.last()?;
        Some((sequence_number(self.known.len() - 1)?, *uid))
    }

    /// Notes flags that the client is told of by other means, so that they are not announced again.
    pub(super) fn note_flags(&mut self, changed: &[(Uid, Flags)]) {
        for (uid, flags) in changed {
            if let Ok(index) = self.known.binary_search_by_key(uid, |(uid, _)| *uid) {
                self.known[index].1.clone_from(flags);
            }
        }
    }

    /// What changed since the client was last told: EXPUNGE where allowed, new EXISTS, changed flags.
    pub(super) async fn news(&mut self, may_expunge: bool) -> Result<Vec<Data<'static>>, Reset> {
        if self.version == Some(*self.changes.borrow_and_update()) {
            return Ok(Vec::new());
        }
        let now = self.folder.with(|folder| Snapshot::take(folder)).await;
        if now.uid_validity != self.uid_validity {
            return Err(Reset);
        }
        let mut news = Vec::new();
        let is_gone = |uid: &Uid| now.messages.binary_search_by_key(uid, |(uid, _)| *uid).is_err();
        let has_ghosts = if may_expunge {
            self.expunge(is_gone, &mut news);
            false
        } else {
            self.known.iter().any(|(uid, _)| is_gone(uid))
        };
        let newest_known = self.known.last().map(|(uid, _)| *uid);
        let arrived: Vec<_> = now
            .messages
            .iter()
            .filter(|(uid, _)| Some(*uid) > newest_known)
            .cloned()
            .collect();
        self.changed_flags(&now.messages, &mut news);
        if !arrived.is_empty() {
            self.known.extend(arrived);
            news.push(Data::Exists(u32::try_from(self.known.len()).unwrap_or(u32::MAX)));
        }
        self.version = (!has_ghosts).then_some(now.version);
        Ok(news)
    }

    /// Ends when the folder changed; for IDLE.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The folder outlives its sessions, so this cannot be; waiting for ever is then the right answer.
            std::future::pending::<()>().await;
        }
    }

    fn expunge(&mut self, is_gone: impl Fn(&Uid) -> bool, news: &mut Vec<Data<'static>>) {
        // From the end, so that the numbers still to be told stay valid.
        for index in (0..self.known.len()).rev() {
            if is_gone(&self.known[index].0) {
                self.known.remove(index);
                news.extend(sequence_number(index).map(Data::Expunge));
            }
        }
    }

    fn changed_flags(&mut self, now: &[(Uid, Flags)], news: &mut Vec<Data<'static>>) {
        for (index, (uid, known)) in self.known.iter_mut().enumerate() {
            let Ok(at) = now.binary_search_by_key(uid, |(uid, _)| *uid) else {
                continue;
            };
            if *known != now[at].1 {
                known.clone_from(&now[at].1);
                let items = vec![
                    MessageDataItem::Uid(uid.0),
                    MessageDataItem::Flags(flags::to_wire(known)),
                ];
                news.extend(sequence_number(index).map(|seq| Data::Fetch {
                    seq,
                    items: Vec1::unvalidated(items),
                }));
            }
        }
    }
}

fn sequence_number(index: usize) -> Option<NonZeroU32> {
    u32::try_from(index + 1).ok().and_then(NonZeroU32::new)
}
