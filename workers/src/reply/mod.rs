//! `inbox.new` → `actions.reply` → `actions.send`.
//!
//! ```text
//! rules      which mails are answered by themselves, and with what; pure
//! loops      which mails must never be (RFC 3834); pure
//! compose    recipient, subject, quoting; pure
//! threading  Message-ID, In-Reply-To, References; pure
//! token      the signed mark by which an answer to a reply is known; pure
//! answer     the two handlers
//! ```

mod answer;
mod compose;
mod loops;
pub mod rules;
mod threading;
mod token;

pub use answer::{AutoReply, ComposeError, ComposeReply, Identity, REPLIES_PER_PEER};
pub use compose::{Composed, NoRecipient, compose};
pub use loops::{Silence, may_answer};
pub use rules::{Rule, RuleError, Rules};
pub use threading::message_id;
pub use token::{MIN_SECRET_BYTES, ReplySecret};
