//! One copy of a mail, where and when it was found, and the messages that come of it.

use jiff::Timestamp;
use postroom::message::Message as _;
use postroom::store::dead_letters::{Letter, Reason};
use postroom::{Key, StoreError, headers};
use uuid::Uuid;

use super::reparse;
use super::watch::Policy;
use crate::messages::{BlobRef, NewMail, UnreadableMail};
use crate::mime::{Summary, authentication};

/// What every message about one copy of a mail says of it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) event_id: Uuid,
    pub(super) account: String,
    pub(super) mailbox: String,
    pub(super) uidvalidity: u32,
    pub(super) uid: u32,
    pub(super) received_at: Timestamp,
    pub(super) provider_thread: Option<String>,
}

impl Found {
    pub(super) fn again(mail: &UnreadableMail) -> Self {
        Self {
            event_id: mail.event_id,
            account: mail.account.clone(),
            mailbox: mail.mailbox.clone(),
            uidvalidity: mail.uidvalidity,
            uid: mail.uid,
            received_at: mail.received_at,
            // An unreadable mail is announced without it.
            provider_thread: None,
        }
    }

    /// `html` is where the HTML is kept.
    pub(super) fn announce(
        self,
        raw: BlobRef,
        summary: Summary,
        html: Option<BlobRef>,
        policy: &Policy,
    ) -> NewMail {
        let Self {
            event_id,
            account,
            mailbox,
            uidvalidity,
            uid,
            received_at,
            provider_thread,
        } = self;
        let ids = || summary.references.iter().chain(&summary.in_reply_to);
        let secret = policy.reply_secret.as_ref();
        let continues = secret.and_then(|secret| secret.find(&account, ids()));
        NewMail {
            event_id,
            account,
            mailbox,
            uidvalidity,
            uid,
            message_id: summary.message_id,
            from: summary.from,
            reply_to: summary.reply_to,
            to: summary.to,
            cc: summary.cc,
            subject: summary.subject,
            date: summary.date,
            in_reply_to: summary.in_reply_to,
            references: summary.references,
            text: summary.text,
            text_truncated: summary.text_truncated,
            reply_text: summary.reply_text,
            continues,
            provider_thread,
            html,
            html_withheld: summary.html.and_then(Result::err),
            authentication: authentication::trusted(&summary.claims, &policy.authserv_ids),
            attachments: summary.attachments,
            automatic: summary.automatic,
            raw,
            received_at,
        }
    }

    pub(super) fn unreadable(self, raw: Option<BlobRef>, reason: String) -> UnreadableMail {
        let Self {
            event_id,
            account,
            mailbox,
            uidvalidity,
            uid,
            received_at,
            ..
        } = self;
        UnreadableMail {
            event_id,
            account,
            mailbox,
            uidvalidity,
            uid,
            raw,
            received_at,
            reason,
        }
    }
}

/// The dead letter of an unreadable mail. It is addressed to [`Reparse`](super::Reparse), which a replay goes to.
pub(super) fn letter(mail: &UnreadableMail) -> Result<Letter, StoreError> {
    let payload = serde_json::to_vec(mail).map_err(|source| StoreError::Encode {
        id: UnreadableMail::ID,
        source,
    })?;
    let mut headers = headers::Headers::default();
    headers.set(headers::MESSAGE, UnreadableMail::ID);
    let (reason, class) = match mail.raw {
        Some(_) => (Reason::Permanent, "Unreadable"),
        None => (Reason::Poison, "NotFetched"),
    };
    Ok(Letter {
        reason,
        handler: reparse::ID.to_owned(),
        key: Key::of(&[&mail.event_id]).as_str().to_owned(),
        subject: UnreadableMail::SUBJECT.to_owned(),
        stream: String::new(),
        stream_seq: 0,
        payload,
        headers,
        error: mail.reason.clone(),
        error_class: class.to_owned(),
        attempts: 1,
        history: Vec::new(),
        message_id: None,
        replay_of: None,
    })
}
