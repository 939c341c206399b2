//! What travels between the workers: the payload of every subject of the mail side.
//!
//! ```text
//! inbox.new         NewMail         ingest  → reply, and whoever else listens
//! inbox.reset       MailboxReset    ingest, when a server's UIDs began anew
//! inbox.bounced     Bounced         ingest, beside the inbox.new of the report
//! inbox.unreadable  UnreadableMail  ingest  → a dead letter first, a second parse when it is replayed
//! inbox.unanswered  Unanswered      reply, where a rule would have answered
//! actions.reply     Reply           rules   → reply (resolves the mail by its event id)
//! actions.send      Send            reply   → send
//! emails.sent       Sent            send
//! emails.failed     Failed          send
//! accounts.paused   AccountPaused   ingest, send
//! oauth.refresh     OauthRefresh    whoever needed a token
//! ```
//!
//! Payloads stay small: the raw message lives in the blob store and events carry its [`BlobRef`]. A mail is named
//! by its `event_id` from then on; nothing downstream needs IMAP again.

mod bounced;
mod send;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use postroom::Message;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use bounced::{Bounce, BounceKind, Bounced, Cause, Undelivered};
pub use send::{Enclosure, Send, Templated};

/// A name and an address, as they stood in a header, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mailbox {
    /// Display name without quotes or encoding; absent where the header had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `local@domain`, as written by the sender.
    pub address: String,
}

impl Mailbox {
    /// A mailbox without a display name.
    pub fn bare(address: impl Into<String>) -> Self {
        Self {
            name: None,
            address: address.into(),
        }
    }

    /// Same mailbox by RFC 5321 practice: the whole address compared without case.
    pub fn is_same_address(&self, other: &str) -> bool {
        self.address.eq_ignore_ascii_case(other.trim())
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// A raw message in the blob store: its SHA-256 in lower-case hex, and its size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    pub sha256: String,
    pub size: u64,
}

/// One attachment. Its decoded bytes are in the blob store before the event is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// As the sender has it, the folders before it left out; for people, and never a path to write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Lower case `type/subtype`.
    pub content_type: String,
    /// Without angle brackets; what `cid:` in the HTML names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
    /// Decoded size in bytes.
    pub size: u64,
    /// The decoded bytes; absent in events of earlier versions, whose raw message has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobRef>,
}

/// One result of `Authentication-Results` (RFC 8601), by a host that the account trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// `spf`, `dkim`, `dmarc`, `arc` and others, in lower case.
    pub method: String,
    /// `pass`, `fail`, `none` and others, in lower case.
    pub result: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Such as `header.d`: the domain that signed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// Why a mail must never be answered by a machine (RFC 3834 section 2, and what is done in practice).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Automatic {
    /// `Return-Path: <>`: a bounce, or something that wants no answer.
    NullSender,
    /// A delivery report, or a mail from the mail system itself.
    Bounce,
    /// `Auto-Submitted` with anything but `no`.
    AutoSubmitted,
    /// A vendor's out-of-office marks (`X-Autoreply`, `X-Auto-Response-Suppress`, …).
    AutoReply,
    /// `List-Id` and its relatives.
    List,
    /// `Precedence: bulk`, `list` or `junk`.
    Bulk,
    /// An abuse report (ARF).
    Complaint,
    /// No usable address to answer to.
    NoSender,
    /// The address says that nobody reads it (`no-reply@`, `mailer-daemon@`, …).
    NoReply,
}

impl Automatic {
    /// The reason in words, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NullSender => "it has the null return path",
            Self::Bounce => "it is a delivery report",
            Self::AutoSubmitted => "it is marked Auto-Submitted",
            Self::AutoReply => "it is an automatic reply",
            Self::List => "it came by a mailing list",
            Self::Bulk => "its precedence is bulk",
            Self::Complaint => "it is an abuse report",
            Self::NoSender => "it has no address to answer to",
            Self::NoReply => "its sender takes no replies",
        }
    }
}

