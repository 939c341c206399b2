//! The sent box: every message that the SMTP side took, with its envelope, for people and tests to look at.
//!
//! `sent/0000000001.eml` holds the bytes as they came, `sent/0000000001.json` the envelope. The JSON file is written
//! last: where it is, the message was taken; the SMTP reply follows it.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::disk::{self, DiskError, on};

#[derive(Debug, thiserror::Error)]
pub enum SentError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{} is not an envelope: {source}; restore the file or remove it", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// A message that SMTP accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMail {
    /// Counted from 1, in the order of acceptance.
    pub number: u64,
    pub received: Timestamp,
    /// The envelope's sender; empty is the null return path.
    pub from: String,
    /// The envelope's recipients, as written in RCPT.
    pub to: Vec<String>,
    pub message_id: Option<String>,
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct SentBox {
    dir: PathBuf,
    mails: Vec<SentMail>,
    next: u64,
}

impl SentBox {
    pub(super) fn open(dir: &Path) -> Result<Self, SentError> {
        disk::create_dir(dir)?;
        let (mut mails, mut next) = (Vec::new(), 1);
        for name in disk::names(dir)? {
            let Some((number, extension)) = name.split_once('.') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            // A message without an envelope was never acknowledged; its number stays taken.
            next = next.max(number + 1);
            if extension == "json" {
                mails.push(read_envelope(&dir.join(&name))?);
            }
        }
        mails.sort_by_key(|mail| mail.number);
        Ok(Self {
            dir: dir.to_owned(),
            mails,
            next,
        })
    }

    pub(super) fn mails(&self) -> &[SentMail] {
        &self.mails
    }

    /// Keeps a message; it is on disk when this returns.
    pub(super) fn keep(
        &mut self,
        from: String,
        to: Vec<String>,
        raw: &[u8],
        received: Timestamp,
    ) -> Result<u64, SentError> {
        let number = self.next;
        self.next += 1;
        let mail = SentMail {
            number,
            received,
            from,
            to,
            message_id: message_id(raw),
            bytes: raw.len() as u64,
        };
        let envelope = serde_json::to_vec_pretty(&mail).map_err(|source| SentError::Damaged {
            path: self.dir.clone(),
            source,
        })?;
        disk::write_file(&self.dir, &format!("{number:010}.eml"), raw)?;
        disk::replace_file(&self.dir, &format!("{number:010}.json"), &envelope)?;
        self.mails.push(mail);
        Ok(number)
    }

    pub(super) fn raw(&self, number: u64) -> Result<Vec<u8>, SentError> {
        let path = self.dir.join(format!("{number:010}.eml"));
        Ok(fs::read(&path).map_err(on("read", &path))?)
    }
}

fn read_envelope(path: &Path) -> Result<SentMail, SentError> {
    let bytes = fs::read(path).map_err(on("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| SentError::Damaged {
        path: path.to_owned(),
        source,
    })
}

fn message_id(raw: &[u8]) -> Option<String> {
    let message = mail_parser::MessageParser::new()
        .with_message_ids()
        .default_header_ignore()
        .parse_headers(raw)?;
    message.message_id().map(|id| format!("<{id}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_mail_is_there_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let mut sent = SentBox::open(dir.path()).unwrap();
        let raw = b"From: a@b.test\r\nMessage-ID: <1@b.test>\r\n\r\nhello\r\n";
        sent.keep(
            "a@b.test".into(),
            vec!["c@d.test".into()],
            raw,
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        // A kill between the two files.
        fs::write(dir.path().join("0000000002.eml"), "x").unwrap();

        let mut again = SentBox::open(dir.path()).unwrap();
        assert_eq!(again.mails(), sent.mails());
        assert_eq!(again.mails()[0].message_id.as_deref(), Some("<1@b.test>"));
        assert_eq!(again.raw(1).unwrap(), raw);
        assert_eq!(
            again
                .keep(String::new(), vec![], b"", Timestamp::UNIX_EPOCH)
                .unwrap(),
            3
        );
    }
}
