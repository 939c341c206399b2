//! `postroom mailboxes`: what became of the mails of each, and those that are held after a server's UIDs began anew.

use std::io::{self, Write};

use clap::Subcommand;
use jiff::Timestamp;
use postroom::{DEFAULT_DATABASE_URL, Store, StoreError};
use serde_json::json;
use uuid::Uuid;

use super::CliError;
use super::dlq::{must_exist, printable};
use crate::messages::{BlobRef, UnreadableMail};
use crate::store::held::{self, Count, Held};

/// Rows in one transaction, and in memory at a time.
const PAGE: i64 = 500;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: sqlite:PATH or postgres://…
    #[arg(long, env = "DATABASE_URL", value_name = "URL", default_value = DEFAULT_DATABASE_URL, hide_env_values = true)]
    database_url: String,
    #[command(subcommand)]
    command: Mailboxes,
}

#[derive(Debug, Subcommand)]
enum Mailboxes {
    /// How many mails of each mailbox are in each state
    List {
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// The mails that are held: unknown after the server's UIDs began anew
    Held {
        account: String,
        mailbox: String,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// They are new: announce them all
    Release { account: String, mailbox: String },
    /// They are not: announce none of them
    Dismiss { account: String, mailbox: String },
}

#[derive(Debug, thiserror::Error)]
enum MailboxesError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    #[error(
        "no mailbox `{mailbox}` of an account `{account}` was ever watched; `postroom mailboxes list` shows which were"
    )]
    Unknown { account: String, mailbox: String },
    #[error("the id of a held mail is damaged: {0:?}")]
    Damaged(String),
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    must_exist(&args.database_url)?;
    let store = Store::open(&args.database_url).await.map_err(CliError::wrong)?;
    let mut out = io::stdout().lock();
    let done = match args.command {
        Mailboxes::List { json } => list(&store, json, &mut out).await,
        Mailboxes::Held {
            account,
            mailbox,
            json,
        } => show(&store, &account, &mailbox, json, &mut out).await,
        Mailboxes::Release { account, mailbox } => release(&store, &account, &mailbox, &mut out).await,
        Mailboxes::Dismiss { account, mailbox } => dismiss(&store, &account, &mailbox, &mut out).await,
    };
    store.close().await;
    match done {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(MailboxesError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ MailboxesError::Unknown { .. }) => Err(CliError::wrong(error)),
        other => other.map_err(CliError::failed),
    }
}

async fn list(store: &Store, as_json: bool, out: &mut impl Write) -> Result<(), MailboxesError> {
    let mut tx = store.read().await?;
    let counts = held::counts(&mut tx).await?;
    tx.rollback().await?;
    for Count {
        account,
        mailbox,
        state,
        mails,
    } in counts
    {
        match as_json {
            true => {
                let row = json!({"account": account, "mailbox": mailbox, "state": state, "mails": mails});
                writeln!(out, "{row}")?;
            }
            false => writeln!(
                out,
                "{}  {}  {state}  {mails}",
                printable(&account),
                printable(&mailbox)
            )?,
        }
    }
    Ok(())
}

async fn show(
    store: &Store,
    account: &str,
    mailbox: &str,
    as_json: bool,
    out: &mut impl Write,
) -> Result<(), MailboxesError> {
    let mut after = 0;
    loop {
        let mut tx = store.read().await?;
        let page = held::list(&mut tx, account, mailbox, after, PAGE).await?;
        tx.rollback().await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.uid;
        for Held {
            event_id,
            uid,
            message_id,
            sha256,
            size,
            received,
            ..
        } in &page
        {
            let message_id = message_id.as_deref().unwrap_or_default();
            match as_json {
                true => {
                    let row = json!({
                        "event_id": event_id, "uid": uid, "message_id": message_id, "sha256": sha256, "size": size,
                        "received_ms": received,
                    });
                    writeln!(out, "{row}")?;
                }
                false => {
                    let received = Timestamp::from_millisecond(*received).unwrap_or(Timestamp::UNIX_EPOCH);
                    writeln!(out, "{uid}  {received}  {size} bytes  {}", printable(message_id))?;
                }
            }
        }
    }
}

/// Each mail goes the way of those that are read a second time, so that it is announced once, however often it is released.
async fn release(
    store: &Store,
    account: &str,
    mailbox: &str,
    out: &mut impl Write,
) -> Result<(), MailboxesError> {
    stop_holding(store, account, mailbox).await?;
    let (mut after, mut released) = (0, 0);
    loop {
        let mut tx = store.begin().await?;
        let page = held::list(&mut tx, account, mailbox, after, PAGE).await?;
        for held in &page {
            tx.publish(&again(account, mailbox, held)?).await?;
        }
        tx.commit().await?;
        let Some(last) = page.last() else { break };
        after = last.uid;
        released += page.len();
    }
    writeln!(
        out,
        "{released} mails are released; `postroom worker ingest` announces them"
    )?;
    Ok(())
}

async fn dismiss(
    store: &Store,
    account: &str,
    mailbox: &str,
    out: &mut impl Write,
) -> Result<(), MailboxesError> {
    stop_holding(store, account, mailbox).await?;
    let mut tx = store.begin().await?;
    let dismissed = held::dismiss(&mut tx, account, mailbox).await?;
    tx.commit().await?;
    writeln!(
        out,
        "{dismissed} mails are dismissed; their raw bytes stay in the blob store"
    )?;
    Ok(())
}

async fn stop_holding(store: &Store, account: &str, mailbox: &str) -> Result<(), MailboxesError> {
    let mut tx = store.begin().await?;
    let known = held::stop(&mut tx, account, mailbox).await?;
    tx.commit().await?;
    match known {
        true => Ok(()),
        false => Err(MailboxesError::Unknown {
            account: account.to_owned(),
            mailbox: mailbox.to_owned(),
        }),
    }
}

fn again(account: &str, mailbox: &str, held: &Held) -> Result<UnreadableMail, MailboxesError> {
    let event_id =
        Uuid::parse_str(&held.event_id).map_err(|_| MailboxesError::Damaged(held.event_id.clone()))?;
    Ok(UnreadableMail {
        event_id,
        account: account.to_owned(),
        mailbox: mailbox.to_owned(),
        uidvalidity: u32::try_from(held.uidvalidity).unwrap_or_default(),
        uid: u32::try_from(held.uid).unwrap_or_default(),
        raw: Some(BlobRef {
            sha256: held.sha256.clone(),
            size: u64::try_from(held.size).unwrap_or_default(),
        }),
        received_at: Timestamp::from_millisecond(held.received).unwrap_or(Timestamp::UNIX_EPOCH),
        reason: "it was held after the server's UIDs began anew, and is released".to_owned(),
    })
}
