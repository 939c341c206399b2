//! What FETCH says about one message. No sockets, no files: the message comes in as bytes.

use std::cell::OnceCell;

use imap_next::imap_types::core::{AString, Literal, NString, Vec1};
use imap_next::imap_types::datetime::DateTime;
use imap_next::imap_types::fetch::{
    MacroOrMessageDataItemNames as Asked, MessageDataItem as Item, MessageDataItemName as Name, Section,
};

use super::flags;
use super::header;
use super::mime::{self, Mime};
use crate::devmail::folder::{Message, Uid};

/// The items asked for, macros expanded. UID FETCH always tells the UID.
pub(super) fn names(asked: Asked<'static>, by_uid: bool) -> Vec<Name<'static>> {
    use imap_next::imap_types::IntoStatic;
    let mut names = match asked {
        Asked::Macro(shorthand) => shorthand
            .expand()
            .into_iter()
            .map(IntoStatic::into_static)
            .collect(),
        Asked::MessageDataItemNames(names) => names,
    };
    if by_uid && !names.contains(&Name::Uid) {
        names.insert(0, Name::Uid);
    }
    names
}

/// Items that cannot be answered; the command is refused rather than answered in part.
pub(super) fn is_offered(name: &Name<'_>) -> bool {
    !matches!(name, Name::Binary { .. } | Name::BinarySize { .. })
}

pub(super) fn needs_bytes(name: &Name<'_>) -> bool {
    !matches!(
        name,
        Name::Flags | Name::InternalDate | Name::Rfc822Size | Name::Uid
    )
}

/// Whether fetching it marks the message as seen.
pub(super) fn marks_seen(name: &Name<'_>) -> bool {
    matches!(
        name,
        Name::BodyExt { peek: false, .. } | Name::Rfc822 | Name::Rfc822Text
    )
}

/// The answers, in the order asked.
pub(super) fn items(names: &[Name<'static>], uid: Uid, message: &Message, raw: &[u8]) -> Vec<Item<'static>> {
    let (masked, mime) = (OnceCell::new(), OnceCell::new());
    let mime = || mime.get_or_init(|| Mime::parse(raw, masked.get_or_init(|| mime::masked(raw))));
    names
        .iter()
        .filter_map(|name| item(name, uid, message, raw, mime))
        .collect()
}

fn item<'m>(
    name: &Name<'static>,
    uid: Uid,
    message: &Message,
    raw: &'m [u8],
    mime: impl Fn() -> &'m Mime<'m>,
) -> Option<Item<'static>> {
    Some(match name {
        Name::Uid => Item::Uid(uid.0),
        Name::Flags => Item::Flags(flags::to_wire(&message.flags)),
        Name::InternalDate => Item::InternalDate(date(message.received)?),
        Name::Rfc822Size => Item::Rfc822Size(message.size),
        Name::Rfc822 => Item::Rfc822(literal(raw.to_vec())),
        Name::Rfc822Header => Item::Rfc822Header(literal(header::split(raw).0.to_vec())),
        Name::Rfc822Text => Item::Rfc822Text(literal(header::split(raw).1.to_vec())),
        Name::BodyExt { section, partial, .. } => {
            let bytes = section_bytes(section.as_ref(), raw, mime);
            let origin = partial.map(|(origin, _)| origin);
            let data = bytes.map_or(NString(None), |bytes| literal(cut(bytes, *partial)));
            Item::BodyExt {
                section: section.clone(),
                origin,
                data,
            }
        }
        Name::Envelope => Item::Envelope(mime().envelope()),
        Name::Body => Item::Body(mime().structure()),
        Name::BodyStructure => Item::BodyStructure(mime().structure()),
        Name::Binary { .. } | Name::BinarySize { .. } => return None,
    })
}

fn section_bytes<'m>(
    section: Option<&Section<'static>>,
    raw: &'m [u8],
    mime: impl Fn() -> &'m Mime<'m>,
) -> Option<Vec<u8>> {
    let is_in = |names: &Vec1<AString<'_>>, name: &[u8]| {
        names
            .as_ref()
            .iter()
            .any(|wanted| wanted.as_ref().eq_ignore_ascii_case(name))
    };
    let within = |part: &Option<_>| match part {
        None => Some(raw),
        Some(part) => mime().nested_message(part),
    };
    Some(match section {
        None => raw.to_vec(),
        Some(Section::Header(part)) => header::split(within(part)?).0.to_vec(),
        Some(Section::Text(part)) => header::split(within(part)?).1.to_vec(),
        Some(Section::HeaderFields(part, names)) => header::subset(within(part)?, |name| is_in(names, name)),
        Some(Section::HeaderFieldsNot(part, names)) => {
            header::subset(within(part)?, |name| !is_in(names, name))
        }
        Some(Section::Part(part)) => mime().body(part)?.to_vec(),
        Some(Section::Mime(part)) => mime().header(part)?.to_vec(),
    })
}

/// `<origin.count>`: beyond the end there is nothing, which is no error.
fn cut(mut bytes: Vec<u8>, partial: Option<(u32, std::num::NonZeroU32)>) -> Vec<u8> {
    let Some((origin, count)) = partial else {
        return bytes;
    };
    bytes.drain(..bytes.len().min(origin as usize));
    bytes.truncate(count.get() as usize);
    bytes
}

/// NUL was replaced when the message was stored, so the literal is valid; a file changed by hand reads as NIL.
fn literal(bytes: Vec<u8>) -> NString<'static> {
    Literal::try_from(bytes).map_or(NString(None), NString::from)
}

fn date(received: u64) -> Option<DateTime> {
    let date = chrono::DateTime::from_timestamp(i64::try_from(received).ok()?, 0)?;
    DateTime::try_from(date.fixed_offset()).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn nz(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn partial_ranges_end_where_the_bytes_end() {
        let cut = |partial| cut(b"0123456789".to_vec(), partial);
        assert_eq!(cut(None), b"0123456789");
        assert_eq!(cut(Some((0, nz(4)))), b"0123");
        assert_eq!(cut(Some((8, nz(4)))), b"89");
        assert_eq!(cut(Some((10, nz(4)))), b"");
        assert_eq!(cut(Some((u32::MAX, nz(u32::MAX)))), b"");
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(
            date(1_763_884_800).unwrap().as_ref().to_rfc3339(),
            "2025-11-23T08:00:00+00:00"
        );
        assert_eq!(date(u64::MAX), None);
    }
}
