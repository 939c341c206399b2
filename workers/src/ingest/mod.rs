//! Mailbox → blob store and `inbox.new`, each mail once.
//!
//! ```text
//! imap   the protocol: commands, deadlines, IDLE
//! ```

pub mod imap;