/// A mail that arrived: `inbox.new`.
///
/// A second copy of the same mail differs only in the fields that say where and when this copy was found. They are
/// no part of the payload's fingerprint, so that the copy is suppressed as the duplicate it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[message(subject = "inbox.new", id = "inbox.new.v1")]
pub struct NewMail {
    /// UUIDv5 of account, mailbox, epoch and UID: the same for every attempt to announce this copy.
    #[message(incidental)]
    pub event_id: Uuid,
    pub account: String,
    #[message(incidental)]
    pub mailbox: String,
    #[message(incidental)]
    pub uidvalidity: u32,
    #[message(incidental)]
    pub uid: u32,
    /// The header's Message-ID without angle brackets, or one made from the content's hash where there was none.
    pub message_id: String,
    #[serde(default)]
    pub from: Option<Mailbox>,
    #[serde(default)]
    pub reply_to: Vec<Mailbox>,
    #[serde(default)]
    pub to: Vec<Mailbox>,
    #[serde(default)]
    pub cc: Vec<Mailbox>,
    #[serde(default)]
    pub subject: String,
    /// The header's date, in UTC; absent where it was missing or made no sense.
    #[serde(default)]
    pub date: Option<Timestamp>,
    #[serde(default)]
    pub in_reply_to: Option<String>,
    /// Oldest first, without angle brackets.
    #[serde(default)]
    pub references: Vec<String>,
    /// The beginning of the text, or of the HTML turned into text.
    #[serde(default)]
    pub text: String,
    /// The text goes on in the raw message.
    #[serde(default)]
    pub text_truncated: bool,
    /// The same without what was quoted and without the signature, as far as rules can tell; empty where nothing is left.
    #[serde(default)]
    pub reply_text: String,
    /// The HTML without scripts, styles and whatever is loaded from elsewhere; of pictures, those that are attached stay,
    /// as `cid:`. No part of what the mail is: a later version may clean it better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[message(incidental)]
    pub html: Option<BlobRef>,
    /// Why there is HTML that is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[message(incidental)]
    pub html_withheld: Option<String>,
    /// What trusted hosts found out about its sender; empty where none did, or none is trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[message(incidental)]
    pub authentication: Vec<Authentication>,
    /// The event that our reply answered, where this mail answers that: known by the signed mark in it, whatever became
    /// of Message-IDs on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[message(incidental)]
    pub continues: Option<Uuid>,
    /// The server's own name for the thread, where it has one (Gmail's X-GM-THRID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[message(incidental)]
    pub provider_thread: Option<String>,
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Set when no machine may answer this mail.
    #[serde(default)]
    pub automatic: Option<Automatic>,
    #[message(incidental)]
    pub raw: BlobRef,
    /// When the server took it in (INTERNALDATE), or when it was fetched.
    #[message(incidental)]
    pub received_at: Timestamp,
}

/// A server's UIDs began anew, and its mails had to be found again: `inbox.reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "inbox.reset", id = "inbox.reset.v1")]
pub struct MailboxReset {
    pub account: String,
    pub mailbox: String,
    /// UIDVALIDITY before.
    pub was: u32,
    /// UIDVALIDITY now; the same where the server gave UIDs to other mails without saying so.
    pub is: u32,
    /// Mails known by Message-ID, date and size.
    pub found_again: u64,
    /// Mails that are not, and are compared by their content now.
    pub unknown: u64,
    /// What is not known by its content either waits for `postroom mailboxes release` or `dismiss`.
    pub held: bool,
}

/// A mail that could not be parsed, or not even be fetched: `inbox.unreadable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "inbox.unreadable", id = "inbox.unreadable.v1")]
pub struct UnreadableMail {
    pub event_id: Uuid,
    pub account: String,
    pub mailbox: String,
    pub uidvalidity: u32,
    pub uid: u32,
    /// Absent when the server never gave the mail out.
    #[serde(default)]
    pub raw: Option<BlobRef>,
    pub received_at: Timestamp,
    /// What the parser or the server said.
    pub reason: String,
}

/// A rule would have answered this mail, and did not: `inbox.unanswered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "inbox.unanswered", id = "inbox.unanswered.v1")]
pub struct Unanswered {
    pub event_id: Uuid,
    pub account: String,
    /// In words.
    pub reason: String,
}

/// Answer the mail of this event: `actions.reply`. Recipient, subject and threading come from the stored mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "actions.reply", id = "actions.reply.v1")]
pub struct Reply {
    pub account: String,
    pub event_id: Uuid,
    pub text: String,
    /// No person wrote this text: it goes out marked as an automatic reply, and never to another machine.
    #[serde(default)]
    pub automatic: bool,
}

/// The relay took the mail: `emails.sent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "emails.sent", id = "emails.sent.v1")]
pub struct Sent {
    pub id: String,
    pub account: String,
    pub to: String,
    pub message_id: String,
    /// The relay's last words, such as `250 2.0.0 Ok: queued as 4F2A`.
    pub response: String,
    pub attempts: u32,
    /// An earlier try ended without an answer after the final dot, so the recipient may hold two identical copies.
    pub resent_after_unknown: bool,
}

/// The relay refused the mail for good: `emails.failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "emails.failed", id = "emails.failed.v1")]
pub struct Failed {
    pub id: String,
    pub account: String,
    pub to: String,
    pub message_id: String,
    /// The reply code, such as 550; absent where the mail never got as far as a relay.
    #[serde(default)]
    pub code: Option<u16>,
    /// The enhanced status code, such as `5.1.1`.
    #[serde(default)]
    pub enhanced: Option<String>,
    pub error: String,
}

/// Which of an account's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    Imap,
    Smtp,
}

impl Service {
    /// As in labels and payloads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Smtp => "smtp",
        }
    }
}

/// A server lets an account in no more: `accounts.paused`. Told once; nothing is lost, and nothing moves until a person
/// has mended it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "accounts.paused", id = "accounts.paused.v1")]
pub struct AccountPaused {
    pub account: String,
    pub service: Service,
    /// The server's words.
    pub reason: String,
    /// When it is tried again by itself.
    pub retry_at: Timestamp,
}

/// An account's access token was renewed, or is refused: `oauth.refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "oauth.refresh", id = "oauth.refresh.v1")]
pub struct OauthRefresh {
    pub account: String,
    /// How long the new token is good; absent where there is none.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Why there is none.
    #[serde(default)]
    pub error: Option<String>,
}
