//! One IMAP folder on disk.
//!
//! Every state is a name, so every change is one atomic rename or unlink, and a killed process leaves either the old
//! state or the new one:
//!
//! ```text
//! INBOX/
//!   uidvalidity                    "1763884800\n", replaced as a whole
//!   uidnext                        a floor, written before the last message goes, so that no UID is ever given twice
//!   keywords                       one client keyword a line; the n-th line is letter 'a' + n in file names
//!   0000000012-1763884800-RSa.eml  UID, time received (Unix seconds), flags; the bytes never change
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::disk::{self, DiskError, on};

/// File names hold one letter per keyword, as Maildir does.
pub(super) const MAX_KEYWORDS: usize = 26;

/// Flag letters of Maildir, for the flags that RFC 3501 defines.
const SYSTEM_FLAGS: [(char, &str); 5] = [
    ('D', "\\Draft"),
    ('F', "\\Flagged"),
    ('R', "\\Answered"),
    ('S', "\\Seen"),
    ('T', "\\Deleted"),
];

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{} holds {found:?}, expected {expected}; restore the file or remove the folder", path.display())]
    Damaged {
        path: PathBuf,
        found: String,
        expected: &'static str,
    },
    #[error("a folder keeps {MAX_KEYWORDS} keywords, {0:?} would be one more")]
    KeywordsFull(String),
    #[error("all UIDs of the folder are used up")]
    UidsUsedUp,
}

/// A message's number within one folder and UIDVALIDITY. Never zero, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub NonZeroU32);

impl Uid {
    const FIRST: Self = Self(NonZeroU32::MIN);

    fn next(self) -> Result<Self, FolderError> {
        self.0.checked_add(1).map(Self).ok_or(FolderError::UidsUsedUp)
    }
}

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Flag names as IMAP writes them: `\Seen`, `$Forwarded`.
pub(super) type Flags = BTreeSet<String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// INTERNALDATE, Unix seconds.
    pub(super) received: u64,
    pub(super) size: u32,
    pub(super) flags: Flags,
}

/// Where the bytes of a new message come from.
#[derive(Debug)]
pub(super) enum Source {
    Bytes(Vec<u8>),
    /// A message of another folder, linked and not copied: its bytes never change.
    File(PathBuf),
}

#[derive(Debug)]
pub(super) struct NewMessage {
    pub(super) source: Source,
    pub(super) received: u64,
    pub(super) flags: Flags,
}

#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    uid_validity: NonZeroU32,
    uid_next: Uid,
    keywords: Vec<String>,
    messages: BTreeMap<Uid, Message>,
    version: u64,
}

impl Folder {
    /// Opens the folder, creating it with `fresh_validity` where there is none.
    pub(super) fn open(dir: &Path, fresh_validity: NonZeroU32) -> Result<Self, FolderError> {
        disk::create_dir(dir)?;
        let uid_validity = match read_number(&dir.join("uidvalidity"))? {
            Some(value) => value,
            None => {
                disk::replace_file(dir, "uidvalidity", format!("{fresh_validity}\n").as_bytes())?;
                fresh_validity
            }
        };
        let keywords: Vec<String> = disk::read_text(&dir.join("keywords"))?
            .map(|text| text.lines().take(MAX_KEYWORDS).map(str::to_owned).collect())
            .unwrap_or_default();
        let messages = load_messages(dir, &keywords)?;
        let floor = read_number(&dir.join("uidnext"))?.map_or(Uid::FIRST, Uid);
        let uid_next = match messages.keys().next_back() {
            Some(last) => floor.max(last.next()?),
            None => floor,
        };
        Ok(Self {
            dir: dir.to_owned(),
            uid_validity,
            uid_next,
            keywords,
            messages,
            version: 0,
        })
    }

    pub(super) fn uid_validity(&self) -> NonZeroU32 {
        self.uid_validity
    }

    pub(super) fn uid_next(&self) -> Uid {
        self.uid_next
    }

