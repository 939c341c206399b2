//! `actions.send` → SMTP → `emails.sent` or `emails.failed`.
//!
//! ```text
//! message   payload → bytes, the same every time; pure
//! smtp      one transaction, step by step, with a verdict that tells sent, not sent and unknown apart
//! ```

pub mod message;
pub mod smtp;
