//! Handing messages to waiting requests.

use bytes::{Bytes, BytesMut};

use super::pull::Pause;
use super::{AckPolicy, Consumer, Pull, Status};
use crate::jetstream::clock::Now;
use crate::protocol::headers;
use crate::protocol::write::decimal;
use crate::router::{Message, Router, Wakes};
use crate::store::{Delivery, Loaded, Nanos, Seq, StoreError, StreamStore};

/// Publishers and other consumers get their turn in between.
const DELIVERIES_PER_TURN: usize = 1024;

/// How often to look whether a client that did not keep up has caught up.
const CONGESTION_PAUSE_NANOS: u64 = 2_000_000;

/// What a delivery needs from its stream.
pub struct Outlet<'a> {
    pub stream: &'a str,
    pub store: &'a mut StreamStore,
    /// Messages after this one are not durable yet and nobody may see them.
    pub visible: Seq,
    pub router: &'a Router,
    pub wakes: &'a mut Wakes,
    pub now: Now,
}

/// What there is to deliver.
enum Next {
    Message(Loaded),
    Nothing,
    /// There is something, but the disk does not give it now.
    Unreadable,
}

impl Consumer {
    /// Serves the waiting requests as far as there are messages, each in turn.
    pub fn deliver(&mut self, out: &mut Outlet<'_>) {
        self.has_more = false;
        self.end_pauses(out.now.steady);
        for _ in 0..DELIVERIES_PER_TURN {
            if self.waiting.is_empty() {
                return;
            }
            match self.next_message(out) {
                Next::Message(message) if self.hand_over(&message, out) => {}
                Next::Message(_) | Next::Unreadable => return,
                Next::Nothing => return self.end_no_wait_requests(out),
            }
        }
        self.has_more = true;
    }

    /// Gives `message` to the first request that takes it; false if there was none, and it stays the next.
    fn hand_over(&mut self, message: &Loaded, out: &mut Outlet<'_>) -> bool {
        let delivery = self.progress.next_delivery(message.seq, out.now.wall);
        let is_first = delivery.count == 1;
        let left = self.num_pending - u64::from(is_first && self.num_pending > 0);
        let ack = ack_subject(
            out.stream,
            &self.name,
            delivery.count,
            message,
            delivery.consumer_seq,
            left,
        );
        let size = (message.subject.len() + ack.len() + message.body.len()) as u64;
        for _ in 0..self.waiting.len() {
            let Some(mut pull) = self.waiting.pop_front() else {
                break;
            };
            if pull.pause.is_some() {
                self.waiting.push_back(pull);
                continue;
            }
            if pull.is_expired(out.now.steady) {
                send_status(&pull, &pull.timeout(), out);
                continue;
            }
            if pull.bytes_wanted.is_some_and(|wanted| size > wanted) {
                let bytes = pull.bytes_wanted.unwrap_or(0);
                send_status(
                    &pull,
                    &Status::SizeExceedsMaxBytes {
                        messages: pull.wanted,
                        bytes,
                    },
                    out,
                );
                continue;
            }
            // What others were sent before says nothing about this client.
            out.wakes.take_congested();
            if !self.send(&pull, message, &ack, out) {
                // Nobody listens on its inbox any more.
                continue;
            }
            pull.wanted -= 1;
            pull.delivered += 1;
            pull.bytes_wanted = pull.bytes_wanted.map(|wanted| wanted - size);
            pull.put_off_heartbeat(out.now.steady);
            let until = out.now.steady.saturating_add(CONGESTION_PAUSE_NANOS);
            pull.pause = out.wakes.take_congested().map(|client| Pause { client, until });
            if pull.wanted > 0 {
                self.waiting.push_back(pull);
            }
            self.on_delivered(&delivery, left, out);
            return true;
        }
        false
    }

    fn end_pauses(&mut self, now: u64) {
        for pull in &mut self.waiting {
            match &mut pull.pause {
                Some(pause) if pause.client.outbox.has_room() => pull.pause = None,
                Some(pause) => pause.until = pause.until.max(now.saturating_add(CONGESTION_PAUSE_NANOS)),
                None => {}
            }
        }
    }

    fn on_delivered(&mut self, delivery: &Delivery, left: u64, out: &Outlet<'_>) {
        let seq = delivery.stream_seq;
        if delivery.count > 1 {
            self.redeliver.remove(seq);
        } else {
            self.cursor = seq + 1;
            self.num_pending = left;
        }
        self.progress.record(delivery, self.config.ack_policy);
        self.unlogged.push(*delivery);
        self.last_delivered = Some(out.now.wall);
        self.last_used = out.now.steady;
        if self.config.ack_policy != AckPolicy::None {
            self.set_ack_deadline(seq, delivery.count, out.now.steady);
        }
    }

