//! Handing messages to waiting requests.

use super::frames::{self, ack_subject};
use super::groups::Turn;
use super::pull::Pause;
use super::upcoming::Next;
use super::{Consumer, Pull, Status};
use crate::jetstream::clock::Now;
use crate::jetstream::config::AckPolicy;
use crate::router::{Message, Router, Wakes};
use crate::store::{Delivery, Loaded, Seq, StreamStore};

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

impl Consumer {
    /// Sends what there is to whoever waits for it.
    pub fn deliver(&mut self, out: &mut Outlet<'_>) {
        self.has_more = false;
        self.resumes_at = self.paused_until(out.now).map(|until| {
            let left = u64::try_from(until - out.now.wall).unwrap_or(0);
            out.now.steady.saturating_add(left)
        });
        if self.resumes_at.is_some() {
            return;
        }
        if self.push.is_some() {
            self.deliver_push(out);
        } else {
            self.serve_requests(out);
        }
    }

    /// Each request in turn, as far as there are messages.
    fn serve_requests(&mut self, out: &mut Outlet<'_>) {
        self.end_pauses(out.now.steady);
        for _ in 0..DELIVERIES_PER_TURN {
            if self.waiting.is_empty() {
                return;
            }
            match self.next_message(out) {
                Next::Message(message) if self.hand_over(&message, out) => {}
                Next::Message(_) | Next::NotYet => return,
                Next::Nothing => return self.end_no_wait_requests(out),
            }
        }
        self.has_more = true;
    }

    /// Gives `message` to the first request that takes it; false if there was none, and it stays the next.
    fn hand_over(&mut self, message: &Loaded, out: &mut Outlet<'_>) -> bool {
        let (delivery, left) = self.next_delivery(message, out);
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
            match self.turn_of(&mut pull, out.now) {
                Turn::Serve => {}
                Turn::Wait => {
                    self.waiting.push_back(pull);
                    continue;
                }
                Turn::End => {
                    send_status(&pull, &pull.wrong_pin(), out);
                    continue;
                }
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
            if !self.send(&pull.reply, message, &ack, out) {
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
                self.enqueue(pull);
            }
            self.on_delivered(&delivery, message, left, out);
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

    /// The delivery of `message` that would come next, and how many are left after it.
    pub(super) fn next_delivery(&self, message: &Loaded, out: &Outlet<'_>) -> (Delivery, u64) {
        let delivery = self.progress.next_delivery(message.seq, out.now.wall);
        let is_first = delivery.count == 1;
        let left = self.num_pending - u64::from(is_first && self.num_pending > 0);
        (delivery, left)
    }

    pub(super) fn on_delivered(
        &mut self,
        delivery: &Delivery,
        message: &Loaded,
        left: u64,
        out: &Outlet<'_>,
    ) {
        let seq = delivery.stream_seq;
        if delivery.count > 1 {
            self.redeliver.remove(seq);
        } else {
            self.pass(seq);
            self.num_pending = left;
            if let Some(replay) = &mut self.replay {
                replay.on_delivered(message.time, out.now.steady);
            }
        }
        self.progress.record(delivery, self.config.ack_policy);
        self.unlogged.push(*delivery);
        self.last_delivered = Some(out.now.wall);
        self.last_used = out.now.steady;
        if self.config.ack_policy != AckPolicy::None {
            self.set_ack_deadline(seq, delivery.count, out.now.steady);
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
            stalled: None,
        };
        self.tend_listener(out);
        self.end_stale_pin(out.now);
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

    /// Sends `message` to `to`; false if nobody listens.
    pub(super) fn send(&self, to: &[u8], message: &Loaded, ack: &[u8], out: &mut Outlet<'_>) -> bool {
        let (header_len, body) = match self.config.headers_only {
            false => (message.header_len, message.body.clone()),
            true => frames::headers_only(message),
        };
        let (header_len, body) = match &self.pin {
            None => (header_len, body),
            Some(pin) => frames::with_line(header_len, &body, &format!("Nats-Pin-Id: {}\r\n", pin.id)),
        };
        let frame = Message {
            subject: &message.subject,
            reply: ack,
            header_len,
            body: &body,
            backing: &body,
        };
        out.router.publish(to, &frame, out.wakes) > 0
    }
}

/// Tells a request its status; false if nobody listens.
fn send_status(pull: &Pull, status: &Status, out: &mut Outlet<'_>) -> bool {
    frames::send_status(&pull.reply, status, out.router, out.wakes)
}
