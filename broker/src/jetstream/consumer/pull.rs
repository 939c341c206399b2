//! A client's request for messages, and the statuses that end it. Clients compare these texts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::groups::Group;
use crate::jetstream::{go_duration, json};
use crate::protocol::headers;
use crate::router::Client;

/// As the client sends it: empty, a number, or JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Request {
    batch: i64,
    expires: i64,
    max_bytes: i64,
    no_wait: bool,
    idle_heartbeat: i64,
    group: String,
    min_pending: i64,
    min_ack_pending: i64,
    id: String,
    priority: i64,
}

impl Request {
    /// What it says about its priority group, if anything.
    fn group(self) -> Option<Group> {
        let group = Group {
            name: self.group,
            min_pending: self.min_pending,
            min_ack_pending: self.min_ack_pending,
            pin: self.id,
            priority: self.priority,
        };
        (group != Group::default()).then_some(group)
    }
}

/// A request that waits for messages. Times are nanoseconds of the steady clock.
#[derive(Debug, Clone)]
pub struct Pull {
    pub reply: Bytes,
    /// Messages still wanted.
    pub wanted: u64,
    /// Bytes still wanted, if bounded.
    pub bytes_wanted: Option<u64>,
    pub is_no_wait: bool,
    pub expires: Option<u64>,
    pub heartbeat: Option<Duration>,
    pub next_heartbeat: Option<u64>,
    pub delivered: u64,
    pub group: Option<Group>,
    /// Its client has enough to read for now.
    pub pause: Option<Pause>,
}

/// A request is passed over until its client has caught up: sending on would get it cut off.
#[derive(Debug, Clone)]
pub struct Pause {
    pub client: Arc<Client>,
    /// When to look again.
    pub until: u64,
}

/// Why a request ends, or a sign of life while it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Heartbeat {
        last_consumer: u64,
        last_stream: u64,
        /// The flow control request that a push consumer waits for.
        stalled: Option<String>,
    },
    FlowControl,
    PushBased,
    BadRequest(String),
    NoMessages,
    Timeout {
        messages: u64,
        bytes: u64,
    },
    ConsumerDeleted,
    MaxBatch(i64),
    MaxExpires(Duration),
    MaxBytes(i64),
    MaxWaiting,
    SizeExceedsMaxBytes {
        messages: u64,
        bytes: u64,
    },
    PinMismatch,
    WrongPin {
        messages: u64,
        bytes: u64,
    },
    ServerShutdown,
}

/// A consumer's bounds on what one request may ask for; 0 is without bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullLimits {
    pub max_batch: i64,
    pub max_expires: i64,
    pub max_bytes: i64,
}

impl Pull {
    /// The request in `body`, or the status to answer it with.
    pub fn parse(reply: Bytes, body: &[u8], limits: PullLimits, now: u64) -> Result<Pull, Status> {
        let request = decode(body)?;
        let expires = Duration::from_nanos(u64::try_from(request.expires).unwrap_or(0));
        let heartbeat = Duration::from_nanos(u64::try_from(request.idle_heartbeat).unwrap_or(0));
        if !heartbeat.is_zero() && heartbeat * 2 > expires {
            return Err(Status::BadRequest("heartbeat value too large".into()));
        }
        if limits.max_batch > 0 && request.batch > limits.max_batch {
            return Err(Status::MaxBatch(limits.max_batch));
        }
        if limits.max_expires > 0 && request.expires > limits.max_expires {
            return Err(Status::MaxExpires(Duration::from_nanos(
                limits.max_expires.unsigned_abs(),
            )));
        }
        if limits.max_bytes > 0 && request.max_bytes > limits.max_bytes {
            return Err(Status::MaxBytes(limits.max_bytes));
        }
        let heartbeat = (!heartbeat.is_zero()).then_some(heartbeat);
        Ok(Pull {
            reply,
            wanted: u64::try_from(request.batch).unwrap_or(0).max(1),
            bytes_wanted: u64::try_from(request.max_bytes).ok().filter(|&bytes| bytes > 0),
            is_no_wait: request.no_wait,
            // A negative expiry has passed already.
            expires: (request.expires != 0).then(|| now.saturating_add(nanos(expires))),
            next_heartbeat: heartbeat.map(|every| now.saturating_add(nanos(every))),
            heartbeat,
            delivered: 0,
            group: request.group(),
            pause: None,
        })
    }

    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// A message or a heartbeat went out.
    pub fn put_off_heartbeat(&mut self, now: u64) {
        self.next_heartbeat = self.heartbeat.map(|every| now.saturating_add(nanos(every)));
    }

    pub fn wrong_pin(&self) -> Status {
        Status::WrongPin {
            messages: self.wanted,
            bytes: self.bytes_wanted.unwrap_or(0),
        }
    }

    pub fn timeout(&self) -> Status {
        Status::Timeout {
            messages: self.wanted,
            bytes: self.bytes_wanted.unwrap_or(0),
        }
    }
}

