//! A mail's bytes: written by its template, with its files, signed; made once.

use postroom::{Cx, CxError, headers};

use super::dkim::{DkimError, Signers};
use super::message::{self, MAX_MAIL, MessageError, Outgoing};
use super::template::{TemplateError, Templates};
use crate::blob::{BlobError, BlobStore};
use crate::messages::Send;
use crate::store::outgoing;

/// Everything that mails are made with.
#[derive(Debug, Clone)]
pub struct Press {
    pub blobs: BlobStore,
    pub templates: Templates,
    pub signers: Signers,
}

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub enum PressError {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("attachments[{index}] ({name:?}): {trouble}")]
    File {
        index: usize,
        name: String,
        trouble: BlobError,
    },
    #[error(transparent)]
    Dkim(#[from] DkimError),
    #[error(transparent)]
    Cx(#[from] CxError),
}

impl PressError {
    /// It comes from what stands around the mail, and a later try may go better.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::File {
                trouble: BlobError::Io { .. } | BlobError::Interrupted,
                ..
            }
        )
    }
}

/// A mail, and whether its bytes could be made again.
#[derive(Debug)]
pub(super) struct Print {
    pub(super) mail: Outgoing,
    must_be_kept: bool,
}

impl Press {
    /// With no templates and no keys.
    pub fn new(blobs: BlobStore) -> Self {
        Self {
            blobs,
            templates: Templates::default(),
            signers: Signers::default(),
        }
    }

    /// The mail: the bytes of an earlier try, or made now. `files_copy` keeps them also for the copy that is filed later.
    pub(super) async fn print(
        &self,
        send: &Send,
        files_copy: bool,
        cx: &Cx<'_>,
    ) -> Result<Print, PressError> {
        let is_first = cx.attempt() <= 1 && cx.headers().get(headers::REPLAY).is_none();
        if !is_first && let Some(bytes) = kept(&send.id, cx).await? {
            let (sender, recipient) = message::envelope(send)?;
            let mail = Outgoing {
                sender,
                recipient,
                message_id: send.message_id.clone(),
                bytes,
            };
            return Ok(Print {
                mail,
                must_be_kept: false,
            });
        }
        let content = self.templates.content(send)?;
        let files = self.files(send).await?;
        let mut mail = message::build(send, &content, &files)?;
        let signatures = self.signers.sign(send, &mail.bytes)?;
        let must_be_kept = files_copy || send.template.is_some() || !signatures.is_empty();
        mail.bytes.splice(..0, signatures);
        Ok(Print { mail, must_be_kept })
    }

    async fn files(&self, send: &Send) -> Result<Vec<Vec<u8>>, PressError> {
        // Before any of it is read: in base64, three bytes are four.
        let size = send
            .attachments
            .iter()
            .fold(0_u64, |sum, file| sum.saturating_add(file.blob.size));
        let size = usize::try_from(size / 3 * 4).unwrap_or(usize::MAX);
        if size > MAX_MAIL {
            return Err(MessageError::TooLarge(size).into());
        }
        let mut files = Vec::with_capacity(send.attachments.len());
        for (index, file) in send.attachments.iter().enumerate() {
            let bytes = self
                .blobs
                .get(&file.blob)
                .await
                .map_err(|trouble| PressError::File {
                    index,
                    name: file.name.chars().take(100).collect(),
                    trouble,
                })?;
            files.push(bytes);
        }
        Ok(files)
    }
}

impl Print {
    /// The mail is about to go out: from here on its bytes stay what they are.
    pub(super) async fn keep(self, send: &Send, cx: &Cx<'_>) -> Result<Outgoing, CxError> {
        if !self.must_be_kept {
            return Ok(self.mail);
        }
        let mut tx = cx.store().begin().await?;
        let is_first = outgoing::keep(&mut tx, &send.id, &self.mail.bytes).await?;
        tx.commit().await?;
        if is_first {
            return Ok(self.mail);
        }
        let bytes = kept(&send.id, cx).await?.unwrap_or(self.mail.bytes);
        Ok(Outgoing { bytes, ..self.mail })
    }
}

async fn kept(id: &str, cx: &Cx<'_>) -> Result<Option<Vec<u8>>, CxError> {
    let mut tx = cx.store().read().await?;
    let found = outgoing::find(&mut tx, id).await?;
    tx.rollback().await?;
    Ok(found)
}
