//! What goes wrong between a client and us: the text it is told and whether its connection lives on.
//!
//! This is the one table of `-ERR` texts. Clients match them lower-cased, so they are part of the protocol.

use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClientError {
    #[error("unknown protocol operation")]
    UnknownOperation,
    #[error("malformed arguments")]
    Malformed,
    #[error("invalid subscription subject")]
    InvalidSubject,
    #[error("invalid publish subject")]
    InvalidPublishSubject,
    #[error("message larger than max_payload")]
    MaxPayload,
    #[error("control line larger than max_control_line")]
    MaxControlLine,
    #[error("more connections than max_connections")]
    MaxConnections,
    #[error("more subscriptions than max_subscriptions")]
    MaxSubscriptions,
    #[error("stale connection")]
    StaleConnection,
    #[error("authorization violation")]
    Authorization,
    #[error("no credentials within the authentication timeout")]
    AuthTimeout,
    #[error("no_responders asked for without headers")]
    NoRespondersNeedsHeaders,
    #[error("unsupported protocol version")]
    InvalidProtocol,
    #[error("slow consumer: pending bytes over max_pending")]
    SlowConsumer,
    #[error("slow consumer: write deadline exceeded")]
    WriteDeadline,
    #[error("server shutdown")]
    ServerShutdown,
}

impl ClientError {
    /// The text between the quotes of `-ERR '…'`; `None` when nats-server closes without a word.
    pub fn wire_text(self) -> Option<&'static str> {
        Some(match self {
            ClientError::UnknownOperation => "Unknown Protocol Operation",
            ClientError::InvalidSubject => "Invalid Subject",
            ClientError::InvalidPublishSubject => "Invalid Publish Subject",
            ClientError::MaxPayload => "Maximum Payload Violation",
            ClientError::MaxControlLine => "maximum control line exceeded",
            ClientError::MaxConnections => "maximum connections exceeded",
            ClientError::MaxSubscriptions => "maximum subscriptions exceeded",
            ClientError::StaleConnection => "Stale Connection",
            ClientError::Authorization => "Authorization Violation",
            ClientError::AuthTimeout => "Authentication Timeout",
            ClientError::NoRespondersNeedsHeaders => "no responders requires headers support",
            ClientError::InvalidProtocol => "invalid client protocol",
            ClientError::Malformed
            | ClientError::SlowConsumer
            | ClientError::WriteDeadline
            | ClientError::ServerShutdown => return None,
        })
    }
}
