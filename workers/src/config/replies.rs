//! What holds for the replies of an account: how many a sender gets, and what their marks are signed with.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Replies;
use super::read::{Noted, SecretKeys, Surroundings, path, secret};
use super::section::{Section, note};
use crate::reply::{MIN_SECRET_BYTES, ReplySecret};

const KEYS: SecretKeys = SecretKeys {
    plain: "reply_secret",
    variable: "reply_secret_env",
    file: "reply_secret_file",
};

pub(super) fn read(section: &mut Section<'_>, surroundings: &Surroundings<'_>) -> Result<Replies, Noted> {
    let per_peer = section.parsed("replies_per_peer", "write a number, such as 24; 0 answers nobody");
    Ok(Replies {
        per_peer: per_peer.map(|given| given.value),
        secret: reply_secret(section, surroundings)?,
    })
}

fn reply_secret(
    section: &mut Section<'_>,
    surroundings: &Surroundings<'_>,
) -> Result<Option<ReplySecret>, Noted> {
    let file = section.peek(KEYS.file);
    let Some(given) = secret(section, surroundings, &KEYS)? else {
        return Ok(None);
    };
    if let Some(file) = file {
        let path = path(surroundings, &file);
        let mode = fs::metadata(&path).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            let sentence = format_args!(
                "{} {} can be read by others, its mode is {mode:04o}; run `chmod 600 {}`",
                KEYS.file,
                path.display(),
                path.display()
            );
            note(section.mistakes(), &file.origin, sentence);
            return Err(Noted);
        }
    }
    let made = ReplySecret::new(&given);
    if made.is_none() {
        section.wrong(format_args!(
            "has a reply_secret of less than {MIN_SECRET_BYTES} bytes; make one by `openssl rand -hex 32`"
        ));
    }
    made.map(Some).ok_or(Noted)
}
