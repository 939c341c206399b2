//! The handler that sends.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use postroom::store::dead_letters::Letter;
use postroom::{Ambiguous, Cx, CxError, Handle, Handler, HandlerError as _, Key, Spec, Verdict};

use super::afterwards;
use super::breaker::Breaker;
use super::message::Outgoing;
use super::outbound::{OnUnknown, Outbound};
use super::pool::{Pool, PoolKeeper, Pooled};
use super::press::Press;
use super::smtp::{Offer, Relay, SmtpError};
use super::verdict::{SendError, TROUBLE_PAUSE};
use crate::gate::Wait;
use crate::messages::{Send, Sent};
use crate::store::sent_per_day;
use crate::store::suppressions::{self, Suppression};

/// RFC 5321 section 4.5.4.1 gives up after four to five days. It also bounds how long trouble may hold a mail back,
/// so that each ends where a person can see it.
const EXPIRY: Duration = Duration::from_secs(5 * 24 * 3600);

/// Sends `actions.send`: one key, one mail.
#[derive(Debug)]
pub struct SendMail {
    accounts: HashMap<String, Outbound>,
    pools: HashMap<String, Pool>,
    /// By host and port: accounts share their relay's trouble.
    breakers: HashMap<(String, u16), Breaker>,
    press: Press,
}

