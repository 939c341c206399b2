//! Commands on whole folders: SELECT, LIST, STATUS, CREATE, APPEND.

use imap_next::imap_types::datetime::DateTime;
use imap_next::imap_types::extensions::binary::LiteralOrLiteral8;
use imap_next::imap_types::flag::{Flag, FlagNameAttribute};
use imap_next::imap_types::mailbox::{ListMailbox, Mailbox};
use imap_next::imap_types::response::{Code, Data};
use imap_next::imap_types::status::{StatusDataItem, StatusDataItemName};

use super::answer::{Done, Refused, bad, no, other};
use super::flags;
use super::selected::Selected;
use crate::devmail::folder::{Folder, NewMessage, Source};
use crate::devmail::store::{Account, FolderHandle, INBOX, storable, unix_now};

pub(super) fn find(account: &Account, mailbox: &Mailbox<'_>) -> Result<FolderHandle, Refused> {
    account
        .folder(&name(mailbox))
        .ok_or_else(|| no(Some(Code::Other(other("NONEXISTENT"))), "no such folder"))
}

/// For commands that put messages there: the client may CREATE it and try again.
pub(super) fn find_target(account: &Account, mailbox: &Mailbox<'_>) -> Result<FolderHandle, Refused> {
    account
        .folder(&name(mailbox))
        .ok_or_else(|| no(Some(Code::TryCreate), "no such folder"))
}

fn name(mailbox: &Mailbox<'_>) -> String {
    match mailbox {
        Mailbox::Inbox => INBOX.to_owned(),
        Mailbox::Other(name) => String::from_utf8_lossy(name.inner().as_ref()).into_owned(),
    }
}

fn mailbox(name: &str) -> Option<Mailbox<'static>> {
    Mailbox::try_from(name.to_owned()).ok()
}

pub(super) async fn select(
    account: &Account,
    mailbox: &Mailbox<'_>,
    is_read_only: bool,
) -> Result<(Selected, Done), Refused> {
    let folder = find(account, mailbox)?;
    let selected = Selected::open(folder.clone(), is_read_only).await;
    let (uid_next, keywords) = folder
        .with(|folder| (folder.uid_next(), folder.keywords().to_vec()))
        .await;
    let untagged = vec![
        Data::Flags(flags::known(&keywords)),
        Data::Exists(u32::try_from(selected.count()).unwrap_or(u32::MAX)),
        Data::Recent(0),
    ];
    let mut codes = vec![
        Code::UidValidity(selected.uid_validity),
        Code::UidNext(uid_next.0),
    ];
    codes.extend(selected.first_unseen().map(Code::Unseen));
    let permanent = if is_read_only {
        Vec::new()
    } else {
        flags::permanent(&keywords)
    };
    codes.push(Code::PermanentFlags(permanent));
    let words = if is_read_only {
        "EXAMINE done"
    } else {
        "SELECT done"
    };
    let access = if is_read_only {
        Code::ReadOnly
    } else {
        Code::ReadWrite
    };
    Ok((
        selected,
        Done {
            codes,
            ..Done::with(words, untagged).code(access)
        },
    ))
}

pub(super) fn list(account: &Account, wildcard: &ListMailbox<'_>, is_lsub: bool) -> Result<Done, Refused> {
    let pattern = match wildcard {
        ListMailbox::Token(token) => token.as_ref().to_vec(),
        ListMailbox::String(string) => string.as_ref().to_vec(),
    };
    let one = |name: String| {
        let (items, delimiter) = (attributes(&name), None);
        let mailbox = mailbox(&name)?;
        Some(if is_lsub {
            Data::Lsub {
                items,
                delimiter,
                mailbox,
            }
        } else {
            Data::List {
                items,
                delimiter,
                mailbox,
            }
        })
    };
    if pattern.is_empty() {
        // RFC 3501 6.3.8: asks for the delimiter alone; there is none, folders do not nest.
        let root = mailbox("").map(|mailbox| Data::List {
            items: vec![FlagNameAttribute::Noselect],
            delimiter: None,
            mailbox,
        });
        return Ok(Done::with("LIST done", root.into_iter().collect()));
    }
    let names = account
        .folder_names()
        .into_iter()
        .filter(|name| matches(&pattern, name));
    Ok(Done::with(
        if is_lsub { "LSUB done" } else { "LIST done" },
        names.filter_map(one).collect(),
    ))
}

/// `\Sent` tells clients where sent mail goes (RFC 6154).
fn attributes(name: &str) -> Vec<FlagNameAttribute<'static>> {
    use imap_next::imap_types::core::Atom;
    let special = (name == "Sent").then(|| Atom::try_from("Sent").ok()).flatten();
    std::iter::once(FlagNameAttribute::Noinferiors)
        .chain(special.map(FlagNameAttribute::from))
        .collect()
}

