//! Events that the server publishes about what became of messages.

use serde::Serialize;

use super::json;
use crate::store::{Nanos, Seq};

/// Why a message is not delivered any more.
#[derive(Debug, Clone, Copy)]
pub enum Fate<'a> {
    MaxDeliveries,
    Terminated { consumer_seq: u64, reason: &'a str },
}

#[derive(Serialize)]
struct Advisory<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: String,
    stream: &'a str,
    consumer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_seq: Option<u64>,
    stream_seq: Seq,
    deliveries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Subject and payload of the advisory.
pub fn on_message(
    stream: &str,
    consumer: &str,
    stream_seq: Seq,
    deliveries: u32,
    fate: &Fate<'_>,
    now: Nanos,
) -> (String, Vec<u8>) {
    let (event, kind, consumer_seq, reason) = match fate {
        Fate::MaxDeliveries => (
            "MAX_DELIVERIES",
            "io.nats.jetstream.advisory.v1.max_deliver",
            None,
            None,
        ),
        Fate::Terminated { consumer_seq, reason } => {
            let reason = (!reason.is_empty()).then_some(*reason);
            (
                "MSG_TERMINATED",
                "io.nats.jetstream.advisory.v1.terminated",
                Some(*consumer_seq),
                reason,
            )
        }
    };
    let advisory = Advisory {
        kind,
        id: super::names::random_token(),
        timestamp: json::time(now),
        stream,
        consumer,
        consumer_seq,
        stream_seq,
        deliveries,
        reason,
    };
    let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{event}.{stream}.{consumer}");
    (subject, serde_json::to_vec(&advisory).unwrap_or_default())
}
