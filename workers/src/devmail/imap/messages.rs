//! Commands on messages of the selected folder: FETCH, SEARCH, STORE, COPY, MOVE, EXPUNGE.

use std::num::NonZeroU32;

use imap_next::imap_types::command::CommandBody;
use imap_next::imap_types::core::{Charset, Vec1};
use imap_next::imap_types::extensions::uidplus::{UidElement, UidSet};
use imap_next::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItem, MessageDataItemName};
use imap_next::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_next::imap_types::mailbox::Mailbox;
use imap_next::imap_types::response::{Code, Data};
use imap_next::imap_types::search::SearchKey;
use imap_next::imap_types::sequence::SequenceSet;

use super::answer::{Done, Refused, bad, no, other};
use super::search::{self, Candidate};
use super::selected::{NoSuchNumber, Selected};
use super::wire::Wire;
use super::{fetch, flags, folders, session};
use crate::devmail::folder::{Flags, Folder, FolderError, Message, NewMessage, Source, Uid};
use crate::devmail::store::Account;

type Picked = Vec<(NonZeroU32, Uid)>;

pub(super) async fn answer(
    account: &Account,
    selected: &mut Selected,
    body: CommandBody<'static>,
    wire: &mut Wire,
) -> Result<Done, Refused> {
    match body {
        CommandBody::Check => Ok(Done::new("CHECK done")),
        CommandBody::Close if selected.is_read_only => Ok(Done::new("CLOSE done")),
        CommandBody::Close => expunge(selected, None).await.map(|_| Done::new("CLOSE done")),
        CommandBody::Expunge => expunge(writable(selected)?, None).await,
        CommandBody::ExpungeUid { sequence_set } => {
            let uids = pick(selected, &sequence_set, true)?
                .into_iter()
                .map(|(_, uid)| uid)
                .collect();
            expunge(writable(selected)?, Some(uids)).await
        }
        CommandBody::Search {
            charset,
            criteria,
            uid,
        } => search(selected, charset, criteria, uid).await,
        CommandBody::Fetch {
            sequence_set,
            macro_or_item_names,
            uid,
            ..
        } => {
            let picked = pick(selected, &sequence_set, uid)?;
            fetch(selected, picked, macro_or_item_names, uid, wire).await
        }
        CommandBody::Store {
            sequence_set,
            kind,
            response,
            flags,
            uid,
            ..
        } => {
            let picked = pick(selected, &sequence_set, uid)?;
            store(writable(selected)?, picked, kind, response, &flags, uid).await
        }
        CommandBody::Copy {
            sequence_set,
            mailbox,
            uid,
        } => {
            let picked = pick(selected, &sequence_set, uid)?;
            let code = copy(account, selected, &picked, &mailbox).await?;
            Ok(Done {
                code,
                ..Done::new("COPY done")
            })
        }
        CommandBody::Move {
            sequence_set,
            mailbox,
            uid,
        } => {
            let picked = pick(selected, &sequence_set, uid)?;
            move_away(account, writable(selected)?, &picked, &mailbox).await
        }
        body => Err(session::not_offered(&body)),
    }
}

fn pick(selected: &Selected, set: &SequenceSet, by_uid: bool) -> Result<Picked, Refused> {
    selected
        .pick(set, by_uid)
        .map_err(|NoSuchNumber| bad("no message has that sequence number"))
}

fn writable(selected: &mut Selected) -> Result<&mut Selected, Refused> {
    if selected.is_read_only {
        Err(no(Some(Code::ReadOnly), "the mailbox was opened with EXAMINE"))
    } else {
        Ok(selected)
    }
}