fn decode(body: &[u8]) -> Result<Request, Status> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(Request::default());
    }
    if body.starts_with(b"{") {
        let request: Result<Request, _> = json::decode(body);
        return request.map_err(|error| {
            let text = error
                .description
                .strip_prefix("invalid JSON: ")
                .unwrap_or(&error.description);
            Status::BadRequest(text.to_owned())
        });
    }
    let batch = std::str::from_utf8(body)
        .ok()
        .and_then(|digits| digits.parse().ok());
    let batch = batch.ok_or_else(|| Status::BadRequest("invalid batch size".into()))?;
    Ok(Request {
        batch,
        ..Request::default()
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Status {
    /// The header block that says it.
    pub fn to_block(&self) -> Vec<u8> {
        let left = |code: u16, text: &str, messages: &u64, bytes: &u64| {
            let (messages, bytes) = (messages.to_string(), bytes.to_string());
            headers::status(
                code,
                text,
                &[
                    ("Nats-Pending-Messages", messages.as_str()),
                    ("Nats-Pending-Bytes", bytes.as_str()),
                ],
            )
        };
        let plain = |code: u16, text: &str| headers::status(code, text, &[]);
        match self {
            Status::Heartbeat {
                last_consumer,
                last_stream,
                stalled,
            } => {
                let (consumer, stream) = (last_consumer.to_string(), last_stream.to_string());
                let mut fields = vec![
                    ("Nats-Last-Consumer", consumer.as_str()),
                    ("Nats-Last-Stream", stream.as_str()),
                ];
                fields.extend(stalled.as_deref().map(|id| ("Nats-Consumer-Stalled", id)));
                headers::status(100, "Idle Heartbeat", &fields)
            }
            Status::FlowControl => plain(100, "FlowControl Request"),
            Status::PushBased => plain(409, "Consumer is push based"),
            Status::BadRequest(reason) => plain(400, &format!("Bad Request - {reason}")),
            Status::NoMessages => plain(404, "No Messages"),
            Status::Timeout { messages, bytes } => left(408, "Request Timeout", messages, bytes),
            Status::ConsumerDeleted => plain(409, "Consumer Deleted"),
            Status::MaxBatch(limit) => plain(409, &format!("Exceeded MaxRequestBatch of {limit}")),
            Status::MaxExpires(limit) => {
                let limit = go_duration::format(nanos(*limit));
                plain(409, &format!("Exceeded MaxRequestExpires of {limit}"))
            }
            Status::MaxBytes(limit) => plain(409, &format!("Exceeded MaxRequestMaxBytes of {limit}")),
            Status::MaxWaiting => plain(409, "Exceeded MaxWaiting"),
            Status::SizeExceedsMaxBytes { messages, bytes } => {
                left(409, "Message Size Exceeds MaxBytes", messages, bytes)
            }
            Status::PinMismatch => plain(423, "Nats-Pin-Id mismatch"),
            Status::WrongPin { messages, bytes } => left(423, "Nats-Wrong-Pin-Id", messages, bytes),
            Status::ServerShutdown => plain(409, "Server Shutdown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Pull, Status> {
        let limits = PullLimits {
            max_batch: 100,
            max_expires: 60_000_000_000,
            max_bytes: 1000,
        };
        Pull::parse(Bytes::from_static(b"r"), body.as_bytes(), limits, 1000)
    }

    #[test]
    fn forms_of_a_request() {
        let check = |body: &str, wanted: u64, expires: Option<u64>, is_no_wait: bool| {
            let pull = parse(body).unwrap();
            assert_eq!(
                (pull.wanted, pull.expires, pull.is_no_wait),
                (wanted, expires, is_no_wait),
                "{body}"
            );
        };
        check("", 1, None, false);
        check("7", 7, None, false);
        check(r#"{"batch":5,"no_wait":true}"#, 5, None, true);
        check(r#"{"batch":0,"expires":500}"#, 1, Some(1500), false);
        check(r#"{"batch":1,"expires":-3}"#, 1, Some(1000), false);
        check(r#"{"batch":-1}"#, 1, None, false);
        assert_eq!(parse(r#"{"max_bytes":10}"#).unwrap().bytes_wanted, Some(10));
    }

    #[test]
    fn refusals_and_their_texts() {
        let check = |body: &str, expect: &str| {
            let block = parse(body).unwrap_err().to_block();
            assert_eq!(
                String::from_utf8(block).unwrap(),
                format!("NATS/1.0 {expect}\r\n\r\n"),
                "{body}"
            );
        };
        check(
            r#"{"expires":300,"idle_heartbeat":200}"#,
            "400 Bad Request - heartbeat value too large",
        );
        check(r#"{"batch":101}"#, "409 Exceeded MaxRequestBatch of 100");
        check(
            r#"{"expires":60000000001}"#,
            "409 Exceeded MaxRequestExpires of 1m0s",
        );
        check(r#"{"max_bytes":1001}"#, "409 Exceeded MaxRequestMaxBytes of 1000");
        assert!(matches!(parse("{bad"), Err(Status::BadRequest(_))));
        let timeout = Status::Timeout {
            messages: 5,
            bytes: 0,
        }
        .to_block();
        let expect =
            "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 5\r\nNats-Pending-Bytes: 0\r\n\r\n";
        assert_eq!(String::from_utf8(timeout).unwrap(), expect);
    }
}
