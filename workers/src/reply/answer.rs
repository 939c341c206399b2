//! The two handlers: which mails to answer, and how the answer looks.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use postroom::{Cx, CxError, Handle, Handler, HandlerError, Key, Spec};
use uuid::Uuid;

use super::compose::{Composed, NoRecipient, compose};
use super::loops::{Silence, may_answer};
use super::rules::Rules;
use super::token::ReplySecret;
use crate::blob::hash;
use crate::messages::{NewMail, Reply, Unanswered};
use crate::store::mails;
use crate::store::replies::{self, Answer};

/// As long as events are kept, so that no replay of old ones answers anybody twice.
const TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// An account as others see it.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The name in From.
    pub name: Option<String>,
    /// The main address first, then aliases.
    pub addresses: Vec<String>,
    /// What is answered without a person.
    pub rules: Rules,
    /// Automatic replies to one address within a day; `None` is [`REPLIES_PER_PEER`].
    pub replies_per_peer: Option<u32>,
    /// What marks of replies are signed with; without it they bear none.
    pub secret: Option<ReplySecret>,
}

/// A customer with a question an hour is answered; two machines that talk to each other soon stop.
pub const REPLIES_PER_PEER: u32 = 24;

/// Answers new mails by the account's rules: one answer for one Message-ID.
#[derive(Debug)]
pub struct AutoReply {
    accounts: HashMap<String, Identity>,
}

impl AutoReply {
    /// `accounts` by name; mails of other accounts are left alone.
    pub fn new(accounts: HashMap<String, Identity>) -> Self {
        Self { accounts }
    }
}

/// By hand, because a mailing list's copy bears the Message-ID of the copy that came directly. It gets no answer, so it
/// must not stand in the way of the one that does, whichever comes first.
impl Handler for AutoReply {
    type Message = NewMail;

    fn spec() -> Spec<NewMail> {
        Spec::new("auto-reply")
            .idempotent(
                |mail: &NewMail| match mail.automatic {
                    None => Key::of(&[&mail.account, &mail.message_id]),
                    Some(_) => Key::of(&[&mail.event_id]),
                },
                TTL,
            )
            .retry(8, Duration::from_secs(2), Duration::from_secs(900))
            .timeout(Duration::from_secs(30))
            .concurrency(8)
    }
}

impl Handle<NewMail> for AutoReply {
    type Error = CxError;

    async fn handle(&self, mail: NewMail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let Some(account) = self.accounts.get(&mail.account) else {
            return Ok(());
        };
        let Some(text) = account.rules.answer(&mail) else {
            return Ok(());
        };
        if let Err(silence) = may_answer(&mail, &account.addresses) {
            return withhold(&mail, silence, cx).await;
        }
        cx.publish(&Reply {
            account: mail.account,
            event_id: mail.event_id,
            text,
            automatic: true,
        })
        .await
    }
}

/// Says why there is no automatic reply.
async fn withhold(mail: &NewMail, silence: Silence, cx: &mut Cx<'_>) -> Result<(), CxError> {
    tracing::info!(account = mail.account, event = %mail.event_id, %silence, "no automatic reply");
    metrics::counter!("postroom_replies_withheld_total", "account" => mail.account.clone()).increment(1);
    cx.publish(&Unanswered {
        event_id: mail.event_id,
        account: mail.account.clone(),
        reason: silence.to_string(),
    })
    .await
}

/// Turns `actions.reply` into `actions.send`: looks the mail up by its event and composes the answer.
#[derive(Debug)]
pub struct ComposeReply {
    accounts: HashMap<String, Identity>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error, HandlerError)]
pub enum ComposeError {
    #[error("no mail has the event id {0}")]
    #[on(dead_letter)]
    UnknownEvent(Uuid),
    #[error("no account is called {0:?} here; add it to the configuration, then replay")]
    #[on(dead_letter)]
    UnknownAccount(String),
    #[error("no machine may answer this mail: {0}")]
    #[on(dead_letter)]
    Silence(Silence),
    #[error(transparent)]
    #[on(dead_letter)]
    NoRecipient(#[from] NoRecipient),
    #[error(transparent)]
    #[on(inherit)]
    Cx(#[from] CxError),
}

impl ComposeReply {
    /// `accounts` by name.
    pub fn new(accounts: HashMap<String, Identity>) -> Self {
        Self { accounts }
    }
}

/// By hand, because the text is part of what makes two replies the same, and too long for a key.
impl Handler for ComposeReply {
    type Message = Reply;

    fn spec() -> Spec<Reply> {
        Spec::new("compose-reply")
            .idempotent(
                |reply: &Reply| Key::of(&[&reply.account, &reply.event_id, &hash(reply.text.as_bytes())]),
                TTL,
            )
            .retry(8, Duration::from_secs(2), Duration::from_secs(900))
            .timeout(Duration::from_secs(30))
            .concurrency(8)
    }
}

impl Handle<Reply> for ComposeReply {
    type Error = ComposeError;

    async fn handle(&self, reply: Reply, cx: &mut Cx<'_>) -> Result<(), ComposeError> {
        let account = self
            .accounts
            .get(&reply.account)
            .ok_or_else(|| ComposeError::UnknownAccount(reply.account.clone()))?;
        let mut read = cx.store().read().await.map_err(CxError::from)?;
        let mail = mails::by_event(&mut read, reply.event_id)
            .await
            .map_err(CxError::from)?;
        drop(read);
        let mail = mail.ok_or(ComposeError::UnknownEvent(reply.event_id))?;
        if reply.automatic {
            may_answer(&mail, &account.addresses).map_err(ComposeError::Silence)?;
        }
        let by = Composed {
            name: account.name.as_deref(),
            addresses: &account.addresses,
            secret: account.secret.as_ref(),
            now: Timestamp::now(),
        };
        let send = compose(&mail, &reply, format!("reply/{}", cx.key()), by)?;
        let answer = Answer {
            send_id: &send.id,
            event_id: reply.event_id,
            account: &reply.account,
            peer: &send.to.address,
            automatic: reply.automatic,
        };
        let tx = cx.tx().await?;
        if reply.automatic {
            let cap = account.replies_per_peer.unwrap_or(REPLIES_PER_PEER);
            let had = replies::automatic_of_a_day(tx, &reply.account, &send.to.address).await;
            if had.map_err(CxError::from)? >= i64::from(cap) {
                return Ok(withhold(&mail, Silence::TooMany(cap), cx).await?);
            }
        }
        let recorded = replies::record(tx, answer).await;
        recorded.map_err(CxError::from)?;
        cx.publish(&send).await?;
        Ok(())
    }
}
