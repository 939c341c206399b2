//! The folder of what an account has sent, by IMAP. A provider that fills it itself leaves the proof there that a mail went
//! out; for the others, postroom files a copy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postroom::{Cx, CxError, Handle, Handler, HandlerError, Key, Spec};
use tokio::sync::Mutex;

use crate::ingest::imap::{ImapError, Session};
use crate::login::Login;
use crate::messages::Sent;
use crate::store::outgoing;
use crate::tls::{Dialer, Endpoint};

/// Who puts mails into the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptBy {
    /// The server that takes the mail, as at Google and Microsoft.
    Provider,
    Postroom,
}

/// Where what an account has sent is kept.
#[derive(Debug, Clone)]
pub struct SentFolder {
    pub endpoint: Endpoint,
    pub dialer: Dialer,
    pub login: Login,
    /// Such as `Sent`.
    pub mailbox: String,
    pub kept_by: KeptBy,
}

impl SentFolder {
    /// Whether the mail is there.
    ///
    /// # Errors
    /// When nobody can tell, such as when the server is away.
    pub async fn has(&self, message_id: &str) -> Result<bool, ImapError> {
        let mut session = Session::login(&self.endpoint, &self.dialer, &self.login).await?;
        session.select(&self.mailbox).await?;
        let found = session.has_message_id(message_id).await?;
        session.logout().await;
        Ok(found)
    }

    /// Puts the mail there, unless it is there.
    ///
    /// # Errors
    /// When that may not have happened; to be done again.
    pub async fn file(&self, message_id: &str, mail: &[u8]) -> Result<(), ImapError> {
        let mut session = self.open().await?;
        self.file_by(&mut session, message_id, mail).await?;
        session.logout().await;
        Ok(())
    }

    async fn file_by(&self, session: &mut Session, message_id: &str, mail: &[u8]) -> Result<(), ImapError> {
        if !session.has_message_id(message_id).await? {
            session.append(&self.mailbox, mail).await?;
        }
        Ok(())
    }

    /// With the folder selected, which is made if there is none.
    async fn open(&self) -> Result<Session, ImapError> {
        let mut session = Session::login(&self.endpoint, &self.dialer, &self.login).await?;
        match session.select(&self.mailbox).await {
            Err(error) if error.is_refusal() => {
                session.create(&self.mailbox).await?;
                session.select(&self.mailbox).await?;
            }
            other => drop(other?),
        }
        Ok(session)
    }
}

/// Files a copy of each mail of `emails.sent` whose provider doesn't. Done again after a crash, it finds the first copy by its
/// Message-ID and leaves it at that.
#[derive(Debug)]
pub struct FileSent {
    folders: HashMap<String, Folder>,
}

/// One connection an account: copies go in one after the other, so that two of the same mail can't.
type Folder = (SentFolder, Arc<Mutex<Option<Session>>>);

/// Why there is no copy.
#[derive(Debug, thiserror::Error, HandlerError)]
pub enum FileError {
    #[error("the copy for the folder {mailbox} could not be filed: {trouble}")]
    #[on(retry)]
    Imap { mailbox: String, trouble: ImapError },
    #[error(transparent)]
    #[on(inherit)]
    Cx(#[from] CxError),
}

impl FileSent {
    /// `folders` by account; mails of other accounts are left alone.
    pub fn new(folders: impl IntoIterator<Item = (String, SentFolder)>) -> Self {
        let folders = folders.into_iter();
        Self {
            folders: folders
                .map(|(account, folder)| (account, (folder, Arc::default())))
                .collect(),
        }
    }
}

/// By hand: a day of trouble with the mailbox is no reason to lose the copy.
impl Handler for FileSent {
    type Message = Sent;

    fn spec() -> Spec<Sent> {
        const TTL: Duration = Duration::from_secs(30 * 24 * 3600);
        Spec::new("file-sent")
            .idempotent(|sent: &Sent| Key::of(&[&sent.id]), TTL)
            .retry(40, Duration::from_secs(5), Duration::from_secs(3600))
            .timeout(Duration::from_secs(10 * 60))
            .concurrency(8)
    }
}

impl Handle<Sent> for FileSent {
    type Error = FileError;

    async fn handle(&self, sent: Sent, cx: &mut Cx<'_>) -> Result<(), FileError> {
        let Some((folder, session)) = self.folders.get(&sent.account) else {
            return Ok(());
        };
        let mut read = cx.store().read().await.map_err(CxError::from)?;
        let mail = outgoing::find(&mut read, &sent.id).await.map_err(CxError::from)?;
        read.rollback().await.map_err(CxError::from)?;
        let Some(mail) = mail else {
            return Ok(());
        };
        file(folder, session, &sent.message_id, &mail)
            .await
            .map_err(|trouble| FileError::Imap {
                mailbox: folder.mailbox.clone(),
                trouble,
            })?;
        let tx = cx.tx().await?;
        Ok(outgoing::forget(tx, &sent.id).await.map_err(CxError::from)?)
    }
}

/// By the connection that is there, or a new one where it has died meanwhile.
async fn file(
    folder: &SentFolder,
    session: &Mutex<Option<Session>>,
    message_id: &str,
    mail: &[u8],
) -> Result<(), ImapError> {
    let mut held = session.lock().await;
    // Taken out for the time being: what fails, or is cut off half way, takes the connection with it.
    if let Some(mut session) = held.take() {
        match folder.file_by(&mut session, message_id, mail).await {
            Ok(()) => {
                *held = Some(session);
                return Ok(());
            }
            Err(error) if error.is_refusal() => return Err(error),
            Err(_) => {}
        }
    }
    let mut session = folder.open().await?;
    folder.file_by(&mut session, message_id, mail).await?;
    *held = Some(session);
    Ok(())
}
