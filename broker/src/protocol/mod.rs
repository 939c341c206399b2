//! The client protocol as values: what a client may say, what it is told, and how both look on the wire.
//!
//! Nothing here knows sockets or clocks.

pub mod connect;
pub mod error;
pub mod headers;
pub mod info;
pub mod parse;
pub mod write;

pub use connect::Connect;
pub use error::{ClientError, Violation};
pub use info::Info;
pub use parse::{ParseLimits, parse};

/// One operation of a client, borrowed from the bytes it came in.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientOp<'a> {
    Connect(&'a [u8]),
    Ping,
    Pong,
    Pub(Publish<'a>),
    Sub {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    Unsub {
        sid: &'a [u8],
        max: Option<u64>,
    },
}

/// PUB and HPUB alike; `header_len` is 0 for PUB.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Publish<'a> {
    pub subject: &'a [u8],
    pub reply: &'a [u8],
    pub is_hpub: bool,
    /// How much of `body` is the header block, its closing blank line included.
    pub header_len: usize,
    /// Header block and payload, as they follow each other on the wire.
    pub body: &'a [u8],
}
