//! The handler that sends.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use postroom::store::dead_letters::{self, Letter};
use postroom::{Ambiguous, Cx, CxError, Handle, Handler, HandlerError as _, Key, Spec, headers};
use serde::{Deserialize, Serialize};

use super::message::Outgoing;
use super::pool::{Pool, PoolKeeper, Pooled};
use super::press::Press;
use super::smtp::{self, Deadlines, Offer, Relay, SmtpError};
use super::verdict::{REFUSED, SendError, TROUBLE_PAUSE, is_undecided, may_have_arrived, waits_for_ever};
use crate::gate::{Gate, Wait};
use crate::login::Login;
use crate::messages::{Failed, Send, Sent};
use crate::mime::bounce::cause;
use crate::store::suppressions::{self, Suppression};
use crate::store::{outgoing, sends};
use crate::tls::{Dialer, Endpoint};

/// RFC 5321 section 4.5.4.1 gives up after four to five days. It also bounds how long trouble may hold a mail back,
/// so that each ends where a person can see it.
const EXPIRY: Duration = Duration::from_secs(5 * 24 * 3600);

/// What to do when a relay may or may not have taken a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Send the same bytes with the same Message-ID again, and say so in `emails.sent`.
    #[default]
    Resend,
    /// Leave it to a person: dead letter.
    Hold,
}

/// How an account's mail goes out.
#[derive(Debug, Clone)]
pub struct Outbound {
    pub endpoint: Endpoint,
    pub dialer: Dialer,
    pub login: Option<Login>,
    pub gate: Gate,
    /// The name given in EHLO.
    pub hello: String,
    pub on_unknown: OnUnknown,
    pub deadlines: Deadlines,
}

/// Sends `actions.send`: one key, one mail.
#[derive(Debug)]
pub struct SendMail {
    accounts: HashMap<String, Outbound>,
    pools: HashMap<String, Pool>,
    press: Press,
}

impl SendMail {
    /// `accounts` by name.
    pub fn new(accounts: HashMap<String, Outbound>, press: Press) -> Self {
        let pools = accounts
            .keys()
            .map(|name| (name.clone(), Pool::default()))
            .collect();
        Self {
            accounts,
            pools,
            press,
        }
    }

    /// What closes idle connections: a service to run beside the handler.
    #[must_use]
    pub fn keeper(&self) -> PoolKeeper {
        PoolKeeper::of(&self.pools)
    }

    /// The handler's spec with another first and longest wait between tries.
    pub fn spec_with_backoff(first: Duration, cap: Duration) -> Spec<Send> {
        /// With the longest wait, three days: what mail systems keep a deferred mail for.
        const TRIES: u32 = 40;
        /// Longer than any mail is under way, or replayed: a key must never be sent twice.
        const TTL: Duration = Duration::from_secs(90 * 24 * 3600);
        /// All deadlines of one transaction together.
        const TIMEOUT: Duration = Duration::from_secs(30 * 60);
        Spec::new("send")
            .idempotent(|send: &Send| Key::of(&[&send.id]), TTL)
            .retry(TRIES, first, cap)
            .timeout(TIMEOUT)
            .concurrency(8)
            .ambiguous(Ambiguous::Resend)
    }

    async fn transact(
        &self,
        account: &Outbound,
        send: &Send,
        mail: &Outgoing,
        cx: &mut Cx<'_>,
    ) -> Result<String, SendError> {
        let pool = self.pools.get(&send.account).cloned().unwrap_or_default();
        let (offer, mails) = offer(account, &pool, mail).await.map_err(SendError::of)?;
        // From here to the verdict a crash leaves it open whether the mail went out, and the ledger must know.
        cx.begin_effect(&send.message_id).await?;
        let delivered = offer.deliver(&mail.bytes).await;
        if delivered.as_ref().is_err_and(|trouble| !trouble.is_unknown()) {
            cx.effect_did_not_happen();
        }
        let (response, relay) = delivered.map_err(SendError::of)?;
        pool.give_back(relay, mails + 1).await;
        Ok(response)
    }
}

/// A relay that waits for the content, and how many mails went over its connection before.
async fn offer(account: &Outbound, pool: &Pool, mail: &Outgoing) -> Result<(Offer, u32), SmtpError> {
    if let Some(Pooled { relay, mails }) = pool.take() {
        match relay.offer(mail).await {
            Ok(offer) => return Ok((offer, mails)),
            // It was closed while it waited: that is no trouble yet.
            Err(error) if error.is_stale() => {}
            Err(error) => return Err(error),
        }
    }
    let Outbound {
        endpoint,
        dialer,
        login,
        hello,
        deadlines,
        ..
    } = account;
    let relay = Relay::connect(endpoint, dialer, hello, login.as_ref(), *deadlines).await?;
    account.gate.opened();
    Ok((relay.offer(mail).await?, 0))
}

impl Handler for SendMail {
    type Message = Send;

    fn spec() -> Spec<Send> {
        Self::spec_with_backoff(Duration::from_secs(30), Duration::from_secs(2 * 3600))
    }
}

impl Handle<Send> for SendMail {
    type Error = SendError;

