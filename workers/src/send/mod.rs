//! `actions.send` → SMTP → `emails.sent` or `emails.failed`.
//!
//! ```text
//! deliver   the handler
//! outbound  the way out of an account
//! pace      how fast an account sends, by the second and by the day
//! breaker   a relay in trouble is left alone for a while
//! afterwards  what is told once a mail's fate is known, and how a lost answer is made up for
//! pool      connections that wait for the next mail
//! verdict   what each way to fail means for the mail
//! press     a mail's bytes, made once: by its template, with its files, signed
//! sent_folder  where what was sent is kept: looked into when a verdict was lost, filled where the provider doesn't
//! template  the folder of templates; pure once it is read
//! message   payload → bytes, the same every time; pure
//! dkim      signatures; pure once the keys are read
//! smtp      one transaction, step by step, with a verdict that tells sent, not sent and unknown apart
//! ```

mod afterwards;
mod breaker;
mod deliver;
pub mod dkim;
pub mod message;
mod outbound;
pub mod pace;
mod pool;
mod press;
pub mod sent_folder;
pub mod smtp;
pub mod template;
mod verdict;

pub use deliver::SendMail;
pub use outbound::{OnUnknown, Outbound};
pub use pool::PoolKeeper;
pub use press::{Press, PressError};
pub use sent_folder::{FileSent, KeptBy, SentFolder};
pub use verdict::SendError;
