//! The end of a turn: one write and one sync for all of it, then the answers.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::Stream;
use crate::config::SyncPolicy;
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::{Now, nanos};
use crate::jetstream::config::PersistMode;
use crate::jetstream::consumer::Status;
use crate::router::Message;
use crate::store::{Record, Seq};

/// Acks that nobody waits for and delivery counts are synced along with the next publish, or after this long.
const LAZY_SYNC_NANOS: u64 = 50_000_000;

/// What a power loss may take of a stream with `persist_mode: async`. nats-server syncs such streams every two minutes,
/// which costs no less: a sync a second is nothing to a disk.
pub(super) const ASYNC_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// An answer held back until what it promises is true.
#[derive(Debug)]
pub(super) enum Reply {
    Stored {
        to: Bytes,
        stored: Stored,
    },
    Refused {
        to: Bytes,
        error: ApiError,
    },
    Confirmed {
        to: Bytes,
    },
    /// `is_promise` when the answer says that something is done which must be durable.
    Api {
        to: Bytes,
        json: Vec<u8>,
        is_promise: bool,
    },
}

/// A stored message on its way to those who listen to what is stored.
#[derive(Debug)]
pub(super) struct Republished {
    pub subject: Bytes,
    pub header_len: usize,
    pub body: Bytes,
}

/// What a publisher is told of its message.
#[derive(Debug)]
pub(super) struct Stored {
    pub seq: Seq,
    pub is_duplicate: bool,
    /// The counter's total.
    pub value: Option<String>,
    /// Id and size of the batch that this was the commit of.
    pub batch: Option<(String, usize)>,
}

impl Stored {
    pub(super) fn new(seq: Seq) -> Stored {
        Stored {
            seq,
            is_duplicate: false,
            value: None,
            batch: None,
        }
    }
}

#[derive(Serialize)]
struct PubError<'a> {
    error: &'a ApiError,
    stream: &'a str,
    seq: Seq,
}

impl Stream {
    pub(super) fn reply(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    /// A stream may ask to be synced later than the server does otherwise, never earlier than that.
    fn sync_policy(&self) -> SyncPolicy {
        match (self.config.persist_mode, self.around.sync) {
            (PersistMode::Async, SyncPolicy::Always) => SyncPolicy::Interval(ASYNC_SYNC_INTERVAL),
            (_, policy) => policy,
        }
    }

    /// Logs what needs no promise: it goes to disk with whatever comes next.
    pub(super) fn log_lazily(&mut self, record: &Record<'_>) {
        if let Err(error) = self.store.append(record) {
            // The store is poisoned, which was reported when it happened.
            tracing::debug!(stream = self.config.name, %error, "not logged");
        }
    }

    /// Makes the turn durable as the policy says and sends what waited for that.
    pub(super) fn commit(&mut self, now: Now) {
        let outcome = match self.sync_policy() {
            SyncPolicy::Always if self.sync_owed => self.store.sync(),
            _ => self.store.flush(),
        };
        match outcome {
            Ok(()) => {
                self.visible = self.store.index().last_seq();
                self.schedules.settle();
                self.note_copied();
            }
            Err(error) => self.on_failed_write(&error.to_string(), now),
        }
        self.sync_owed = false;
        self.schedule_sync(now);
        let failure = self.store.poison().map(str::to_owned);
        for message in std::mem::take(&mut self.republished) {
            if failure.is_none() {
                self.send_internally(message.subject, message.header_len, message.body);
            }
        }
        for reply in std::mem::take(&mut self.replies) {
            self.send(reply, failure.as_deref());
        }
    }

    /// Writes what deliveries added; a sync that is overdue happens here too.
    pub(super) fn flush(&mut self, now: Now) {
        if self.store.poison().is_some() || !self.store.is_dirty() {
            return;
        }
        let is_due = self.sync_by.is_some_and(|at| at <= now.steady);
        let outcome = if is_due {
            self.store.sync()
        } else {
            self.store.flush()
        };
        if let Err(error) = outcome {
            self.on_failed_write(&error.to_string(), now);
        }
        if is_due {
            self.sync_by = None;
        }
        self.schedule_sync(now);
    }

    fn schedule_sync(&mut self, now: Now) {
        let delay = match self.sync_policy() {
            SyncPolicy::Always => LAZY_SYNC_NANOS,
            SyncPolicy::Interval(interval) => nanos(interval),
            SyncPolicy::Os => return,
        };
        self.sync_by = match (
            self.store.is_dirty() && self.store.poison().is_none(),
            self.sync_by,
        ) {
            (false, _) => None,
            (true, Some(at)) => Some(at),
            (true, None) => Some(now.steady.saturating_add(delay)),
        };
    }

    /// After a failed write no success is reported, and a promise that was not kept gets no answer at all.
    pub(super) fn send(&mut self, reply: Reply, failure: Option<&str>) {
        let (to, body) = match (reply, failure) {
            (Reply::Stored { to, stored }, None) => (to, self.pub_ack(&stored)),
            (Reply::Stored { to, .. }, Some(reason)) => {
                let error = api_error::store_failed(reason);
                (to, self.pub_error(&error))
            }
            (Reply::Refused { to, error }, _) => (to, self.pub_error(&error)),
            (Reply::Confirmed { to }, None) => (to, Vec::new()),
            (Reply::Confirmed { .. } | Reply::Api { is_promise: true, .. }, Some(_)) => return,
            (Reply::Api { to, json, .. }, _) => (to, json),
        };
        let body = Bytes::from(body);
        let message = Message {
            subject: &to,
            reply: b"",
            header_len: 0,
            body: &body,
            backing: &body,
        };
        self.around.router.publish(&to, &message, &mut self.wakes);
    }

    fn pub_ack(&self, stored: &Stored) -> Vec<u8> {
        // By hand, because this is the busiest answer; the space before `true` is nats-server's.
        let duplicate = if stored.is_duplicate {
            ",\"duplicate\": true"
        } else {
            ""
        };
        let value = stored.value.as_ref().map(|value| format!(",\"val\":\"{value}\""));
        let batch = stored.batch.as_ref().map(|(id, count)| {
            let id = serde_json::Value::from(id.as_str());
            format!(",\"batch\":{id},\"count\":{count}")
        });
        let (value, batch) = (value.unwrap_or_default(), batch.unwrap_or_default());
        let (name, seq) = (&self.quoted_name, stored.seq);
        format!("{{\"stream\":{name},\"seq\":{seq}{duplicate}{value}{batch}}}").into_bytes()
    }

    fn pub_error(&self, error: &ApiError) -> Vec<u8> {
        let answer = PubError {
            error,
            stream: &self.config.name,
            seq: 0,
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// The last words to waiting clients, and everything synced whatever the policy.
    pub(super) fn shut_down(&mut self) {
        let now = self.around.clock.now();
        self.each_consumer(now, |consumer, out| {
            consumer.end_requests(&Status::ServerShutdown, out);
        });
        if self.store.poison().is_none()
            && let Err(error) = self.store.sync()
        {
            self.on_failed_write(&error.to_string(), now);
        }
        self.wakes.flush();
    }
}
