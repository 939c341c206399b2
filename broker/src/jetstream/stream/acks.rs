//! What clients say about deliveries, and what is said about it in turn.

use bytes::Bytes;

use super::Stream;
use super::commit::Reply;
use crate::jetstream::ack::Ack;
use crate::jetstream::advisory::{self, Fate};
use crate::jetstream::api;
use crate::jetstream::clock::Now;
use crate::jetstream::consumer::{GivenUp, delivery};
use crate::store::record::ConsumerId;
use crate::store::{Record, Seq};

impl Stream {
    pub(super) fn ack(&mut self, name: &str, seq: Seq, reply: Bytes, payload: &[u8], now: Now) {
        let Some(consumer) = self.consumer(name) else {
            return;
        };
        // An ack for what was never delivered is nobody's.
        let Some(ack) = Ack::parse(payload).filter(|_| seq <= consumer.progress.delivered.stream_seq) else {
            return;
        };
        let id = consumer.id;
        match ack {
            Ack::Done => self.settle(id, seq, now),
            Ack::Progress => consumer.in_progress(seq, now),
            Ack::Nak { delay } => {
                if let Some(given_up) = consumer.nak(seq, delay, now) {
                    self.on_given_up(id, given_up);
                }
            }
            Ack::Term { reason } => self.terminate(id, seq, reason, now),
            Ack::Next { request } => {
                self.settle(id, seq, now);
                self.pull(name, &reply, request, now);
                return;
            }
        }
        if !reply.is_empty() {
            self.sync_owed = true;
            self.reply(Reply::Confirmed { to: reply });
        }
    }

    pub(super) fn pull(&mut self, name: &str, reply: &Bytes, body: &[u8], now: Now) {
        let Some(consumer) = self.consumer(name) else {
            return;
        };
        if let Err(status) = consumer.request(reply.clone(), body, now) {
            delivery::send_block(reply, &status, &self.around.router, &mut self.wakes);
        }
    }

    fn settle(&mut self, id: ConsumerId, seq: Seq, now: Now) {
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let seqs = consumer.ack(seq, now);
        if !seqs.is_empty() {
            self.log_lazily(&Record::Settled { consumer: id, seqs });
        }
    }

    fn terminate(&mut self, id: ConsumerId, seq: Seq, reason: &str, now: Now) {
        let pending = self
            .consumers
            .get(&id)
            .and_then(|consumer| consumer.progress.pending.get(&seq).copied());
        self.settle(id, seq, now);
        if let Some(pending) = pending {
            let fate = Fate::Terminated {
                consumer_seq: pending.consumer_seq,
                reason,
            };
            self.advise(id, seq, pending.count, &fate);
        }
    }

    /// The message used up its deliveries. It stays in the stream; the consumer is done with it.
    pub(super) fn on_given_up(&mut self, id: ConsumerId, message: GivenUp) {
        self.log_lazily(&Record::Settled {
            consumer: id,
            seqs: vec![message.seq],
        });
        self.advise(id, message.seq, message.deliveries, &Fate::MaxDeliveries);
    }

    fn advise(&mut self, id: ConsumerId, seq: Seq, deliveries: u32, fate: &Fate<'_>) {
        let Some(consumer) = self.consumers.get(&id) else {
            return;
        };
        let now = self.around.clock.now();
        let (subject, body) =
            advisory::on_message(&self.config.name, &consumer.name, seq, deliveries, fate, now.wall);
        let weight = body.len();
        self.around
            .advisories
            .push(api::Call::Advise { subject, body }, weight);
    }
}
