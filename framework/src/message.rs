//! What travels: a type with a subject and a wire id.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message that handlers take and publish, JSON on the wire. Derive it:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// #[derive(Debug, Serialize, Deserialize, postroom::Message)]
/// #[message(subject = "orders.created", id = "orders.created.v1")]
/// struct OrderCreated {
///     order: String,
///     #[message(incidental)]
///     received_at: String,
/// }
/// ```
///
/// When its shape changes, the next version says which one came before, and how to read it: messages that are under way, or
/// come from processes not yet replaced, are taken as the new version.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, postroom::Message)]
/// # #[message(subject = "orders.created", id = "orders.created.v1")]
/// # struct OrderCreatedV1 { order: String }
/// #[derive(Debug, Serialize, Deserialize, postroom::Message)]
/// #[message(subject = "orders.created", id = "orders.created.v2", upcast_from = OrderCreatedV1)]
/// struct OrderCreated {
///     order: String,
///     currency: String,
/// }
///
/// impl From<OrderCreatedV1> for OrderCreated {
///     fn from(old: OrderCreatedV1) -> Self {
///         Self { order: old.order, currency: "EUR".to_owned() }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    note = "add `#[derive(Message)]` and `#[message(subject = \"noun.verb\", id = \"noun.verb.v1\")]`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The subject it is published on and consumed from.
    const SUBJECT: &'static str;
    /// Its name on the wire, with a version; it outlives renames of the Rust type.
    const ID: &'static str;
    /// Top-level JSON fields that two copies of one message may differ in, such as the time of receipt; they are left
    /// out of the payload's fingerprint.
    const INCIDENTAL: &'static [&'static str] = &[];

    /// The versions that can be read: this one, then those that it is made from, newest first.
    #[must_use]
    fn versions() -> Vec<Version> {
        vec![Version::of::<Self>()]
    }

    /// Reads the payload of an older version and makes this one of it; `None` if `id` is none of [`versions`](Self::versions).
    fn upcast(id: &str, payload: &[u8]) -> Option<Read<Self>> {
        let _ = (id, payload);
        None
    }
}

/// A message, or why its payload is none.
pub type Read<M> = Result<M, serde_json::Error>;

/// Reads what is an `Old`, or older, as a `New`: what the derive makes of `upcast_from = Old`.
pub fn read_as<Old: Message, New: From<Old>>(id: &str, payload: &[u8]) -> Option<Read<New>> {
    let old = if id == Old::ID {
        Some(serde_json::from_slice::<Old>(payload))
    } else {
        Old::upcast(id, payload)
    };
    old.map(|read| read.map(New::from))
}

/// One version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its wire id, [`Message::ID`].
    pub id: &'static str,
    /// Its [`Message::INCIDENTAL`].
    pub incidental: &'static [&'static str],
}

impl Version {
    /// The version that `M` itself is.
    #[must_use]
    pub const fn of<M: Message>() -> Self {
        Self {
            id: M::ID,
            incidental: M::INCIDENTAL,
        }
    }
}

/// Whether two texts are the same, at compile time: for the checks that the derive writes.
#[doc(hidden)]
#[must_use]
pub const fn same_text(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
