//! `actions.send` → SMTP → `emails.sent` or `emails.failed`.
//!
//! ```text
//! deliver   the handler
//! pool      connections that wait for the next mail
//! verdict   what each way to fail means for the mail
//! press     a mail's bytes, made once: by its template, with its files, signed
//! template  the folder of templates; pure once it is read
//! message   payload → bytes, the same every time; pure
//! dkim      signatures; pure once the keys are read
//! smtp      one transaction, step by step, with a verdict that tells sent, not sent and unknown apart
//! ```

mod deliver;
pub mod dkim;
pub mod message;
mod pool;
mod press;
pub mod smtp;
pub mod template;
mod verdict;

pub use deliver::{OnUnknown, Outbound, SendMail};
pub use pool::PoolKeeper;
pub use press::{Press, PressError};
pub use verdict::SendError;
