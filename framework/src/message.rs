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
}
