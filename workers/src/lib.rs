//! The mail workers of postroom: IMAP ingest, replies, SMTP sending.
//!
//! ```text
//! messages   the payloads that travel between them
//! ingest     mailbox → blob store and `inbox.new`
//! reply      `inbox.new` → `actions.reply` → `actions.send`
//! send       `actions.send` → SMTP → `emails.sent` or `emails.failed`
//! mime       raw bytes → summary, pure
//! blob       the raw messages on disk
//! store      the workers' own tables
//! tls        rustls for IMAP and SMTP alike
//! gate       shut for a while when a server lets nobody in
//! login      passwords and OAuth 2.0 tokens, for both
//! demo       the mails that the demo runs on
//! bench      how fast messages go through a handler
//! progress   what is shown while something long is under way
//! config     postroom.toml, the environment and the flags
//! cli        the command line of the binary
//! pipeline   the workers put on one app
//! preflight  trying logins before work begins
//! devmail    a development mailbox: IMAP and SMTP with faults on demand
//! ```

pub mod bench;
pub mod blob;
pub mod cli;
pub mod config;
pub mod demo;
pub mod devmail;
pub mod gate;
pub mod ingest;
pub mod login;
pub mod messages;
pub mod mime;
pub mod pipeline;
pub mod preflight;
mod progress;
pub mod reply;
pub mod send;
pub mod store;
pub mod tls;
