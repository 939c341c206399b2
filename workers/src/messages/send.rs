//! `actions.send`: one mail to one recipient, and everything that ends up in its bytes.

use jiff::Timestamp;
use postroom::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BlobRef, Mailbox};
use crate::reply::message_id;

/// Send this mail: `actions.send`. Everything that ends up in the bytes is fixed here, before the first try.
///
/// ```
/// use postroom_workers::messages::{Mailbox, Send};
///
/// let [shop, ada] = ["help@shop.example", "ada@example.org"].map(Mailbox::bare);
/// let mail = Send {
///     subject: "Your order".into(),
///     text: "It is on its way.".into(),
///     ..Send::new("order/17/sent", "help", shop, ada)
/// };
/// assert_eq!(mail.message_id, Send::new("order/17/sent", "help", mail.from, mail.to).message_id);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(subject = "actions.send", id = "actions.send.v1")]
pub struct Send {
    /// The idempotency key: one key, one mail, for ever.
    pub id: String,
    pub account: String,
    pub from: Mailbox,
    /// Exactly one recipient; a mail to many is many of these.
    pub to: Mailbox,
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub text: String,
    /// The same in HTML, for clients that show it; the text stays for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Writes text and HTML, and the subject where it has one, in place of those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Templated>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Enclosure>,
    /// An https:// URL that takes a POST and asks no question: one click in the mail client unsubscribes (RFC 8058).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<String>,
    #[serde(default)]
    pub in_reply_to: Option<String>,
    #[serde(default)]
    pub references: Vec<String>,
    /// Without angle brackets.
    pub message_id: String,
    pub date: Timestamp,
    /// Not before this time, which becomes the mail's date. Until then it is among `postroom outbox list`, and can be
    /// cancelled there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Timestamp>,
    /// Marks the mail `Auto-Submitted: auto-replied` and sends it with the null return path (RFC 3834 section 3).
    #[serde(default)]
    pub auto_submitted: bool,
}

impl Send {
    /// An empty mail of now. Its Message-ID comes from `id` and the sender's domain, the same whenever it is asked for.
    pub fn new(id: impl Into<String>, account: impl Into<String>, from: Mailbox, to: Mailbox) -> Self {
        let id = id.into();
        let domain = from.address.rsplit_once('@').map(|(_, domain)| domain);
        Self {
            message_id: message_id(&id, domain.unwrap_or("localhost")),
            id,
            account: account.into(),
            from,
            to,
            subject: String::new(),
            text: String::new(),
            html: None,
            template: None,
            attachments: Vec::new(),
            unsubscribe: None,
            in_reply_to: None,
            references: Vec::new(),
            date: Timestamp::now(),
            send_at: None,
            auto_submitted: false,
        }
    }
}

/// A template of the folder `templates`, and what it is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Templated {
    /// `welcome` for the files `welcome.txt`, `welcome.html` and `welcome.subject`.
    pub name: String,
    /// Its variables.
    #[serde(default)]
    pub data: Map<String, Value>,
}

/// A file that goes with a mail. Its bytes are in the blob store before the action is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosure {
    /// As the recipient is to see it.
    pub name: String,
    /// `type/subtype`, such as `application/pdf`.
    pub content_type: String,
    pub blob: BlobRef,
    /// Shown inside the HTML, where that says `cid:` and this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}
