//! Handing messages to whoever listens on the deliver subject.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::flow::{FlowControl, RateLimit};
use super::frames::{ack_subject, send_block};
use super::pull::Pause;
use super::upcoming::Next;
use super::{Consumer, Outlet, Status};
use crate::jetstream::clock::nanos;
use crate::jetstream::config::ConsumerConfig;
use crate::router::{Router, Watch};
use crate::store::Loaded;

/// Publishers and other consumers get their turn in between.
const DELIVERIES_PER_TURN: usize = 1024;
/// How often to look whether a client that did not keep up has caught up.
const CONGESTION_PAUSE_NANOS: u64 = 2_000_000;

/// A push consumer's side of things. Times are nanoseconds of the steady clock.
#[derive(Debug)]
pub struct Push {
    pub subject: Bytes,
    /// Somebody listens.
    pub is_bound: bool,
    heartbeat: Option<Duration>,
    next_heartbeat: Option<u64>,
    flow: Option<FlowControl>,
    rate: Option<RateLimit>,
    /// Some listener has enough to read for now: sending on would get it cut off.
    pause: Option<Pause>,
    /// Tells the stream when listeners come and go.
    _watch: Watch,
}

impl Push {
    pub fn new(config: &ConsumerConfig, router: &Router, on_change: Arc<dyn Fn() + Send + Sync>) -> Push {
        let subject = Bytes::from(config.deliver_subject.clone());
        let heartbeat = u64::try_from(config.idle_heartbeat).unwrap_or(0);
        Push {
            // Watched before anybody asks whether it is bound, so that no change falls in between.
            _watch: router.watch(subject.clone(), on_change),
            subject,
            is_bound: false,
            heartbeat: Some(Duration::from_nanos(heartbeat)).filter(|every| !every.is_zero()),
            next_heartbeat: None,
            flow: config.flow_control.then(FlowControl::default),
            rate: RateLimit::new(config.rate_limit_bps),
            pause: None,
        }
    }

    fn put_off_heartbeat(&mut self, now: u64) {
        self.next_heartbeat = self.heartbeat.map(|every| now.saturating_add(nanos(every)));
    }

    /// May the next message go? If not, something will happen that is worth another look.
    fn is_ready(&mut self, now: u64) -> bool {
        if let Some(pause) = &mut self.pause {
            if !pause.client.outbox.has_room() {
                pause.until = now.saturating_add(CONGESTION_PAUSE_NANOS);
                return false;
            }
            self.pause = None;
        }
        self.is_bound
            && self.flow.as_ref().is_none_or(FlowControl::has_room)
            && self.rate.as_mut().is_none_or(|rate| rate.is_open(now))
    }

    fn wake_at(&self) -> Option<u64> {
        let pause = self.pause.as_ref().map(|pause| pause.until);
        let opens = self.rate.as_ref().and_then(RateLimit::opens_at);
        let heartbeat = self.next_heartbeat.filter(|_| self.is_bound);
        [heartbeat, pause, opens].into_iter().flatten().min()
    }
}

impl Consumer {
    /// Listeners came or went.
    pub fn on_interest(&mut self, router: &Router, now: u64) {
        let Some(push) = &mut self.push else {
            return;
        };
        let is_bound = router.has_interest(&push.subject);
        if is_bound == push.is_bound {
            return;
        }
        push.is_bound = is_bound;
        push.put_off_heartbeat(now);
        // Whoever listens now knows nothing of what went to others.
        if let Some(flow) = &mut push.flow {
            *flow = FlowControl::default();
        }
        self.last_used = now;
    }

    pub fn is_push_bound(&self) -> bool {
        self.push.as_ref().is_some_and(|push| push.is_bound)
    }

    pub(super) fn push_wake_at(&self) -> Option<u64> {
        self.push.as_ref().and_then(Push::wake_at)
    }

    /// The client has read everything up to this request.
    pub fn on_flow_control(&mut self, id: &[u8]) {
        if let Some(flow) = self.push.as_mut().and_then(|push| push.flow.as_mut()) {
            flow.on_answer(id);
        }
    }

    pub(super) fn deliver_push(&mut self, out: &mut Outlet<'_>) {
        for _ in 0..DELIVERIES_PER_TURN {
            let now = out.now.steady;
            if !self.push.as_mut().is_some_and(|push| push.is_ready(now)) {
                return;
            }
            let Next::Message(message) = self.next_message(out) else {
                return;
            };
            if !self.push_out(&message, out) {
                return;
            }
        }
        self.has_more = true;
    }

    /// False if nobody listened, and the message stays the next.
    fn push_out(&mut self, message: &Loaded, out: &mut Outlet<'_>) -> bool {
        let Some(mut push) = self.push.take() else {
            return false;
        };
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
        // What others were sent before says nothing about this client.
        out.wakes.take_congested();
        push.is_bound = self.send(&push.subject, message, &ack, out);
        let now = out.now.steady;
        if push.is_bound {
            self.on_delivered(&delivery, message, left, out);
            push.put_off_heartbeat(now);
            let until = now.saturating_add(CONGESTION_PAUSE_NANOS);
            push.pause = out.wakes.take_congested().map(|client| Pause { client, until });
            if let Some(rate) = &mut push.rate {
                rate.on_sent(size, now);
            }
            if let Some(id) = push
                .flow
                .as_mut()
                .and_then(|flow| flow.on_sent(size, out.stream, &self.name))
            {
                let request = Status::FlowControl.to_block();
                send_block(&push.subject, id.as_bytes(), request, out.router, out.wakes);
            }
        }
        let is_bound = push.is_bound;
        self.push = Some(push);
        is_bound
    }

    /// A sign of life when nothing was sent for a while.
    pub(super) fn tend_listener(&mut self, out: &mut Outlet<'_>) {
        let now = out.now.steady;
        let Some(push) = self.push.as_mut().filter(|push| push.is_bound) else {
            return;
        };
        if push.next_heartbeat.is_none_or(|at| at > now) {
            return;
        }
        push.put_off_heartbeat(now);
        let status = Status::Heartbeat {
            last_consumer: self.progress.delivered.consumer_seq,
            last_stream: self.progress.delivered.stream_seq,
            stalled: push.flow.as_ref().and_then(FlowControl::outstanding),
        };
        push.is_bound = send_block(&push.subject, b"", status.to_block(), out.router, out.wakes);
    }
}
