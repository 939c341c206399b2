//! What is done to mails on the server, by UID only. Repeating any of it changes nothing more.

use std::fmt::Write as _;

use super::{Command, ImapError, QUICK, SLOW, Session};

impl Session {
    /// Whether the server offers this, such as `MOVE`.
    pub fn offers(&self, capability: &str) -> bool {
        self.offered.iter().any(|name| name == capability)
    }

    /// Whether the selected mailbox keeps this flag. A server that does not say keeps every one (RFC 3501 section 7.1).
    pub fn keeps_flag(&self, flag: &str) -> bool {
        if self.is_read_only {
            return false;
        }
        let is_it =
            |kept: &String| kept.eq_ignore_ascii_case(flag) || (kept == "\\*" && !flag.starts_with('\\'));
        self.permanent_flags
            .as_ref()
            .is_none_or(|flags| flags.iter().any(is_it))
    }

    /// The selected mailbox takes no changes.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Sets a flag, which is one of RFC 3501's or a keyword that [`is_flag`].
    pub async fn set_flag(&mut self, uids: &[u32], flag: &str) -> Result<(), ImapError> {
        let command = Command::new("UID STORE").raw(&format!("{} +FLAGS.SILENT ({flag})", set(uids)));
        self.connection.run(command, SLOW).await.map(drop)
    }

    /// Moves mails into a folder (RFC 6851); those that are gone are passed over.
    pub async fn move_to(&mut self, uids: &[u32], folder: &str) -> Result<(), ImapError> {
        let command = Command::new("UID MOVE").raw(&set(uids)).mailbox(folder)?;
        self.connection.run(command, SLOW).await.map(drop)
    }

    /// Copies mails into a folder; those that are gone are passed over.
    pub async fn copy_to(&mut self, uids: &[u32], folder: &str) -> Result<(), ImapError> {
        let command = Command::new("UID COPY").raw(&set(uids)).mailbox(folder)?;
        self.connection.run(command, SLOW).await.map(drop)
    }

    /// Removes mails for good. `UID EXPUNGE` (RFC 4315) names them: a plain EXPUNGE would take whatever else somebody has
    /// marked meanwhile.
    pub async fn expunge(&mut self, uids: &[u32]) -> Result<(), ImapError> {
        self.set_flag(uids, "\\Deleted").await?;
        let command = Command::new("UID EXPUNGE").raw(&set(uids));
        self.connection.run(command, SLOW).await.map(drop)
    }

    /// Whether there is such a folder.
    pub async fn has_folder(&mut self, folder: &str) -> Result<bool, ImapError> {
        let command = Command::new("STATUS").mailbox(folder)?.raw("(UIDVALIDITY)");
        match self.connection.run(command, QUICK).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_refusal() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A flag that can be set: a system flag but `\Recent`, which is the server's, and `\Deleted`, which any client's EXPUNGE
/// acts on; or a keyword, which is an atom.
pub fn is_flag(flag: &str) -> bool {
    const SYSTEM: [&str; 4] = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft"];
    /// Longer ones are refused by servers.
    const MAX: usize = 64;
    let is_atom = |byte: u8| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte);
    let is_keyword = !flag.is_empty() && flag.len() <= MAX && flag.bytes().all(is_atom);
    is_keyword || SYSTEM.iter().any(|system| system.eq_ignore_ascii_case(flag))
}

/// UIDs as a set, runs of them as ranges.
fn set(uids: &[u32]) -> String {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    let mut text = String::new();
    let mut at = 0;
    while at < uids.len() {
        let first = uids[at];
        while at + 1 < uids.len() && uids[at + 1] == uids[at] + 1 {
            at += 1;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = match uids[at] {
            last if last == first => write!(text, "{comma}{first}"),
            last => write!(text, "{comma}{first}:{last}"),
        };
        at += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_short() {
        for (uids, expect) in [
            (&[7][..], "7"),
            (&[3, 1, 2, 2, 9], "1:3,9"),
            (&[1, 3, 5], "1,3,5"),
            (&[u32::MAX - 1, u32::MAX], "4294967294:4294967295"),
        ] {
            assert_eq!(set(uids), expect);
        }
    }

    #[test]
    fn flags_are_atoms_and_never_syntax() {
        for good in ["\\Seen", "\\answered", "$Done", "postroom", "a.b-c"] {
            assert!(is_flag(good), "{good}");
        }
        for bad in [
            "",
            "\\Deleted",
            "\\Recent",
            "\\Mine",
            "a b",
            "a)",
            "(",
            "\"",
            "a\r\n",
            "é",
            &"x".repeat(65),
        ] {
            assert!(!is_flag(bad), "{bad:?}");
        }
    }
}
