//! What can go wrong between us and an IMAP server, and the questions that callers ask about it.

use std::io;
use std::time::Duration;

use crate::login::OAuthError;
use crate::tls::TlsError;

/// How a server refuses: it understood and will not (`NO`), or it did not understand (`BAD`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    No,
    Bad,
}

/// An IMAP exchange failed. After anything that is no
/// [refusal](ImapError::is_refusal) the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ImapError {
    #[error(transparent)]
    Connect(#[from] TlsError),
    #[error("the server refused the login: {text}")]
    LoginRefused { text: String },
    #[error("the server allows no password login on this connection")]
    LoginDisabled,
    #[error("the server takes no OAuth token: it offers neither AUTH=XOAUTH2 nor AUTH=OAUTHBEARER")]
    NoBearer,
    #[error(transparent)]
    Token(#[from] OAuthError),
    #[error("the server answered {command} with {}: {text}", match .refusal { Refusal::No => "NO", Refusal::Bad => "BAD" })]
    Refused {
        command: &'static str,
        refusal: Refusal,
        text: String,
    },
    #[error("the server lists mail {uid} but gives no body for it")]
    NoBody { uid: u32 },
    #[error("the server announces {size} bytes, more than are taken")]
    TooLarge { size: u64 },
    #[error("the server said goodbye during {command}: {text}")]
    Bye { command: &'static str, text: String },
    #[error("the server closed the connection during {command}")]
    Closed { command: &'static str },
    #[error("no answer to {command} within {after:?}")]
    Timeout { command: &'static str, after: Duration },
    #[error("the connection failed during {command}")]
    Io {
        command: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the server's answer to {command} makes no sense: {what}")]
    Protocol { command: &'static str, what: String },
    #[error("{0}")]
    BadArgument(&'static str),
}

impl ImapError {
    /// User, password or token are wrong: trying again with the same ones will not help, and may lock the account.
    pub fn is_login_refused(&self) -> bool {
        match self {
            Self::LoginRefused { .. } | Self::LoginDisabled | Self::NoBearer => true,
            Self::Token(error) => error.is_refused(),
            _ => false,
        }
    }

    /// The server will not do this, but the connection is in order.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NoBody { .. })
    }
}
