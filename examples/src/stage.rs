//! Where the flows play: a broker, a database, a development mailbox and the workers, all of it in one process and in a
//! folder that is gone afterwards. On your own mailbox the same handlers run beside `postroom up`.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use postroom::{App, Message, Running, Store};
use postroom_broker::{Broker, Config as BrokerConfig};
use postroom_workers::blob::BlobStore;
use postroom_workers::config::{Config, Flags};
use postroom_workers::devmail::{DevMail, DevMailConfig, User};
use postroom_workers::pipeline::{Account, with_ingest, with_reply, with_send};
use postroom_workers::send::{Press, SendMail};
use tempfile::TempDir;

/// Whatever goes wrong ends the flow.
pub type AnyError = Box<dyn Error + Send + Sync>;

/// The address of the mailbox.
pub const ADDRESS: &str = "help@shop.example";
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A flow takes seconds; when it takes longer, something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Everything but the flow's own handlers.
#[derive(Debug)]
pub struct Stage {
    dir: TempDir,
    broker: Broker,
    devmail: DevMail,
    config: Config,
    /// Without handlers yet.
    pub app: App,
}

/// A flow that runs.
#[derive(Debug)]
pub struct Play {
    stage: (DevMail, Broker, TempDir),
    store: Store,
    running: Running,
}

impl Stage {
    /// `settings` are more lines for the account in `postroom.toml`; `faults` are those of `postroom devmail`.
    pub async fn set(settings: &str, faults: &[&str]) -> Result<Self, AnyError> {
        let dir = TempDir::new()?;
        let listening = BrokerConfig::new().listen(ANY_PORT);
        let broker = Broker::start(listening.store_dir(dir.path().join("broker"))).await?;
        let devmail = DevMail::start(DevMailConfig {
            imap: ANY_PORT,
            smtp: ANY_PORT,
            dir: dir.path().join("devmail"),
            users: vec![User {
                name: "help".into(),
                password: "help".into(),
                address: ADDRESS.into(),
            }],
            faults: faults
                .iter()
                .map(|fault| fault.parse())
                .collect::<Result<_, _>>()?,
        })
        .await?;
        let (imap, smtp) = (devmail.imap_addr().port(), devmail.smtp_addr().port());
        let file = dir.path().join("postroom.toml");
        let toml = format!(
            r#"
[[accounts]]
name = "help"
address = "{ADDRESS}"
sender = "Shop Help"
imap = {{ host = "127.0.0.1", port = {imap}, tls = "none", user = "help", password = "help", start = "all" }}
smtp = {{ host = "127.0.0.1", port = {smtp}, tls = "none" }}
{settings}"#
        );
        std::fs::write(&file, toml)?;
        let config = Config::load(&Flags {
            config: Some(file),
            nats_url: Some(broker.client_url()),
            database_url: Some(format!("sqlite:{}", dir.path().join("flow.db").display())),
            data_dir: Some(dir.path().to_owned()),
            http: None,
        })?;
        let app = App::connect(config.settings()).await?;
        Ok(Self {
            dir,
            broker,
            devmail,
            config,
            app,
        })
    }

    /// Starts the workers, and the handlers that `with` adds.
    pub async fn play(self, with: impl FnOnce(App) -> App) -> Result<Play, AnyError> {
        let blobs = BlobStore::open(self.config.data_dir.join("blobs"))?;
        let accounts: Vec<Account> = self
            .config
            .accounts
            .iter()
            .map(Account::of)
            .collect::<Result<_, _>>()?;
        let store = self.app.store().clone();
        let app = with_reply(with_ingest(with(self.app), &accounts, &blobs), &accounts);
        let impatient = SendMail::spec_with_backoff(Duration::from_millis(100), Duration::from_secs(1));
        let app = with_send(app, &accounts, Press::new(blobs), impatient);
        Ok(Play {
            running: app.start().await?,
            store,
            stage: (self.devmail, self.broker, self.dir),
        })
    }
}

impl Play {
    /// A mail arrives. `header` are further header lines, each with its line end.
    pub async fn arrives(&self, from: &str, subject: &str, header: &str, text: &str) -> Result<(), AnyError> {
        let id = format!("{:x}", self.stage.0.count("help", "INBOX").await? + 1);
        let mail = format!(
            "From: {from}\r\nTo: {ADDRESS}\r\nSubject: {subject}\r\nMessage-ID: <{id}@mail.example>\r\n{header}\r\n{text}\r\n"
        );
        self.stage.0.deliver("help", mail.into_bytes()).await?;
        Ok(())
    }

    /// As a program of yours would.
    pub async fn publish<M: Message>(&self, message: &M) -> Result<(), AnyError> {
        let mut tx = self.store.begin().await?;
        tx.publish(message).await?;
        Ok(tx.commit().await?)
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits until so many mails have been sent.
    pub async fn sent(&self, mails: usize) -> Result<(), AnyError> {
        self.until(async || Ok(self.stage.0.sent().await.len() >= mails))
            .await
    }

    /// Waits until it is so.
    pub async fn until(&self, done: impl AsyncFn() -> Result<bool, AnyError>) -> Result<(), AnyError> {
        let reached = tokio::time::timeout(PATIENCE, async {
            while !done().await? {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        });
        reached
            .await
            .map_err(|_| "the flow came to no end; see the log")?
    }

    /// The mails that were sent so far.
    pub async fn mails(&self) -> Result<Vec<String>, AnyError> {
        let devmail = &self.stage.0;
        let mut mails = Vec::new();
        for sent in devmail.sent().await {
            let raw = devmail.sent_raw(sent.number).await?;
            mails.push(String::from_utf8_lossy(&raw).replace("\r\n", "\n"));
        }
        Ok(mails)
    }

    /// Lets everything come to its end, and gives the mails that were sent.
    pub async fn end(self) -> Result<Vec<String>, AnyError> {
        self.until(async || Ok(self.running.is_idle().await?)).await?;
        let mails = self.mails().await?;
        self.running.drain().await;
        let (devmail, broker, _dir) = self.stage;
        devmail.shutdown().await;
        broker.shutdown().await;
        Ok(mails)
    }
}
