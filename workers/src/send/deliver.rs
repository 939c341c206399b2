//! The handler that sends.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use postroom::redact::for_log;
use postroom::store::dead_letters::{Letter, Reason};
use postroom::{Ambiguous, Cx, CxError, Handle, Handler, HandlerError, Key, Spec, Verdict};
use serde::{Deserialize, Serialize};

use super::message::{self, MessageError, Outgoing};
use super::smtp::{self, Deadlines, Login, Relay, SmtpError};
use crate::messages::{Failed, Send, Sent};
use crate::tls::{Dialer, Endpoint};

/// A relay or an account in trouble is asked again after this; the mails of the account wait, none is given up for it.
const TROUBLE_PAUSE: Duration = Duration::from_secs(60);
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
    /// The name given in EHLO.
    pub hello: String,
    pub on_unknown: OnUnknown,
    pub deadlines: Deadlines,
}

/// Sends `actions.send`: one key, one mail.
#[derive(Debug)]
pub struct SendMail {
    accounts: HashMap<String, Outbound>,
}

/// Why a mail was not sent, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("no account is called {0:?} here; add it to the configuration, then replay")]
    UnknownAccount(String),
    #[error(transparent)]
    Smtp(SmtpError),
    /// The policy of the account is to leave this to a person.
    #[error("the relay may have the mail: an earlier try ended without an answer after the final dot")]
    Held,
    #[error("given up after five days: {0}")]
    Expired(#[source] SmtpError),
    #[error(transparent)]
    Cx(#[from] CxError),
}

impl HandlerError for SendError {
    const CAN_BE_AMBIGUOUS: bool = true;

    fn verdict(&self) -> Verdict {
        match self {
            Self::Message(_) | Self::Held | Self::Expired(_) => Verdict::DeadLetter,
            Self::UnknownAccount(_) => Verdict::Retry { after: None },
            Self::Smtp(error) if error.is_unknown() => Verdict::Ambiguous,
            Self::Smtp(error) if error.is_permanent() => Verdict::DeadLetter,
            Self::Smtp(error) if waits_for_ever(error) => Verdict::Snooze(TROUBLE_PAUSE),
            Self::Smtp(_) => Verdict::Retry { after: None },
            Self::Cx(error) => error.verdict(),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::UnknownAccount(_) => "unknown_account",
            Self::Smtp(error) if error.is_unknown() => "unknown",
            Self::Smtp(error) if error.is_account_trouble() => "account",
            Self::Smtp(error) if error.is_permanent() => "refused",
            Self::Smtp(error) if error.code().is_some() => "deferred",
            Self::Smtp(_) => "relay",
            Self::Held => HELD,
            Self::Expired(_) => "expired",
            Self::Cx(error) => error.class(),
        }
    }
}

const HELD: &str = "held";

impl SendMail {
    /// `accounts` by name.
    pub fn new(accounts: HashMap<String, Outbound>) -> Self {
        Self { accounts }
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
        let Outbound {
            endpoint,
            dialer,
            login,
            hello,
            deadlines,
            ..
        } = account;
        let relay = Relay::connect(endpoint, dialer, hello, login.as_ref(), *deadlines).await;
        let offer = relay
            .map_err(SendError::Smtp)?
            .offer(mail)
            .await
            .map_err(SendError::Smtp)?;
        // From here to the verdict a crash leaves it open whether the mail went out, and the ledger must know.
        cx.begin_effect(&send.message_id).await?;
        let (response, relay) = offer.deliver(&mail.bytes).await.map_err(SendError::Smtp)?;
        relay.quit().await;
        Ok(response)
    }
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
        let mail = message::build(&send)?;
        let account = self
            .accounts
            .get(&send.account)
            .ok_or_else(|| SendError::UnknownAccount(send.account.clone()))?;
        let unresolved = cx.unresolved_effect().is_some();
        if unresolved && account.on_unknown == OnUnknown::Hold {
            return Err(SendError::Held);
        }
        let response = match self.transact(account, &send, &mail, cx).await {
            Ok(response) => response,
            Err(error) => return Err(weighed(error, account, &send)),
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
            resent_after_unknown: unresolved,
        };
        Ok(cx.publish(&sent).await?)
    }

    /// Tells the others, unless nobody can say that the mail did not arrive.
    async fn on_dead_letter(&self, send: &Send, letter: &Letter, cx: &mut Cx<'_>) -> Result<(), SendError> {
        let undecided = matches!(
            letter.reason,
            Reason::UnknownEffect | Reason::KeyReused | Reason::Poison
        );
        if undecided || letter.error_class == HELD {
            return Ok(());
        }
        let (code, enhanced) = smtp::refusal_in(&letter.error).unzip();
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

/// Nothing is wrong with the mail, so it loses no attempt: the account is not let in, or nobody answered.
fn waits_for_ever(error: &SmtpError) -> bool {
    let silent = error.code().is_none() && !error.is_unknown() && !error.is_permanent();
    silent || error.is_account_trouble()
}

/// Says aloud what a person must mend, and turns trouble that has lasted too long into an end.
fn weighed(error: SendError, account: &Outbound, send: &Send) -> SendError {
    metrics::counter!("postroom_sends_total", "account" => send.account.clone(), "class" => error.class())
        .increment(1);
    let SendError::Smtp(trouble) = error else {
        return error;
    };
    if trouble.is_unknown() && account.on_unknown == OnUnknown::Hold {
        return SendError::Held;
    }
    if trouble.is_account_trouble() {
        tracing::error!(account = send.account, relay = account.endpoint.host, error = %for_log(&trouble.to_string()),
            "the relay does not let this account in; its mails wait until that is mended");
    }
    let age = Duration::try_from(Timestamp::now().duration_since(send.date)).unwrap_or_default();
    match waits_for_ever(&trouble) && age > EXPIRY {
        true => SendError::Expired(trouble),
        false => SendError::Smtp(trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::smtp::Phase;

    #[test]
    fn what_becomes_of_a_mail_that_was_not_sent() {
        let refused = |phase, code| {
            SendError::Smtp(SmtpError::Refused {
                phase,
                code,
                enhanced: None,
                text: String::new(),
            })
        };
        let lost = |phase| {
            SendError::Smtp(SmtpError::Lost {
                phase,
                what: String::new(),
            })
        };
        let retry = Verdict::Retry { after: None };
        let snooze = Verdict::Snooze(TROUBLE_PAUSE);
        for (error, verdict, class) in [
            (refused(Phase::Rcpt, 550), Verdict::DeadLetter, "refused"),
            (refused(Phase::Rcpt, 450), retry, "deferred"),
            (refused(Phase::Greeting, 421), retry, "deferred"),
            (refused(Phase::Auth, 535), snooze, "account"),
            (refused(Phase::Auth, 454), snooze, "account"),
            (lost(Phase::Connect), snooze, "relay"),
            (lost(Phase::Content), snooze, "relay"),
            (
                SendError::Smtp(SmtpError::Unknown { what: String::new() }),
                Verdict::Ambiguous,
                "unknown",
            ),
            (SendError::Held, Verdict::DeadLetter, "held"),
        ] {
            assert_eq!((error.verdict(), error.class()), (verdict, class), "{error}");
        }
    }

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