/// `*` and `%` mean the same where folders do not nest. INBOX is matched without case.
fn matches(pattern: &[u8], name: &str) -> bool {
    let same = |a: u8, b: u8| {
        if name == INBOX {
            a.eq_ignore_ascii_case(&b)
        } else {
            a == b
        }
    };
    fn rest(pattern: &[u8], name: &[u8], same: &dyn Fn(u8, u8) -> bool) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            ([b'*' | b'%', pattern @ ..], name) => {
                (0..=name.len()).any(|at| rest(pattern, &name[at..], same))
            }
            ([one, pattern @ ..], [other, name @ ..]) => same(*one, *other) && rest(pattern, name, same),
            (_, []) => false,
        }
    }
    // A run of wildcards is one wildcard; without this a long run would try every split of the name.
    let mut pattern = pattern.to_vec();
    pattern
        .iter_mut()
        .filter(|byte| **byte == b'%')
        .for_each(|byte| *byte = b'*');
    pattern.dedup_by(|a, b| *a == b'*' && *b == b'*');
    let is_reasonable = pattern.iter().filter(|byte| **byte == b'*').count() <= MAX_WILDCARDS;
    is_reasonable && rest(&pattern, name.as_bytes(), &same)
}

/// Matching takes time exponential in the wildcards; nobody means more than these.
const MAX_WILDCARDS: usize = 4;

pub(super) async fn status(
    account: &Account,
    mailbox: &Mailbox<'static>,
    names: &[StatusDataItemName],
) -> Result<Done, Refused> {
    let folder = find(account, mailbox)?;
    let names = names.to_vec();
    let items: Vec<_> = folder
        .with(move |folder| names.iter().map(|name| status_item(folder, name)).collect())
        .await;
    Ok(Done::with(
        "STATUS done",
        vec![Data::Status {
            mailbox: mailbox.clone(),
            items: items.into(),
        }],
    ))
}

fn status_item(folder: &Folder, name: &StatusDataItemName) -> StatusDataItem {
    let messages = || folder.messages().values();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let with = |flag: &'static str| messages().filter(move |message| message.flags.contains(flag));
    match name {
        StatusDataItemName::Messages => StatusDataItem::Messages(count(messages().count())),
        StatusDataItemName::Recent => StatusDataItem::Recent(0),
        StatusDataItemName::UidNext => StatusDataItem::UidNext(folder.uid_next().0),
        StatusDataItemName::UidValidity => StatusDataItem::UidValidity(folder.uid_validity()),
        StatusDataItemName::Unseen => {
            StatusDataItem::Unseen(count(messages().count() - with(flags::SEEN).count()))
        }
        StatusDataItemName::Deleted => StatusDataItem::Deleted(count(with(flags::DELETED).count())),
        StatusDataItemName::DeletedStorage => {
            StatusDataItem::DeletedStorage(with(flags::DELETED).map(|message| u64::from(message.size)).sum())
        }
    }
}

pub(super) async fn create(account: &Account, mailbox: &Mailbox<'_>) -> Result<Done, Refused> {
    if account.create(name(mailbox)).await? {
        return Ok(Done::new("CREATE done"));
    }
    let words = "taken, too many, or not a plain name (letters, digits and . _ - + @)";
    Err(no(Some(Code::Other(other("CANNOT"))), words))
}

pub(super) async fn append(
    account: &Account,
    mailbox: &Mailbox<'_>,
    flags: &[Flag<'_>],
    date: Option<DateTime>,
    message: LiteralOrLiteral8<'static>,
) -> Result<Done, Refused> {
    let folder = find_target(account, mailbox)?;
    let flags = flags::from_wire(flags).ok_or_else(|| bad("clients cannot set that flag"))?;
    let bytes = match message {
        LiteralOrLiteral8::Literal(literal) => literal.into_inner(),
        LiteralOrLiteral8::Literal8(literal) => literal.data,
    };
    let received = date
        .and_then(|date| u64::try_from(date.as_ref().timestamp()).ok())
        .unwrap_or_else(unix_now);
    let new = NewMessage {
        source: Source::Bytes(storable(bytes.into_owned())),
        received,
        flags,
    };
    let (uid_validity, uids) = folder
        .with(move |folder| (folder.uid_validity(), folder.append(vec![new])))
        .await;
    let done = Done::new("APPEND done");
    Ok(match uids?.first() {
        Some(uid) => done.code(Code::AppendUid {
            uid_validity,
            uid: uid.0,
        }),
        None => done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, expect) in [
            ("*", "Sent", true),
            ("%", "Sent", true),
            ("inbox", INBOX, true),
            ("sent", "Sent", false),
            ("S*t", "Sent", true),
            ("S*x", "Sent", false),
            ("%%**%*%*%*%*%*%*%*%*%*%*%*", "Sent", true),
            (
                "*a*a*a*a*a*a*",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
                false,
            ),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name), expect, "{pattern} {name}");
        }
    }
}
