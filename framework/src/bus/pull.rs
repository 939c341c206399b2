//! A handler's consumer: asked for messages, and given back what nobody has taken.
//!
//! The client's own batches keep what has arrived to themselves, and lose it when they are dropped. So the requests are
//! made here, where what came in answer can be reached.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Client, StatusCode, Subscriber};
use futures_util::StreamExt;
use tokio::sync::{Mutex, mpsc};

use super::{BusError, CONFIRM_TIMEOUT, Incoming, Receipt, received};
use crate::explain::with_causes;

/// How long one pull request waits for messages.
const PULL_EXPIRES: Duration = Duration::from_secs(5);
/// A broker that has nothing to deliver says so this often.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(1);
/// After this long without a word, the broker knows nothing of the request: it was restarted, or another node of its
/// cluster has the consumer now. So long does a handler stand still then.
const SILENCE: Duration = Duration::from_millis(2_500);

/// A handler's consumer.
pub(crate) struct Pull {
    consumer: PullConsumer,
    client: Client,
    jetstream: Context,
    durable: String,
    /// Where the answers to the last request arrive, until it has ended: it outlives a `pull` that was dropped.
    answers: Mutex<Option<Subscriber>>,
}

impl Pull {
    pub(super) fn new(consumer: PullConsumer, client: Client, jetstream: Context, durable: &str) -> Self {
        Self {
            consumer,
            client,
            jetstream,
            durable: durable.to_owned(),
            answers: Mutex::default(),
        }
    }

    /// Asks for up to `limit` messages and passes them on as they arrive, until the request is answered or has expired.
    /// If it is dropped before, what has arrived is still there for [`hand_back`](Self::hand_back).
    pub(crate) async fn pull(&self, limit: usize, to: &mpsc::Sender<Incoming>) -> Result<(), BusError> {
        let mut place = self.answers.lock().await;
        let inbox = self.client.new_inbox();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let answers = place.insert(subscribed.map_err(|error| self.failed(with_causes(&error)))?);
        let request = BatchConfig {
            batch: limit,
            expires: Some(PULL_EXPIRES),
            idle_heartbeat: IDLE_HEARTBEAT,
            ..BatchConfig::default()
        };
        let asked = self.consumer.request_batch(request, inbox.into()).await;
        asked.map_err(|error| self.failed(with_causes(&error)))?;
        for _ in 0..limit {
            // Room first: between the two sides, a message would be in nobody's hands.
            let Ok(room) = to.reserve().await else {
                return Ok(());
            };
            match self.next(answers).await {
                Some(message) => room.send(message?),
                None => break,
            }
        }
        *place = None;
        Ok(())
    }

    /// The next message; `None` when the request has ended, or the broker has forgotten it.
    async fn next(&self, answers: &mut Subscriber) -> Option<Result<Incoming, BusError>> {
        loop {
            let answer = tokio::time::timeout(SILENCE, answers.next()).await;
            let message = answer.ok().flatten()?;
            return match message.status.unwrap_or(StatusCode::OK) {
                StatusCode::OK => Some(self.incoming(message)),
                StatusCode::IDLE_HEARTBEAT => continue,
                StatusCode::TIMEOUT | StatusCode::NOT_FOUND => None,
                status => {
                    let said = message.description.unwrap_or_default();
                    Some(Err(
                        self.failed(format!("the broker ended the pull: {status} {said}"))
                    ))
                }
            };
        }
    }

    /// Ends the request that was left under way, and gives back what it has brought: to be delivered again after `delay`.
    pub(crate) async fn hand_back(&self, delay: Duration) {
        let Some(mut answers) = self.answers.lock().await.take() else {
            return;
        };
        let given_back = async {
            // Once the broker knows that nobody listens it ends the request; up to then, it may have sent more.
            if answers.drain().await.is_err() {
                return;
            }
            while let Some(Ok(incoming)) = self.next(&mut answers).await {
                incoming.receipt.nak(delay).await;
            }
        };
        // With the broker away it redelivers by itself.
        let _ = tokio::time::timeout(CONFIRM_TIMEOUT, given_back).await;
    }

    /// Up to this sequence of the stream, everything is acked or terminated, whoever did it.
    pub(crate) async fn settled_up_to(&self) -> Result<i64, BusError> {
        let info = self.consumer.get_info().await;
        let info = info.map_err(|error| self.failed(with_causes(&error)))?;
        Ok(i64::try_from(info.ack_floor.stream_sequence).unwrap_or(i64::MAX))
    }

    fn incoming(&self, message: async_nats::Message) -> Result<Incoming, BusError> {
        let reply = message.reply.as_ref().map(ToString::to_string);
        let reply = reply.ok_or_else(|| self.failed("a delivery without a reply subject".to_owned()))?;
        let message = async_nats::jetstream::Message {
            message,
            context: self.jetstream.clone(),
        };
        let info = message
            .info()
            .map_err(|error| self.failed(format!("a delivery without its JetStream reply: {error}")))?;
        Ok(Incoming {
            stream: info.stream.to_owned(),
            stream_seq: i64::try_from(info.stream_sequence).unwrap_or(i64::MAX),
            stored_at: info.published.unix_timestamp_nanos(),
            delivered: info.delivered,
            subject: message.subject.to_string(),
            headers: received(message.headers.as_ref()),
            payload: message.payload.clone(),
            receipt: Receipt::new(self.client.clone(), reply),
        })
    }

    fn failed(&self, reason: String) -> BusError {
        BusError::Consumer {
            consumer: self.durable.clone(),
            reason,
        }
    }
}