async fn fetch(
    selected: &mut Selected,
    picked: Picked,
    asked: MacroOrMessageDataItemNames<'static>,
    by_uid: bool,
    wire: &mut Wire,
) -> Result<Done, Refused> {
    let mut names = fetch::names(asked, by_uid);
    if !names.iter().all(fetch::is_offered) {
        return Err(no(
            Some(Code::Other(other("CANNOT"))),
            "BINARY is not offered here",
        ));
    }
    let needs_bytes = names.iter().any(fetch::needs_bytes);
    let marks_seen = !selected.is_read_only && names.iter().any(fetch::marks_seen);
    if marks_seen && !names.contains(&MessageDataItemName::Flags) {
        names.push(MessageDataItemName::Flags);
    }
    let mut are_gone = false;
    for (seq, uid) in picked {
        let read = selected
            .folder
            .with(move |folder| read(folder, uid, needs_bytes, marks_seen))
            .await?;
        let Some((message, raw)) = read else {
            are_gone = true;
            continue;
        };
        selected.note_flags(&[(uid, message.flags.clone())]);
        if let Ok(items) = Vec1::try_from(fetch::items(&names, uid, &message, &raw)) {
            wire.data(Data::Fetch { seq, items });
        }
        if needs_bytes {
            wire.drain().await.map_err(Refused::Wire)?;
        }
    }
    if are_gone {
        return Err(no(
            Some(Code::Other(other("EXPUNGEISSUED"))),
            "some of the messages are gone",
        ));
    }
    Ok(Done::new("FETCH done"))
}

/// A message and, if asked for, its bytes. `None`: it is gone.
fn read(
    folder: &mut Folder,
    uid: Uid,
    needs_bytes: bool,
    marks_seen: bool,
) -> Result<Option<(Message, Vec<u8>)>, FolderError> {
    let Some(mut message) = folder.messages().get(&uid).cloned() else {
        return Ok(None);
    };
    let raw = if needs_bytes {
        folder.raw(uid)?.unwrap_or_default()
    } else {
        Vec::new()
    };
    if marks_seen && message.flags.insert(flags::SEEN.to_owned()) {
        folder.set_flags(vec![(uid, message.flags.clone())])?;
    }
    Ok(Some((message, raw)))
}

async fn search(
    selected: &Selected,
    charset: Option<Charset<'static>>,
    criteria: Vec1<SearchKey<'static>>,
    by_uid: bool,
) -> Result<Done, Refused> {
    let is_known = |charset: &Charset<'_>| {
        let name = charset.as_ref().to_ascii_uppercase();
        name == "UTF-8" || name == "US-ASCII"
    };
    if charset.is_some_and(|charset| !is_known(&charset)) {
        return Err(no(Some(Code::badcharset(Vec::new())), "use UTF-8"));
    }
    let Some((last_number, last_uid)) = selected.last() else {
        return Ok(Done::with("SEARCH done", vec![Data::Search(Vec::new())]));
    };
    let numbered: Picked = selected.numbered().collect();
    let needs_bytes = criteria.as_ref().iter().any(search::needs_bytes);
    let found = selected.folder.with(move |folder| {
        let mut found = Vec::new();
        for (number, uid) in numbered {
            let Some(message) = folder.messages().get(&uid) else {
                continue;
            };
            let raw = if needs_bytes {
                folder.raw(uid)?.unwrap_or_default()
            } else {
                Vec::new()
            };
            let candidate = Candidate {
                number,
                last_number,
                uid,
                last_uid,
                message,
                raw: &raw,
            };
            if criteria.as_ref().iter().all(|key| candidate.matches(key)) {
                found.push(if by_uid { uid.0 } else { number });
            }
        }
        Ok::<_, FolderError>(found)
    });
    Ok(Done::with("SEARCH done", vec![Data::Search(found.await?)]))
}