    async fn handle(&self, send: Send, cx: &mut Cx<'_>) -> Result<(), SendError> {
        let account = self
            .accounts
            .get(&send.account)
            .ok_or_else(|| SendError::UnknownAccount(send.account.clone()))?;
        let print = self.press.print(&send, cx).await?;
        if cx.unresolved_effect().is_some() && account.on_unknown == OnUnknown::Hold {
            return Err(SendError::Held);
        }
        let earlier = cx.unresolved_effect().is_some() || replays_a_doubt(cx).await?;
        if let Some(Suppression {
            address,
            cause,
            detail,
            ..
        }) = suppressed(&send, cx).await?
        {
            return Err(SendError::Suppressed {
                address,
                cause,
                detail,
                earlier,
            });
        }
        if let Some(shut) = account.gate.is_shut() {
            return Err(waiting(shut, &send, earlier));
        }
        let mail = print.keep(&send, cx).await?;
        let response = match self.transact(account, &send, &mail, cx).await {
            Ok(response) => response,
            Err(error) => return Err(weighed(error, account, &send, earlier, cx).await),
        };
        metrics::counter!("postroom_sends_total", "account" => send.account.clone(), "class" => "sent")
            .increment(1);
        let sent = Sent {
            to: send.to.address,
            id: send.id,
            account: send.account,
            message_id: send.message_id,
            response,
            attempts: u32::try_from(cx.attempt()).unwrap_or(u32::MAX),
            resent_after_unknown: earlier,
        };
        told(&sent, cx).await.map_err(SendError::Untold)
    }

    /// Tells the others, unless nobody can say that the mail did not arrive.
    async fn on_dead_letter(&self, send: &Send, letter: &Letter, cx: &mut Cx<'_>) -> Result<(), SendError> {
        if is_undecided(letter) {
            return Ok(());
        }
        outgoing::forget(cx.tx().await?, &send.id)
            .await
            .map_err(CxError::from)?;
        let (code, enhanced) = smtp::refusal_in(&letter.error).unzip();
        if letter.error_class == REFUSED && letter.error.contains(AT_RCPT) {
            let why = cause(enhanced.as_ref().and_then(Option::as_deref), &letter.error);
            if why.is_of_the_address() {
                let (tx, detail) = (cx.tx().await?, &letter.error);
                let added = suppressions::add(tx, &send.to.address, why.as_str(), detail, &send.id).await;
                added.map_err(CxError::from)?;
            }
        }
        let failed = Failed {
            id: send.id.clone(),
            account: send.account.clone(),
            to: send.to.address.clone(),
            message_id: send.message_id.clone(),
            code,
            enhanced: enhanced.flatten(),
            error: letter.error.clone(),
        };
        Ok(cx.publish(&failed).await?)
    }
}

async fn told(sent: &Sent, cx: &mut Cx<'_>) -> Result<(), CxError> {
    cx.publish(sent).await?;
    let tx = cx.tx().await?;
    outgoing::forget(tx, &sent.id).await?;
    Ok(sends::record(tx, sent).await?)
}

/// As [`SmtpError`] shows a refusal that is about the recipient and nothing else.
const AT_RCPT: &str = "the relay answered RCPT with ";

async fn suppressed(send: &Send, cx: &Cx<'_>) -> Result<Option<Suppression>, CxError> {
    let mut tx = cx.store().read().await?;
    let found = suppressions::find(&mut tx, &send.to.address).await?;
    tx.rollback().await?;
    Ok(found)
}

/// Whether a person has sent a mail on its way again of which nobody knows that it did not arrive.
async fn replays_a_doubt(cx: &Cx<'_>) -> Result<bool, CxError> {
    let Some(id) = cx.headers().get(headers::REPLAY) else {
        return Ok(false);
    };
    let mut tx = cx.store().read().await?;
    Ok(dead_letters::find(&mut tx, id)
        .await?
        .is_some_and(|letter| may_have_arrived(&letter)))
}

/// Shuts the gate on what concerns all mails of the account, and turns trouble that has lasted too long into an end.
async fn weighed(error: SendError, account: &Outbound, send: &Send, earlier: bool, cx: &Cx<'_>) -> SendError {
    metrics::counter!("postroom_sends_total", "account" => send.account.clone(), "class" => error.class())
        .increment(1);
    let SendError::Smtp { trouble, .. } = error else {
        return error;
    };
    if trouble.is_unknown() && account.on_unknown == OnUnknown::Hold {
        return SendError::Held;
    }
    if waits_for_ever(&trouble) && is_expired(send) {
        let why = trouble.to_string();
        shut(account, &trouble, cx).await;
        return SendError::Expired { why, earlier };
    }
    let pause = shut(account, &trouble, cx).await;
    SendError::Smtp {
        trouble,
        earlier,
        pause,
    }
}

/// How long the mails of the account wait for what happened to this one.
async fn shut(account: &Outbound, trouble: &SmtpError, cx: &Cx<'_>) -> Duration {
    if trouble.is_account_trouble() {
        return account.gate.refused(cx.store(), &trouble.to_string()).await;
    }
    if trouble.is_host_trouble() {
        account.gate.away(&trouble.to_string());
    }
    account.gate.is_shut().map_or(TROUBLE_PAUSE, |shut| shut.wait)
}

/// The gate is shut: the mail waits for it, if not for ever.
fn waiting(shut: Wait, send: &Send, earlier: bool) -> SendError {
    let Wait { wait, why } = shut;
    match is_expired(send) {
        true => SendError::Expired { why, earlier },
        false => SendError::Shut { wait, why, earlier },
    }
}

fn is_expired(send: &Send) -> bool {
    Duration::try_from(Timestamp::now().duration_since(send.date)).is_ok_and(|age| age > EXPIRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_holds_what_it_promises() {
        assert!(SendMail::spec().check().is_ok());
        assert!(
            SendMail::spec_with_backoff(Duration::from_millis(100), Duration::from_secs(7200))
                .check()
                .is_ok()
        );
    }
}
