//! Mailbox → blob store and `inbox.new`, each mail once.
//!
//! ```text
//! watch       one mailbox, for ever: lease, connection, back-off
//! checkpoint  what the server says against what is known: epochs, discovery
//! recover     after the server's UIDs began anew: which mails are known
//! batch       the mails that wait: counted, fetched, handed on
//! digest      into the blob store and through the parser, side by side with the next fetch
//! settle      the end of a batch: one transaction with all that was decided
//! after       flags, moves and removals on the server, once the event is out
//! answered    the handler that has the originals of replies marked
//! found       a copy of a mail, and the messages that come of it
//! bounced     reports about mails that were sent
//! reparse     the handler that gives unreadable mails another chance
//! tally       what has become of all mails, as metrics
//! lease       one process per mailbox, fenced
//! turnstile   how many log in to a server at a time
//! backoff     how long to wait before the next connection, pure
//! imap        the protocol: commands, deadlines, IDLE
//! ```
//!
//! A mail's row is written before the checkpoint moves past it, and its event is put into the outbox by the transaction
//! that settles the row. A crash anywhere leaves a row that is still `discovered`, and the work is done again.

mod after;
mod answered;
mod backoff;
mod batch;
mod bounced;
mod checkpoint;
mod digest;
mod error;
mod found;
pub mod imap;
mod lease;
mod recover;
mod reparse;
mod settle;
mod tally;
mod turnstile;
mod watch;

pub use after::{After, Unable};
pub use answered::MarkAnswered;
pub use error::IngestError;
pub use reparse::{Policies, Reparse, ReparseError};
pub use turnstile::{LOGINS, Turnstile};
pub use watch::{Ingest, Pace, Policy, Start, Watched};
