//! What clients say about deliveries, and what is said about it in turn.

use bytes::Bytes;

use super::Stream;
use super::commit::Reply;
use crate::jetstream::ack::Ack;
use crate::jetstream::advisory::{About, Delivered, Event};
use crate::jetstream::api;
use crate::jetstream::clock::Now;
use crate::jetstream::config::Retention;
use crate::jetstream::consumer::{GivenUp, frames};
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
            Ack::Done => {
                self.sample(id, seq, now);
                self.settle(id, seq, now);
            }
            Ack::Progress => consumer.in_progress(seq, now),
            Ack::Nak { delay } => {
                let given_up = consumer.nak(seq, delay, now);
                if let Some(delivered) = self.delivered(id, seq) {
                    self.tell_about(id, |about| about.refused(delivered));
                }
                if let Some(given_up) = given_up {
                    self.on_given_up(id, given_up);
                }
            }
            Ack::Term { reason } => self.terminate(id, seq, reason, now),
            Ack::Next { request } => {
                self.sample(id, seq, now);
                self.settle(id, seq, now);
                self.pull(name, &reply, request, now);
                return;
            }
        }
        if !reply.is_empty() {
            self.sync_owed |= !self.confirms_early();
            self.reply(Reply::Confirmed { to: reply });
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only the torture harness makes this mistake")]
    fn confirms_early(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn confirms_early(&self) -> bool {
        self.acks_are_late
    }

    pub(super) fn pull(&mut self, name: &str, reply: &Bytes, body: &[u8], now: Now) {
        let Some(consumer) = self.consumer(name) else {
            return;
        };
        if let Err(status) = consumer.request(reply.clone(), body, now) {
            frames::send_status(reply, &status, &self.around.router, &mut self.wakes);
        }
    }

    fn settle(&mut self, id: ConsumerId, seq: Seq, now: Now) {
        if self.config.removes_settled() && self.store.poison().is_some() {
            // The message could not be taken out, and settled it would stay for ever. It will be delivered again.
            return;
        }
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let mut seqs = consumer.ack(seq, now);
        if seqs.is_empty() && self.config.retention == Retention::WorkQueue {
            // It was given up, and is done after all.
            self.release(&[seq]);
        }
        self.release(&seqs);
        // A message that is gone is settled. Two records of the one fact might reach the disk one without the other.
        seqs.retain(|&seq| self.store.index().get(seq).is_some());
        if !seqs.is_empty() {
            self.log_lazily(&Record::Settled { consumer: id, seqs });
        }
    }

    fn terminate(&mut self, id: ConsumerId, seq: Seq, reason: &str, now: Now) {
        let delivered = self.delivered(id, seq);
        self.settle(id, seq, now);
        if let Some(delivered) = delivered {
            self.tell_about(id, |about| about.terminated(delivered, reason));
        }
    }

    fn delivered(&self, id: ConsumerId, seq: Seq) -> Option<Delivered> {
        let pending = self.consumers.get(&id)?.progress.pending.get(&seq)?;
        Some(Delivered {
            consumer_seq: pending.consumer_seq,
            stream_seq: seq,
            deliveries: pending.count,
        })
    }

    /// The message used up its deliveries. It stays in the stream; the consumer is done with it.
    pub(super) fn on_given_up(&mut self, id: ConsumerId, message: GivenUp) {
        self.log_lazily(&Record::Settled {
            consumer: id,
            seqs: vec![message.seq],
        });
        self.tell_about(id, |about| about.gave_up(message.seq, message.deliveries));
    }

    /// Some of the acknowledgements, as the configuration says, are told about.
    fn sample(&mut self, id: ConsumerId, seq: Seq, now: Now) {
        let Some(consumer) = self.consumers.get(&id) else {
            return;
        };
        let percent = consumer.config.sample_percent();
        if percent == 0 || rand::random_range(0..100) >= percent {
            return;
        }
        let sent = consumer.progress.pending.get(&seq).map(|pending| pending.time);
        if let (Some(sent), Some(delivered)) = (sent, self.delivered(id, seq)) {
            self.tell_about(id, |about| {
                about.acknowledged(delivered, now.wall.saturating_sub(sent))
            });
        }
    }

    pub(super) fn tell_about(&mut self, id: ConsumerId, event: impl FnOnce(About<'_>) -> Event) {
        let Some(consumer) = self.consumers.get(&id) else {
            return;
        };
        let event = event(About {
            stream: &self.config.name,
            consumer: &consumer.name,
            account: &self.around.account,
            now: self.around.clock.now().wall,
        });
        self.tell(event);
    }

    pub(super) fn tell(&self, event: Event) {
        self.send_internally(event.subject.into(), 0, event.body.into());
    }

    /// Publishes as the server itself does: to those who listen, and to the stream that stores it.
    pub(super) fn send_internally(&self, subject: Bytes, header_len: usize, body: Bytes) {
        let weight = body.len();
        let call = api::Call::Publish {
            subject,
            header_len,
            body,
        };
        self.around.internal.push(call, weight);
    }
}
