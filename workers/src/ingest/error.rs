//! Why watching a mailbox was interrupted.

use postroom::StoreError;

use super::imap::ImapError;
use crate::blob::BlobError;

/// A connection to a mailbox ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Imap(#[from] ImapError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("another process watches this mailbox now")]
    LeaseLost,
    #[error("watching panicked: {0}")]
    Panicked(String),
}