    /// Grows with every change, so that a session knows when to look again.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn messages(&self) -> &BTreeMap<Uid, Message> {
        &self.messages
    }

    pub(super) fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// Adds messages in order. On return they are on disk; on error those before the failing one may be.
    pub(super) fn append(&mut self, batch: Vec<NewMessage>) -> Result<Vec<Uid>, FolderError> {
        let mut uids = Vec::with_capacity(batch.len());
        for new in batch {
            self.learn_keywords(&new.flags)?;
            let uid = self.uid_next;
            // Taken even if the write fails: half a write must not share its UID with the next message.
            self.uid_next = uid.next()?;
            let name = self.file_name(uid, new.received, &new.flags);
            let path = self.dir.join(&name);
            match new.source {
                Source::Bytes(bytes) => disk::write_file(&self.dir, &name, &bytes)?,
                Source::File(file) => fs::hard_link(&file, &path).map_err(on("link", &file))?,
            }
            let size = file_size(&path)?;
            self.messages.insert(
                uid,
                Message {
                    received: new.received,
                    size,
                    flags: new.flags,
                },
            );
            self.version += 1;
            uids.push(uid);
        }
        disk::sync_dir(&self.dir)?;
        Ok(uids)
    }

    /// The bytes of a message, or `None` when it is gone.
    pub(super) fn raw(&self, uid: Uid) -> Result<Option<Vec<u8>>, FolderError> {
        let Some(path) = self.path(uid) else {
            return Ok(None);
        };
        Ok(Some(fs::read(&path).map_err(on("read", &path))?))
    }

    pub(super) fn path(&self, uid: Uid) -> Option<PathBuf> {
        let message = self.messages.get(&uid)?;
        Some(
            self.dir
                .join(self.file_name(uid, message.received, &message.flags)),
        )
    }

    /// Sets the flags of each message that is still there.
    pub(super) fn set_flags(&mut self, changes: Vec<(Uid, Flags)>) -> Result<(), FolderError> {
        for (uid, flags) in changes {
            let Some(message) = self.messages.get(&uid) else {
                continue;
            };
            if message.flags == flags {
                continue;
            }
            let (received, old) = (
                message.received,
                self.file_name(uid, message.received, &message.flags),
            );
            self.learn_keywords(&flags)?;
            let (old, new) = (
                self.dir.join(old),
                self.dir.join(self.file_name(uid, received, &flags)),
            );
            fs::rename(&old, &new).map_err(on("rename", &old))?;
            if let Some(message) = self.messages.get_mut(&uid) {
                message.flags = flags;
            }
            self.version += 1;
        }
        Ok(disk::sync_dir(&self.dir)?)
    }

    /// Removes messages for good.
    pub(super) fn remove(&mut self, uids: &[Uid]) -> Result<(), FolderError> {
        // Written first: with the highest message gone, nothing else would remember its UID.
        disk::replace_file(&self.dir, "uidnext", format!("{}\n", self.uid_next).as_bytes())?;
        for uid in uids {
            let Some(path) = self.path(*uid) else { continue };
            fs::remove_file(&path).map_err(on("remove", &path))?;
            self.messages.remove(uid);
            self.version += 1;
        }
        Ok(disk::sync_dir(&self.dir)?)
    }

    /// What a restored or rebuilt mailbox does: another UIDVALIDITY, and UIDs counted from 1 again.
    ///
    /// A kill halfway leaves the new UIDVALIDITY with UIDs that are still unique and in order, which is a valid state.
    pub(super) fn change_uid_validity(&mut self, value: NonZeroU32) -> Result<(), FolderError> {
        disk::replace_file(&self.dir, "uidvalidity", format!("{value}\n").as_bytes())?;
        self.uid_validity = value;
        self.version += 1;
        let mut next = Uid::FIRST;
        for (old, message) in std::mem::take(&mut self.messages) {
            // Never upwards, and in order: the new name is always free.
            let (from, to) = (
                self.dir
                    .join(self.file_name(old, message.received, &message.flags)),
                self.dir
                    .join(self.file_name(next, message.received, &message.flags)),
            );
            fs::rename(&from, &to).map_err(on("rename", &from))?;
            self.messages.insert(next, message);
            next = next.next()?;
        }
        self.uid_next = next;
        Ok(disk::replace_file(
            &self.dir,
            "uidnext",
            format!("{next}\n").as_bytes(),
        )?)
    }

    /// Gives each unknown keyword its letter, on disk before any file name uses it.
    fn learn_keywords(&mut self, flags: &Flags) -> Result<(), FolderError> {
        let mut keywords = self.keywords.clone();
        for flag in flags {
            if system_letter(flag).is_some() || keywords.contains(flag) {
                continue;
            }
            if keywords.len() == MAX_KEYWORDS {
                return Err(FolderError::KeywordsFull(flag.clone()));
            }
            keywords.push(flag.clone());
        }
        if keywords.len() > self.keywords.len() {
            let text: String = keywords.iter().flat_map(|keyword| [keyword, "\n"]).collect();
            disk::replace_file(&self.dir, "keywords", text.as_bytes())?;
            self.keywords = keywords;
        }
        Ok(())
    }

    fn file_name(&self, uid: Uid, received: u64, flags: &Flags) -> String {
        let letter = |flag: &String| {
            let keyword = || {
                ('a'..='z')
                    .zip(&self.keywords)
                    .find(|(_, known)| *known == flag)
                    .map(|(letter, _)| letter)
            };
            system_letter(flag).or_else(keyword)
        };
        let mut letters: Vec<char> = flags.iter().filter_map(letter).collect();
        letters.sort_unstable();
        format!("{:010}-{received}-{}.eml", uid.0, String::from_iter(letters))
    }
}

