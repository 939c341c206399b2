//! How a command ends: done with data, or refused.

use imap_next::imap_types::response::{Code, CodeOther, Data};

use super::wire::WireError;
use crate::devmail::folder::FolderError;
use crate::devmail::store::StoreError;

pub(super) struct Done {
    pub(super) untagged: Vec<Data<'static>>,
    /// Sent as untagged OK, each on its own.
    pub(super) codes: Vec<Code<'static>>,
    pub(super) code: Option<Code<'static>>,
    pub(super) words: &'static str,
}

impl Done {
    pub(super) fn new(words: &'static str) -> Self {
        Self::with(words, Vec::new())
    }

    pub(super) fn with(words: &'static str, untagged: Vec<Data<'static>>) -> Self {
        Self {
            untagged,
            codes: Vec::new(),
            code: None,
            words,
        }
    }

    pub(super) fn code(self, code: Code<'static>) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("NO {1}")]
    No(Option<Code<'static>>, String),
    #[error("BAD {0}")]
    Bad(String),
    #[error(transparent)]
    Disk(#[from] StoreError),
    #[error("the connection ended: {0}")]
    Wire(#[source] WireError),
}

impl From<FolderError> for Refused {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::KeywordsFull(_) => no(Some(Code::Other(other("LIMIT"))), &error.to_string()),
            error => Self::Disk(error.into()),
        }
    }
}

pub(super) fn no(code: Option<Code<'static>>, words: &str) -> Refused {
    Refused::No(code, words.to_owned())
}

pub(super) fn bad(words: &str) -> Refused {
    Refused::Bad(words.to_owned())
}

/// A response code of RFC 5530.
pub(super) fn other(code: &'static str) -> CodeOther<'static> {
    CodeOther::unvalidated(code.as_bytes())
}
