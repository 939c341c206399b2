//! What comes back of mails that were sent.

use postroom::Message;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a mail system says of a mail that was sent: part of [`Bounced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounce {
    pub kind: BounceKind,
    /// Empty where the report names nobody.
    #[serde(default)]
    pub recipients: Vec<Undelivered>,
    /// That of the mail that was sent, where it came back; without angle brackets.
    #[serde(default)]
    pub message_id: Option<String>,
}

impl Cause {
    /// As in payloads, tables and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchAddress => "no-such-address",
            Self::NoSuchHost => "no-such-host",
            Self::Disabled => "disabled",
            Self::MailboxFull => "mailbox-full",
            Self::TooLarge => "too-large",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Complaint => "complaint",
            Self::Unclear => "unclear",
        }
    }

    /// No mail will ever reach this address, whatever is in it.
    pub fn is_of_the_address(self) -> bool {
        matches!(self, Self::NoSuchAddress | Self::NoSuchHost | Self::Disabled)
    }
}

/// A mail that was sent did not arrive, or its recipient complained: `inbox.bounced`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "inbox.bounced", id = "inbox.bounced.v1")]
pub struct Bounced {
    /// Of the report, which is a mail in the inbox like any other.
    pub event_id: Uuid,
    pub account: String,
    #[serde(flatten)]
    pub bounce: Bounce,
    /// The `id` of the `actions.send` that it is about; absent where the report does not say, or it was not sent from here.
    #[serde(default)]
    pub send_id: Option<String>,
    /// Whom that was sent to, in lower case.
    #[serde(default)]
    pub sent_to: Option<String>,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BounceKind {
    /// It did not arrive, and will not.
    Failed,
    /// It did not arrive yet.
    Delayed,
    /// It arrived, and its recipient calls it spam.
    Complaint,
}

/// A recipient that a mail did not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    pub address: String,
    pub cause: Cause,
    /// The enhanced status code (RFC 3463), such as `5.1.1`.
    #[serde(default)]
    pub status: Option<String>,
    /// The mail system's words, one line of them.
    #[serde(default)]
    pub diagnostic: Option<String>,
}

/// Why a mail did not arrive, as far as codes and words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    NoSuchAddress,
    NoSuchHost,
    /// The mailbox is there, and takes nothing any more.
    Disabled,
    MailboxFull,
    TooLarge,
    /// Spam filters, policies, relays that don't know us.
    Refused,
    Unreachable,
    /// The recipient complained.
    Complaint,
    Unclear,
}
