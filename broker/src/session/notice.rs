//! What sessions tell the server about: requests to itself, and who came and went.

use std::sync::Arc;

use bytes::Bytes;

use super::realm::{Account, Login};
use crate::protocol::ClientError;
use crate::router::Client;

#[derive(Debug)]
pub enum Notice {
    /// Somebody asks the server about itself, on a subject that [`is_for_the_server`].
    Request {
        subject: Bytes,
        reply: Bytes,
        body: Bytes,
        login: Arc<Login>,
    },
    Connected {
        client: Arc<Client>,
        login: Arc<Login>,
    },
    Disconnected {
        client: Arc<Client>,
        login: Arc<Login>,
        reason: ClientError,
    },
}

/// Requests that an account may make about itself.
const ABOUT_ITSELF: [&[u8]; 6] = [
    b"$SYS.REQ.USER.INFO",
    b"$SYS.REQ.ACCOUNT.PING.CONNZ",
    b"$SYS.REQ.ACCOUNT.PING.SUBSZ",
    b"$SYS.REQ.ACCOUNT.PING.STATZ",
    b"$SYS.REQ.ACCOUNT.PING.JSZ",
    b"$SYS.REQ.ACCOUNT.PING.INFO",
];

/// Is the server itself asked on this subject? The system account may ask about everything.
pub fn is_for_the_server(subject: &[u8], account: &Account) -> bool {
    if !subject.starts_with(b"$SYS.REQ.") {
        return false;
    }
    let of_the_system = [b"$SYS.REQ.SERVER.".as_slice(), b"$SYS.REQ.ACCOUNT."];
    ABOUT_ITSELF.contains(&subject)
        || (account.is_system && of_the_system.iter().any(|start| subject.starts_with(start)))
}
