//! Flows that a company runs on its mailboxes, each whole and short: `cargo run -p postroom-examples --bin flow -- helpdesk`.

pub mod auto_reply;
pub mod digest;
pub mod helpdesk;
pub mod newsletter;
pub mod webhook;