    /// Redeliveries go first; new messages only while fewer than `max_ack_pending` are out.
    fn next_message(&mut self, out: &mut Outlet<'_>) -> Next {
        while let Some(seq) = self.redeliver.first() {
            if self.progress.pending.contains_key(&seq) {
                match load(seq, out) {
                    Next::Nothing => drop(self.settle(seq)),
                    found => return found,
                }
            }
            self.redeliver.remove(seq);
        }
        let room = usize::try_from(self.config.max_ack_pending)
            .ok()
            .filter(|&max| max > 0);
        if room.is_some_and(|max| self.progress.pending.len() >= max) {
            return Next::Nothing;
        }
        loop {
            let next = out
                .store
                .index()
                .next_matching(self.cursor, &self.filters)
                .map(|entry| entry.seq);
            let Some(seq) = next.filter(|&seq| seq <= out.visible) else {
                // Nothing up to the end concerns this consumer; it need not look there again.
                self.cursor = self.cursor.max(next.unwrap_or(out.store.index().last_seq() + 1));
                return Next::Nothing;
            };
            self.cursor = seq;
            match load(seq, out) {
                Next::Nothing => {}
                found => return found,
            }
            self.cursor = seq + 1;
            self.num_pending = self.num_pending.saturating_sub(1);
        }
    }

    /// A no-wait request ends when there is nothing left: with 404 if it got nothing, else with 408.
    fn end_no_wait_requests(&mut self, out: &mut Outlet<'_>) {
        self.waiting.retain(|pull| {
            let ends = pull.is_no_wait && (pull.delivered > 0 || pull.expires.is_none());
            if ends {
                let status = if pull.delivered > 0 {
                    pull.timeout()
                } else {
                    Status::NoMessages
                };
                send_status(pull, &status, out);
            }
            !ends
        });
    }

    /// Ends requests whose time is over and shows signs of life on those that asked for them.
    pub fn tend_requests(&mut self, out: &mut Outlet<'_>) {
        let now = out.now.steady;
        let status = Status::Heartbeat {
            last_consumer: self.progress.delivered.consumer_seq,
            last_stream: self.progress.delivered.stream_seq,
        };
        self.waiting.retain_mut(|pull| {
            if pull.is_expired(now) {
                send_status(pull, &pull.timeout(), out);
                return false;
            }
            if pull.next_heartbeat.is_some_and(|at| at <= now) {
                pull.put_off_heartbeat(now);
                return send_status(pull, &status, out);
            }
            true
        });
    }

    /// The consumer is going away.
    pub fn end_requests(&mut self, status: &Status, out: &mut Outlet<'_>) {
        for pull in self.waiting.drain(..) {
            send_status(&pull, status, out);
        }
    }

    fn send(&self, pull: &Pull, message: &Loaded, ack: &[u8], out: &mut Outlet<'_>) -> bool {
        let (header_len, body) = match self.config.headers_only {
            false => (message.header_len, message.body.clone()),
            true => headers_only(message),
        };
        let frame = Message {
            subject: &message.subject,
            reply: ack,
            header_len,
            body: &body,
            backing: &body,
        };
        out.router.publish(&pull.reply, &frame, out.wakes) > 0
    }
}

/// Tells a request its status; false if nobody listens.
fn send_status(pull: &Pull, status: &Status, out: &mut Outlet<'_>) -> bool {
    send_block(&pull.reply, status, out.router, out.wakes)
}

pub fn send_block(reply: &[u8], status: &Status, router: &Router, wakes: &mut Wakes) -> bool {
    let block = Bytes::from(status.to_block());
    let message = Message {
        subject: reply,
        reply: b"",
        header_len: block.len(),
        body: &block,
        backing: &block,
    };
    router.publish(reply, &message, wakes) > 0
}

/// A damaged message is reported where it lies and passed over; the ones after it are still served. One that can not
/// be read for now is waited for.
fn load(seq: Seq, out: &mut Outlet<'_>) -> Next {
    match out.store.load(seq) {
        Ok(Some(message)) => Next::Message(message),
        Ok(None) => Next::Nothing,
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(stream = out.stream, seq, %error, "message is lost to its consumers");
            Next::Nothing
        }
        Err(error) => {
            tracing::error!(stream = out.stream, seq, %error, "message can not be read now");
            Next::Unreadable
        }
    }
}

/// The headers with the payload's size in its place.
fn headers_only(message: &Loaded) -> (usize, Bytes) {
    let payload_len = message.body.len() - message.header_len;
    let mut block = match message.header_len {
        0 => b"NATS/1.0\r\n".to_vec(),
        len => headers::open_block(&message.body[..len]).to_vec(),
    };
    block.extend_from_slice(format!("Nats-Msg-Size: {payload_len}\r\n\r\n").as_bytes());
    (block.len(), block.into())
}

fn ack_subject(
    stream: &str,
    consumer: &str,
    count: u32,
    message: &Loaded,
    consumer_seq: u64,
    num_pending: u64,
) -> BytesMut {
    const NUMBERS_LEN: usize = 5 * 21;
    let prefix = crate::jetstream::ack::PREFIX;
    let mut subject = BytesMut::with_capacity(prefix.len() + stream.len() + consumer.len() + NUMBERS_LEN);
    subject.extend_from_slice(prefix);
    subject.extend_from_slice(stream.as_bytes());
    subject.extend_from_slice(b".");
    subject.extend_from_slice(consumer.as_bytes());
    let time: u64 = Nanos::unsigned_abs(message.time);
    for number in [u64::from(count), message.seq, consumer_seq, time, num_pending] {
        subject.extend_from_slice(b".");
        decimal(&mut subject, usize::try_from(number).unwrap_or(usize::MAX));
    }
    subject
}
