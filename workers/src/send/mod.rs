//! `actions.send` → SMTP → `emails.sent` or `emails.failed`.
//!
//! ```text
//! deliver   the handler
//! pool      connections that wait for the next mail
//! verdict   what each way to fail means for the mail
//! message   payload → bytes, the same every time; pure
//! smtp      one transaction, step by step, with a verdict that tells sent, not sent and unknown apart
//! ```

mod deliver;
pub mod message;
mod pool;
pub mod smtp;
mod verdict;

pub use deliver::{OnUnknown, Outbound, SendMail};
pub use pool::PoolKeeper;
pub use verdict::SendError;
