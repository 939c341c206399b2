//! The handler that sends.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use postroom::store::dead_letters::Letter;
use postroom::{Ambiguous, Cx, CxError, Handle, Handler, HandlerError as _, Key, Spec};

use super::afterwards;
use super::message::Outgoing;
use super::outbound::{OnUnknown, Outbound};
use super::pool::{Pool, PoolKeeper, Pooled};
use super::press::Press;
use super::smtp::{Offer, Relay, SmtpError};
use super::verdict::{SendError, TROUBLE_PAUSE, waits_for_ever};
use crate::gate::Wait;
use crate::messages::{Send, Sent};
use crate::store::suppressions::{self, Suppression};

/// RFC 5321 section 4.5.4.1 gives up after four to five days. It also bounds how long trouble may hold a mail back,
/// so that each ends where a person can see it.
const EXPIRY: Duration = Duration::from_secs(5 * 24 * 3600);

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

    fn account(&self, send: &Send) -> Result<&Outbound, SendError> {
        let account = self.accounts.get(&send.account);
        account.ok_or_else(|| SendError::UnknownAccount(send.account.clone()))
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
        let account = self.account(&send)?;
        if cx.unresolved_effect().is_some() && made_up_for(account, &send, cx).await? {
            return Ok(());
        }
        let print = self.press.print(&send, account.files_copies(), cx).await?;
        let earlier = cx.unresolved_effect().is_some() || afterwards::replays_a_doubt(cx).await?;
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
        count(&send, "sent");
        let sent = sent(&send, response, earlier, cx);
        afterwards::told(&sent, account, cx)
            .await
            .map_err(SendError::Untold)
    }

    async fn on_dead_letter(&self, send: &Send, letter: &Letter, cx: &mut Cx<'_>) -> Result<(), SendError> {
        afterwards::failed(send, letter, cx).await
    }
}

fn count(send: &Send, class: &'static str) {
    metrics::counter!("postroom_sends_total", "account" => send.account.clone(), "class" => class)
        .increment(1);
}

/// The answer to an earlier try was lost. True when the mail is known to have gone out after all; otherwise it may go out
/// again, if the account's policy allows that.
async fn made_up_for(account: &Outbound, send: &Send, cx: &mut Cx<'_>) -> Result<bool, SendError> {
    match afterwards::look(account, send).await {
        Some(Ok(true)) => {
            count(send, "sent");
            let response = "the answer was lost, and the mail is in the folder of what was sent".to_owned();
            let sent = sent(send, response, false, cx);
            afterwards::told(&sent, account, cx).await?;
            Ok(true)
        }
        Some(Err(trouble)) if !is_expired(send) => Err(SendError::Unseen { trouble }),
        _ if account.on_unknown == OnUnknown::Hold => Err(SendError::Held),
        _ => Ok(false),
    }
}

fn sent(send: &Send, response: String, resent_after_unknown: bool, cx: &Cx<'_>) -> Sent {
    Sent {
        id: send.id.clone(),
        account: send.account.clone(),
        to: send.to.address.clone(),
        message_id: send.message_id.clone(),
        response,
        attempts: u32::try_from(cx.attempt()).unwrap_or(u32::MAX),
        resent_after_unknown,
    }
}

async fn suppressed(send: &Send, cx: &Cx<'_>) -> Result<Option<Suppression>, CxError> {
    let mut tx = cx.store().read().await?;
    let found = suppressions::find(&mut tx, &send.to.address).await?;
    tx.rollback().await?;
    Ok(found)
}

/// Shuts the gate on what concerns all mails of the account, and turns trouble that has lasted too long into an end.
async fn weighed(error: SendError, account: &Outbound, send: &Send, earlier: bool, cx: &Cx<'_>) -> SendError {
    count(send, error.class());
    let SendError::Smtp { trouble, .. } = error else {
        return error;
    };
    // Where there is a folder that may know, it is asked first.
    if trouble.is_unknown() && account.on_unknown == OnUnknown::Hold && account.proof().is_none() {
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
