//! `after` and its like in `[accounts.imap]`: what becomes of a mail once its event is out.

use super::section::{Section, note};
use crate::ingest::After;
use crate::ingest::imap::is_flag;

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Word {
    #[default]
    Keep,
    Flag,
    Move,
    Expunge,
}

pub(super) fn read(section: &mut Section<'_>, mailboxes: &[String]) -> Option<After> {
    let words = [
        ("keep", Word::Keep),
        ("flag", Word::Flag),
        ("move", Word::Move),
        ("expunge", Word::Expunge),
    ];
    let word = section.choice("after", &words).unwrap_or_default();
    let flag = section.parsed_by(
        "after_flag",
        "write \\\\Seen, \\\\Flagged, \\\\Answered, \\\\Draft, or a keyword such as $Done",
        |text| is_flag(text).then(|| text.to_owned()),
    );
    let folder = section.text("after_folder");
    if flag.is_some() && word != Word::Flag {
        section.wrong("has an after_flag, which only after = \"flag\" sets");
    }
    if folder.is_some() && word != Word::Move {
        section.wrong("has an after_folder, which only after = \"move\" fills");
    }
    match (word, folder) {
        (Word::Keep, _) => Some(After::Keep),
        (Word::Flag, _) => Some(After::Flag(
            flag.map_or_else(|| "\\Seen".to_owned(), |given| given.value),
        )),
        (Word::Expunge, _) => Some(After::Expunge),
        (Word::Move, None) => {
            section.wrong("moves mails and needs `after_folder`, for example after_folder = \"Archive\"");
            None
        }
        // Its mails would come in again, as new ones.
        (Word::Move, Some(folder)) if mailboxes.contains(&folder.value) => {
            let sentence = format_args!(
                "`after_folder` is \"{}\", which is watched itself; name another",
                folder.value
            );
            note(section.mistakes(), &folder.origin, sentence);
            None
        }
        (Word::Move, Some(folder)) => Some(After::Move(folder.value)),
    }
}
