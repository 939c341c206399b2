//! A development mailbox: a small IMAP and SMTP server for offline work, with faults on demand.
//!
//! Mail sent to one of its users lands in that user's INBOX; everything else is kept in the sent box and goes nowhere.
//! All of it lies in plain files under one directory and survives a `kill -9` at any moment. It speaks no TLS and is
//! meant for loopback and test networks.
//!
//! From the sockets inwards: `server` accepts, `imap` and `smtp` talk, `store` holds `folder`s and the sent box,
//! `disk` makes writes durable; `fault` is what can go wrong on demand, `faults` counts how often it has.

mod config;
mod disk;
mod fault;
mod faults;
mod folder;
mod imap;
mod sent;
mod server;
mod smtp;
mod store;

pub use config::{DevMailConfig, Protocol, StartError, User};
pub use disk::DiskError;
pub use fault::{Fault, FaultError, FaultKind, Refusal, Who};
pub use folder::{FolderError, Uid};
pub use sent::{SentError, SentMail};
pub use server::{DevMail, DevMailError, Stats};
pub use store::StoreError;