impl SendMail {
    /// `accounts` by name.
    pub fn new(accounts: HashMap<String, Outbound>, press: Press) -> Self {
        let pools = accounts
            .keys()
            .map(|name| (name.clone(), Pool::default()))
            .collect();
        let relays = accounts.values().map(|account| account.endpoint.clone());
        let breakers = relays
            .map(|relay| {
                let breaker = Breaker::new(format!("{}:{}", relay.host, relay.port));
                ((relay.host, relay.port), breaker)
            })
            .collect();
        Self {
            accounts,
            pools,
            breakers,
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
            .idempotent(
                |send: &Send| match &send.send_at {
                    None => Key::of(&[&send.id]),
                    // What is put off comes again at its time, under the key that it has then.
                    Some(at) => Key::of(&[&send.id, &"at", &at.to_string()]),
                },
                TTL,
            )
            .retry(TRIES, first, cap)
            .timeout(TIMEOUT)
            .concurrency(8)
            .ambiguous(Ambiguous::Resend)
    }

    /// Account and recipient's domain: what shares a rate, for [`Spec::per_key`].
    pub fn domain(send: &Send) -> Key {
        let domain = send.to.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        Key::of(&[&send.account, &domain.to_lowercase()])
    }

    fn account(&self, send: &Send) -> Result<&Outbound, SendError> {
        let account = self.accounts.get(&send.account);
        account.ok_or_else(|| SendError::UnknownAccount(send.account.clone()))
    }

    fn breaker(&self, account: &Outbound) -> Option<&Breaker> {
        let relay = &account.endpoint;
        self.breakers.get(&(relay.host.clone(), relay.port))
    }

    /// Whatever is wrong with the mail is told now, and not at its time.
    async fn put_off(&self, at: Timestamp, send: Send, cx: &mut Cx<'_>) -> Result<(), SendError> {
        let later = Send {
            send_at: None,
            date: at.max(send.date),
            ..send
        };
        self.press.print(&later, false, cx).await?;
        cx.publish_at(SystemTime::from(at), &later).await?;
        Ok(())
    }

    /// Waits for nothing, but says so where the mail has to: for its relay, for its account's rate, for tomorrow. Gives the
    /// day of which it has taken a place.
    async fn turn(
        &self,
        account: &Outbound,
        send: &Send,
        earlier: bool,
        cx: &Cx<'_>,
    ) -> Result<Option<String>, SendError> {
        if let Some(wait) = account.pace.as_ref().and_then(|pace| pace.wait(&send.id)) {
            return Err(paced(wait, "the account's `rate` is used up", send, earlier));
        }
        let mut day = None;
        if let Some(today) = account
            .warm_up
            .as_ref()
            .and_then(|warm_up| warm_up.today(Timestamp::now()))
        {
            let mut tx = cx.store().begin().await.map_err(CxError::from)?;
            let taken = sent_per_day::take(&mut tx, &send.account, &today.day, today.limit).await;
            let taken = taken.map_err(CxError::from)?;
            tx.commit().await.map_err(CxError::from)?;
            if !taken {
                return Err(paced(
                    today.rest,
                    "the account is warming up, and has sent what it may today",
                    send,
                    earlier,
                ));
            }
            day = Some(today.day);
        }
        // Asked last: whoever may try has to.
        if let Some(shut) = self.breaker(account).and_then(Breaker::ask) {
            if let Some(day) = day {
                give_back(&send.account, &day, cx).await;
            }
            return Err(waiting(shut, send, earlier));
        }
        Ok(day)
    }

    /// Shuts the way for what concerns others, too, and turns trouble that has lasted too long into an end.
    async fn weighed(
        &self,
        error: SendError,
        account: &Outbound,
        send: &Send,
        earlier: bool,
        cx: &Cx<'_>,
    ) -> SendError {
        count(send, error.class());
        let SendError::Smtp { trouble, .. } = error else {
            return error;
        };
        // Where there is a folder that may know, it is asked first.
        if trouble.is_unknown() && account.on_unknown == OnUnknown::Hold && account.proof().is_none() {
            self.shut(account, &trouble, cx).await;
            return SendError::Held;
        }
        let pause = self.shut(account, &trouble, cx).await;
        if !trouble.is_unknown() && !trouble.is_permanent() && is_expired(send) {
            let why = trouble.to_string();
            return SendError::Expired { why, earlier };
        }
        SendError::Smtp {
            trouble,
            earlier,
            pause,
        }
    }

    /// How long the mail waits for what happened, and others with it.
    async fn shut(&self, account: &Outbound, trouble: &SmtpError, cx: &Cx<'_>) -> Duration {
        let Some(breaker) = self.breaker(account) else {
            return TROUBLE_PAUSE;
        };
        if trouble.is_host_trouble() {
            return breaker.failed(&trouble.to_string());
        }
        breaker.answered();
        if trouble.is_account_trouble() {
            return account.gate.refused(cx.store(), &trouble.to_string()).await;
        }
        TROUBLE_PAUSE
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
        if let Some(breaker) = self.breaker(account) {
            breaker.answered();
        }
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
        if let Some(at) = send.send_at {
            return self.put_off(at, send, cx).await;
        }
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
        let day = self.turn(account, &send, earlier, cx).await?;
        let mail = print.keep(&send, cx).await?;
        let response = match self.transact(account, &send, &mail, cx).await {
            Ok(response) => response,
            Err(error) => {
                let error = self.weighed(error, account, &send, earlier, cx).await;
                // One whose verdict was lost, and is held for that, may have gone out.
                let may_be_out =
                    matches!(error.verdict(), Verdict::Ambiguous) || matches!(error, SendError::Held);
                if let Some(day) = day.filter(|_| !may_be_out) {
                    give_back(&send.account, &day, cx).await;
                }
                return Err(error);
            }
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

/// A place that is not given back is a mail less today.
async fn give_back(account: &str, day: &str, cx: &Cx<'_>) {
    let given = async {
        let mut tx = cx.store().begin().await?;
        sent_per_day::give_back(&mut tx, account, day).await?;
        tx.commit().await
    };
    if let Err(error) = given.await {
        tracing::warn!(account, %error, "a mail that did not go out counts for the day all the same");
    }
}

fn paced(wait: Duration, why: &'static str, send: &Send, earlier: bool) -> SendError {
    match is_expired(send) {
        true => SendError::Expired {
            why: why.to_owned(),
            earlier,
        },
        false => SendError::Paced { wait, why },
    }
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
