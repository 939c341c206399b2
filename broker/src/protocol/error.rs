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
    #[error("no TLS, which is required")]
    TlsRequired,
    #[error("the client closed the connection")]
    ClientClosed,
    #[error("server shutdown")]
    ServerShutdown,
}

/// What a user may not do. The connection survives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation<'a> {
    Publish(&'a [u8]),
    Reply(&'a [u8]),
    Subscribe {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
    },
    TooManyTokens(&'a [u8]),
    /// A subscription that was allowed until the configuration changed.
    Revoked {
        subject: &'a [u8],
        sid: &'a [u8],
    },
}

impl Violation<'_> {
    /// The text between the quotes of `-ERR '…'`.
    pub fn wire_text(self) -> String {
        let text = String::from_utf8_lossy;
        let (what, subject) = match self {
            Violation::Publish(subject) => ("Publish to", subject),
            Violation::Reply(subject) => ("Publish with Reply of", subject),
            Violation::Subscribe { subject, .. }
            | Violation::TooManyTokens(subject)
            | Violation::Revoked { subject, .. } => ("Subscription to", subject),
        };
        let rest = match self {
            Violation::Subscribe {
                queue: Some(queue), ..
            } => format!(" using queue \"{}\"", text(queue)),
            Violation::TooManyTokens(_) => ", too many tokens".to_owned(),
            Violation::Revoked { sid, .. } => format!(" (sid \"{}\")", text(sid)),
            _ => String::new(),
        };
        format!("Permissions Violation for {what} \"{}\"{rest}", text(subject))
    }
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
            ClientError::TlsRequired => "Secure Connection - TLS Required",
            ClientError::Malformed
            | ClientError::ClientClosed
            | ClientError::SlowConsumer
            | ClientError::WriteDeadline
            | ClientError::ServerShutdown => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_as_clients_match_them() {
        let check = |violation: Violation<'_>, expect: &str| assert_eq!(violation.wire_text(), expect);
        check(
            Violation::Publish(b"a"),
            "Permissions Violation for Publish to \"a\"",
        );
        check(
            Violation::Reply(b"r"),
            "Permissions Violation for Publish with Reply of \"r\"",
        );
        let subscribe = |queue| Violation::Subscribe { subject: b"a", queue };
        check(subscribe(None), "Permissions Violation for Subscription to \"a\"");
        check(
            subscribe(Some(b"q")),
            "Permissions Violation for Subscription to \"a\" using queue \"q\"",
        );
        check(
            Violation::TooManyTokens(b"a.b"),
            "Permissions Violation for Subscription to \"a.b\", too many tokens",
        );
        let revoked = Violation::Revoked {
            subject: b"a",
            sid: b"1",
        };
        check(
            revoked,
            "Permissions Violation for Subscription to \"a\" (sid \"1\")",
        );
    }
}
