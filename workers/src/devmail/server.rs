//! The running development mailbox: two listeners, their connections, and the handle that steers them.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{DevMailConfig, Protocol, StartError, check_users};
use super::fault::Fault;
use super::faults::Faults;
use super::folder::{FolderError, Uid};
use super::sent::SentMail;
use super::store::{FolderHandle, INBOX, Store, StoreError};
use super::{imap, smtp};

/// More than a test needs; a leak of connections is then seen, and ends here.
const MAX_CONNECTIONS: usize = 512;

/// How long accepting rests when the process has no file descriptors left.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A development mailbox, running until [`DevMail::shutdown`].
#[derive(Debug)]
pub struct DevMail {
    imap: SocketAddr,
    smtp: SocketAddr,
    store: Store,
    faults: Faults,
    drops: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// No user or folder has that name.
#[derive(Debug, thiserror::Error)]
pub enum DevMailError {
    #[error("no user is named {0:?}")]
    NoSuchUser(String),
    #[error("user {user:?} has no folder {folder:?}")]
    NoSuchFolder { user: String, folder: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// What is in the mailbox, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Messages in all INBOX folders.
    pub inbox: usize,
    /// Messages that SMTP accepted.
    pub sent: usize,
    /// Open connections of both kinds.
    pub connections: usize,
}

impl DevMail {
    pub async fn start(config: DevMailConfig) -> Result<Self, StartError> {
        check_users(&config.users)?;
        let (imap_listener, imap) = bind(Protocol::Imap, config.imap).await?;
        let (smtp_listener, smtp) = bind(Protocol::Smtp, config.smtp).await?;
        let (dir, users, faults) = (config.dir, config.users, config.faults);
        let (store, faults) = super::store::blocking(move || {
            let store = Store::open(&dir, users)?;
            let faults =
                Faults::open(&dir, faults).map_err(|source| StartError::Directory { dir, source })?;
            Ok::<_, StartError>((store, faults))
        })
        .await?;
        let devmail = Self {
            imap,
            smtp,
            store,
            faults,
            drops: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        devmail.accept_imap(imap_listener);
        devmail.accept_smtp(smtp_listener);
        Ok(devmail)
    }

    pub fn imap_addr(&self) -> SocketAddr {
        self.imap
    }

    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    /// Puts a message into the user's INBOX, as it is. It is on disk when this returns.
    pub async fn deliver(&self, user: &str, raw: impl Into<Vec<u8>>) -> Result<Uid, DevMailError> {
        Ok(self.folder(user, INBOX)?.deliver(raw.into()).await?)
    }

    /// How many messages a folder holds.
    pub async fn count(&self, user: &str, folder: &str) -> Result<usize, DevMailError> {
        Ok(self
            .folder(user, folder)?
            .with(|folder| folder.messages().len())
            .await)
    }

    pub async fn stats(&self) -> Stats {
        let mut inbox = 0;
        for folder in self.store.inboxes() {
            inbox += folder.with(|folder| folder.messages().len()).await;
        }
        // Two of the tasks are the listeners.
        let connections = self.tasks.len().saturating_sub(2);
        Stats {
            inbox,
            sent: self.store.sent().await.len(),
            connections,
        }
    }

    /// All that SMTP accepted since the directory was new, in order.
    pub async fn sent(&self) -> Vec<SentMail> {
        self.store.sent().await
    }

    /// The bytes of a message that SMTP accepted, by its [`SentMail::number`].
    pub async fn sent_raw(&self, number: u64) -> Result<Vec<u8>, DevMailError> {
        Ok(self.store.sent_raw(number).await.map_err(StoreError::from)?)
    }

    /// Gives a folder another UIDVALIDITY and counts its UIDs from 1 again. Sessions that have it selected get BYE.
    pub async fn set_uid_validity(
        &self,
        user: &str,
        folder: &str,
        value: NonZeroU32,
    ) -> Result<(), DevMailError> {
        let changed = self
            .folder(user, folder)?
            .with(move |folder| folder.change_uid_validity(value))
            .await;
        Ok(changed?)
    }

    /// Ends every IMAP connection without a word, as a failing network does.
    pub fn drop_imap_connections(&self) {
        self.drops.send_modify(|count| *count += 1);
    }

    /// Arms a fault, its count at zero.
    pub async fn arm(&self, fault: Fault) -> Result<(), DevMailError> {
        Ok(self.faults.arm(fault).await.map_err(StoreError::from)?)
    }

    pub async fn disarm_all(&self) -> Result<(), DevMailError> {
        Ok(self.faults.disarm_all().await.map_err(StoreError::from)?)
    }

    /// The armed faults and how often each has struck.
    pub fn faults(&self) -> Vec<(Fault, u32)> {
        self.faults.list()
    }

    /// Says goodbye to every client, and returns when the last task has ended.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn folder(&self, user: &str, folder: &str) -> Result<FolderHandle, DevMailError> {
        let account = self
            .store
            .account(user)
            .ok_or_else(|| DevMailError::NoSuchUser(user.to_owned()))?;
        account.folder(folder).ok_or_else(|| DevMailError::NoSuchFolder {
            user: user.to_owned(),
            folder: folder.to_owned(),
        })
    }

    fn accept_imap(&self, listener: TcpListener) {
        let (store, faults, stop) = (self.store.clone(), self.faults.clone(), self.stop.clone());
        let drops = self.drops.clone();
        self.accept(listener, move |socket| {
            let serving = imap::serve(
                socket,
                store.clone(),
                faults.clone(),
                stop.clone(),
                drops.subscribe(),
            );
            async move {
                if let Err(error) = Box::pin(serving).await {
                    tracing::debug!(%error, "an IMAP connection ended");
                }
            }
        });
    }

    fn accept_smtp(&self, listener: TcpListener) {
        let (store, faults, stop) = (self.store.clone(), self.faults.clone(), self.stop.clone());
        self.accept(listener, move |socket| {
            let serving = smtp::serve(socket, store.clone(), faults.clone(), stop.clone());
            async move {
                if let Err(error) = Box::pin(serving).await {
                    tracing::debug!(%error, "an SMTP connection ended");
                }
            }
        });
    }

    fn accept<F>(&self, listener: TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((socket, _)) if tasks.len() < MAX_CONNECTIONS => {
                        // Replies are small and awaited.
                        let _ = socket.set_nodelay(true);
                        tasks.spawn(serve(socket));
                    }
                    Ok(_) => tracing::warn!(MAX_CONNECTIONS, "a connection was closed, too many are open"),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }
}

impl Drop for DevMail {
    /// Dropped without [`DevMail::shutdown`], the tasks still end, unjoined.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The listener and the address it got.
async fn bind(protocol: Protocol, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    };
    bound.await.map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { protocol, addr },
        _ => StartError::Bind {
            protocol,
            addr,
            source,
        },
    })
}