async fn store(
    selected: &mut Selected,
    picked: Picked,
    kind: StoreType,
    response: StoreResponse,
    wanted: &[Flag<'static>],
    by_uid: bool,
) -> Result<Done, Refused> {
    let wanted = flags::from_wire(wanted).ok_or_else(|| bad("clients cannot set that flag"))?;
    let uids: Vec<Uid> = picked.iter().map(|(_, uid)| *uid).collect();
    let changed = selected.folder.with(move |folder| {
        let apply = |uid: Uid| {
            let old = &folder.messages().get(&uid)?.flags;
            let new: Flags = match kind {
                StoreType::Replace => wanted.clone(),
                StoreType::Add => old.union(&wanted).cloned().collect(),
                StoreType::Remove => old.difference(&wanted).cloned().collect(),
            };
            Some((uid, new))
        };
        let changed: Vec<(Uid, Flags)> = uids.into_iter().filter_map(apply).collect();
        folder.set_flags(changed.clone())?;
        Ok::<_, FolderError>(changed)
    });
    let changed = changed.await?;
    selected.note_flags(&changed);
    let are_gone = changed.len() < picked.len();
    let told = if response == StoreResponse::Silent {
        Vec::new()
    } else {
        told_flags(&picked, &changed, by_uid)
    };
    if are_gone {
        return Err(no(
            Some(Code::Other(other("EXPUNGEISSUED"))),
            "some of the messages are gone",
        ));
    }
    Ok(Done::with("STORE done", told))
}

fn told_flags(picked: &Picked, changed: &[(Uid, Flags)], by_uid: bool) -> Vec<Data<'static>> {
    let one = |(uid, flags): &(Uid, Flags)| {
        let (seq, _) = *picked.iter().find(|(_, known)| known == uid)?;
        let mut items = vec![MessageDataItem::Flags(flags::to_wire(flags))];
        if by_uid {
            items.insert(0, MessageDataItem::Uid(uid.0));
        }
        Some(Data::Fetch {
            seq,
            items: Vec1::unvalidated(items),
        })
    };
    changed.iter().filter_map(one).collect()
}

/// Links the messages into the target folder; the COPYUID code says where they are (RFC 4315).
async fn copy(
    account: &Account,
    selected: &Selected,
    picked: &Picked,
    mailbox: &Mailbox<'_>,
) -> Result<Option<Code<'static>>, Refused> {
    let target = folders::find_target(account, mailbox)?;
    let uids: Vec<Uid> = picked.iter().map(|(_, uid)| *uid).collect();
    let sources = selected.folder.with(move |folder| {
        let source = |uid: &Uid| {
            let message = folder.messages().get(uid)?;
            let source = Source::File(folder.path(*uid)?);
            Some((
                *uid,
                NewMessage {
                    source,
                    received: message.received,
                    flags: message.flags.clone(),
                },
            ))
        };
        uids.iter().filter_map(source).collect::<Vec<_>>()
    });
    let (sources, messages): (Vec<Uid>, Vec<NewMessage>) = sources.await.into_iter().unzip();
    let (uid_validity, copies) = target
        .with(|folder| (folder.uid_validity(), folder.append(messages)))
        .await;
    let (source, destination) = (uid_set(&sources), uid_set(&copies?));
    Ok(source
        .zip(destination)
        .map(|(source, destination)| Code::CopyUid {
            uid_validity,
            source,
            destination,
        }))
}

fn uid_set(uids: &[Uid]) -> Option<UidSet> {
    let elements: Vec<UidElement> = uids.iter().map(|uid| UidElement::Single(uid.0)).collect();
    Vec1::try_from(elements).ok().map(UidSet)
}

/// A kill between the two steps leaves the messages in both folders, never in none.
async fn move_away(
    account: &Account,
    selected: &mut Selected,
    picked: &Picked,
    mailbox: &Mailbox<'_>,
) -> Result<Done, Refused> {
    if folders::find_target(account, mailbox)?.is_same(&selected.folder) {
        return Err(no(
            Some(Code::Other(other("CANNOT"))),
            "the messages are in that folder already",
        ));
    }
    let code = copy(account, selected, picked, mailbox).await?;
    let uids: Vec<Uid> = picked.iter().map(|(_, uid)| *uid).collect();
    selected.folder.with(move |folder| folder.remove(&uids)).await?;
    let codes = code.into_iter().collect();
    Ok(Done {
        codes,
        ..Done::new("MOVE done")
    })
}

/// Removes what is marked `\Deleted`, or of it only the named UIDs. The EXPUNGE lines follow as news.
async fn expunge(selected: &mut Selected, only: Option<Vec<Uid>>) -> Result<Done, Refused> {
    let known: Vec<Uid> = selected.numbered().map(|(_, uid)| uid).collect();
    let removed = selected.folder.with(move |folder| {
        let is_deleted = |uid: &Uid| {
            let message = folder.messages().get(uid);
            message.is_some_and(|message| message.flags.contains(flags::DELETED))
        };
        let uids: Vec<Uid> = only.unwrap_or(known).into_iter().filter(is_deleted).collect();
        folder.remove(&uids)
    });
    removed.await?;
    Ok(Done::new("EXPUNGE done"))
}