fn system_letter(flag: &str) -> Option<char> {
    SYSTEM_FLAGS
        .iter()
        .find(|(_, name)| *name == flag)
        .map(|(letter, _)| *letter)
}

fn read_number(path: &Path) -> Result<Option<NonZeroU32>, FolderError> {
    let Some(text) = disk::read_text(path)? else {
        return Ok(None);
    };
    let damaged = |_| FolderError::Damaged {
        path: path.to_owned(),
        found: text.clone(),
        expected: "a number between 1 and 4294967295",
    };
    text.trim_end().parse().map(Some).map_err(damaged)
}

fn file_size(path: &Path) -> Result<u32, FolderError> {
    let too_big = |_| io::Error::new(io::ErrorKind::FileTooLarge, "IMAP counts sizes in 32 bits");
    let size = fs::metadata(path).and_then(|meta| u32::try_from(meta.len()).map_err(too_big));
    Ok(size.map_err(on("look at", path))?)
}

fn load_messages(dir: &Path, keywords: &[String]) -> Result<BTreeMap<Uid, Message>, FolderError> {
    let mut messages = BTreeMap::new();
    for name in disk::names(dir)? {
        let Some(stem) = name.strip_suffix(".eml") else {
            continue;
        };
        let path = dir.join(&name);
        let damaged = |expected| FolderError::Damaged {
            path: path.clone(),
            found: name.clone(),
            expected,
        };
        let (uid, received, flags) =
            parse_stem(stem, keywords).ok_or_else(|| damaged("a name like 0000000012-1763884800-RS.eml"))?;
        let message = Message {
            received,
            size: file_size(&path)?,
            flags,
        };
        if messages.insert(uid, message).is_some() {
            return Err(damaged("one file per UID"));
        }
    }
    Ok(messages)
}

fn parse_stem(stem: &str, keywords: &[String]) -> Option<(Uid, u64, Flags)> {
    let mut fields = stem.splitn(3, '-');
    let uid = Uid(fields.next()?.parse().ok()?);
    let received = fields.next()?.parse().ok()?;
    let name = |letter: char| match SYSTEM_FLAGS.iter().find(|(known, _)| *known == letter) {
        Some((_, name)) => Some((*name).to_owned()),
        None => ('a'..='z')
            .zip(keywords)
            .find(|(known, _)| *known == letter)
            .map(|(_, name)| name.clone()),
    };
    Some((
        uid,
        received,
        fields.next()?.chars().map(name).collect::<Option<Flags>>()?,
    ))
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
