//! The mail workers against real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its set-up too"
)]

mod after;
mod bounces;
mod composing;
mod content;
mod figures;
mod imap;
mod ingest;
mod oauth;
mod pipeline;
mod recover;
mod sent_folder;
#[path = "../servers/mod.rs"]
mod servers;
mod smtp;
mod tempo;
mod world;

use std::sync::LazyLock;

use postroom_workers::tls::{Dialer, Endpoint, Security};
use servers::{Dovecot, Postfix};

/// One for all tests; each uses mailboxes of its own.
static DOVECOT: LazyLock<Dovecot> = LazyLock::new(Dovecot::start);
static POSTFIX: LazyLock<Postfix> = LazyLock::new(|| Postfix::start(&DOVECOT));

fn endpoint(port: u16, security: Security) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port,
        security,
    }
}

fn dialer() -> Dialer {
    Dialer::new(None).unwrap()
}
