//! Flag names between the wire and the folder.

use imap_next::imap_types::flag::{Flag, FlagFetch, FlagPerm};

use crate::devmail::folder::Flags;

pub(super) const SEEN: &str = "\\Seen";
pub(super) const DELETED: &str = "\\Deleted";

/// The names of flags a client may set. `None`: a system flag that RFC 3501 does not know, such as `\Recent`.
pub(super) fn from_wire(flags: &[Flag<'_>]) -> Option<Flags> {
    let name = |flag: &Flag<'_>| match flag {
        Flag::Extension(_) => None,
        other => Some(other.to_string()),
    };
    flags.iter().map(name).collect()
}

pub(super) fn to_wire(names: &Flags) -> Vec<FlagFetch<'static>> {
    names
        .iter()
        .filter_map(|name| flag(name))
        .map(FlagFetch::Flag)
        .collect()
}

fn flag(name: &str) -> Option<Flag<'static>> {
    use imap_next::imap_types::IntoStatic;
    Flag::try_from(name).ok().map(IntoStatic::into_static)
}

/// The FLAGS and PERMANENTFLAGS of a folder with these keywords.
pub(super) fn known(keywords: &[String]) -> Vec<Flag<'static>> {
    let system = [
        Flag::Answered,
        Flag::Flagged,
        Flag::Deleted,
        Flag::Seen,
        Flag::Draft,
    ];
    system
        .into_iter()
        .chain(keywords.iter().filter_map(|keyword| flag(keyword)))
        .collect()
}

pub(super) fn permanent(keywords: &[String]) -> Vec<FlagPerm<'static>> {
    known(keywords)
        .into_iter()
        .map(FlagPerm::Flag)
        .chain([FlagPerm::Asterisk])
        .collect()
}
