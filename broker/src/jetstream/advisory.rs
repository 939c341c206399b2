//! Events that the server publishes about streams, consumers and what became of messages.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::json as time_format;
use super::names;
use crate::store::{Nanos, Seq};

/// What is published, and where.
#[derive(Debug)]
pub struct Event {
    pub subject: String,
    pub body: Vec<u8>,
}

/// What happened to a stream or consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Created,
    Modified,
    Deleted,
}

/// A delivery that an event is about.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Delivered {
    pub consumer_seq: u64,
    pub stream_seq: Seq,
    pub deliveries: u32,
}

/// Why a client is not the pinned one any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    Asked,
    TimedOut,
}

/// Why a batch came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    Incomplete,
    Large,
    Unsupported,
    TimedOut,
}

impl Abandoned {
    fn word(self) -> &'static str {
        match self {
            Abandoned::Incomplete => "incomplete",
            Abandoned::Large => "large",
            Abandoned::Unsupported => "unsupported",
            Abandoned::TimedOut => "timeout",
        }
    }
}

impl Change {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Change::Created => ("CREATED", "create"),
            Change::Modified => ("UPDATED", "modify"),
            Change::Deleted => ("DELETED", "delete"),
        }
    }
}

/// Names what an event is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
    pub account: &'a str,
    pub now: Nanos,
}

pub fn on_stream(stream: &str, change: Change, now: Nanos) -> Event {
    let (event, action) = change.words();
    let content = json!({"stream": stream, "action": action});
    encode(
        format!("$JS.EVENT.ADVISORY.STREAM.{event}.{stream}"),
        "advisory.v1.stream_action",
        now,
        content,
    )
}

pub fn on_abandoned(stream: &str, batch: &str, reason: Abandoned, now: Nanos) -> Event {
    encode(
        format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{stream}"),
        "advisory.v1.stream_batch_abandoned",
        now,
        json!({"stream": stream, "batch": batch, "reason": reason.word()}),
    )
}

impl About<'_> {
    pub fn changed(self, change: Change) -> Event {
        let (event, action) = change.words();
        self.advisory(event, "consumer_action", json!({"action": action}))
    }

    /// The message used up its deliveries.
    pub fn gave_up(self, stream_seq: Seq, deliveries: u32) -> Event {
        let content = json!({"stream_seq": stream_seq, "deliveries": deliveries});
        self.advisory("MAX_DELIVERIES", "max_deliver", content)
    }

    pub fn terminated(self, delivered: Delivered, reason: &str) -> Event {
        let mut content = json!(delivered);
        if !reason.is_empty() {
            content["reason"] = reason.into();
        }
        self.advisory("MSG_TERMINATED", "terminated", content)
    }

    pub fn refused(self, delivered: Delivered) -> Event {
        self.advisory("MSG_NAKED", "nak", json!(delivered))
    }

    /// A sample of how long acknowledgements take.
    pub fn acknowledged(self, delivered: Delivered, took: Nanos) -> Event {
        let mut content = json!({"stream": self.stream, "consumer": self.consumer});
        content["consumer_seq"] = delivered.consumer_seq.into();
        content["stream_seq"] = delivered.stream_seq.into();
        content["ack_time"] = took.into();
        content["deliveries"] = delivered.deliveries.into();
        let subject = format!("$JS.EVENT.METRIC.CONSUMER.ACK.{}.{}", self.stream, self.consumer);
        encode(subject, "metric.v1.consumer_ack", self.now, content)
    }

    pub fn paused(self, is_paused: bool, until: Option<&str>) -> Event {
        let mut content = json!({"paused": is_paused});
        if let Some(until) = until.filter(|_| is_paused) {
            content["pause_until"] = until.into();
        }
        self.advisory("PAUSE", "consumer_pause", content)
    }

    pub fn pinned(self, group: &str, id: &str) -> Event {
        let content = json!({"account": self.account, "group": group, "pinned_id": id});
        self.advisory("PINNED", "consumer_group_pinned", content)
    }

    pub fn unpinned(self, group: &str, why: Unpinned) -> Event {
        let reason = match why {
            Unpinned::Asked => "admin",
            Unpinned::TimedOut => "timeout",
        };
        let content = json!({"account": self.account, "group": group, "reason": reason});
        self.advisory("UNPINNED", "consumer_group_unpinned", content)
    }

    fn advisory(self, event: &str, kind: &str, content: Value) -> Event {
        let About {
            stream,
            consumer,
            now,
            ..
        } = self;
        let mut about = json!({"stream": stream, "consumer": consumer});
        if let (Value::Object(about), Value::Object(content)) = (&mut about, content) {
            about.extend(content);
        }
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{event}.{stream}.{consumer}");
        encode(subject, &format!("advisory.v1.{kind}"), now, about)
    }
}

fn encode(subject: String, kind: &str, now: Nanos, content: Value) -> Event {
    let mut event = Map::new();
    event.insert("type".into(), format!("io.nats.jetstream.{kind}").into());
    event.insert("id".into(), names::random_token().into());
    event.insert("timestamp".into(), time_format::time(now).into());
    if let Value::Object(content) = content {
        event.extend(content);
    }
    let body = Value::Object(event).to_string().into_bytes();
    Event { subject, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_account_that_it_happened_in() {
        let about = About {
            stream: "S",
            consumer: "c",
            account: "SHOP",
            now: 0,
        };
        for event in [about.pinned("g", "id"), about.unpinned("g", Unpinned::Asked)] {
            let body: Value = serde_json::from_slice(&event.body).unwrap();
            assert_eq!(body["account"], "SHOP", "{}", event.subject);
        }
    }
}
