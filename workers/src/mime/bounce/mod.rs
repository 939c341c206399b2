//! What a mail system says of a mail that did not arrive: delivery reports (RFC 3464), the many reports that are none,
//! and complaints (RFC 5965).
//!
//! A report is believed when it comes from a mail system and says in so many words that a delivery failed. Who asks
//! for confirmation or is on holiday speaks of no failure, and is no bounce.
//!
//! ```text
//! report     the machine-readable kind
//! prose      the kind that is written for people
//! cause      what a status code or a phrase means
//! original   the mail that it is about
//! ```

mod cause;
mod original;
mod prose;
mod report;

use mail_parser::Message;

pub(crate) use cause::cause;

use super::MAX_LISTED;
use super::header::Fields;
use crate::messages::{Bounce, Mailbox};

/// Reads the report in this mail, if it is one.
pub(super) fn recognise(fields: &Fields, message: &Message<'_>, from: Option<&Mailbox>) -> Option<Bounce> {
    let mut bounce = match report::read(message) {
        report::Found::Report(bounce) => bounce,
        report::Found::NoFailure => return None,
        report::Found::Unclear => prose::read(fields, message, from, prose::Trust::Report)?,
        report::Found::None => prose::read(fields, message, from, prose::Trust::Stranger)?,
    };
    bounce.recipients.truncate(MAX_LISTED);
    Some(bounce)
}

#[cfg(test)]
mod tests;
