//! What the broker knows about its streams and consumers.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{ConsumerErrorKind, RawMessageErrorKind};

use super::{Bus, BusError, age};
use crate::explain::with_causes;

/// A durable consumer as it stands on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerFacts {
    /// What it has still to do.
    pub(crate) backlog: u64,
    pub(crate) ack_wait: Duration,
    /// What takes the place of `ack_wait`, where an operator has set it.
    pub(crate) backoff: Vec<Duration>,
    /// Negative: as often as it takes.
    pub(crate) max_deliver: i64,
}

impl Bus {
    /// The consumer, if there is one.
    pub(crate) async fn consumer_facts(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<Option<ConsumerFacts>, BusError> {
        let found: Result<PullConsumer, _> = self.jetstream.get_consumer_from_stream(durable, stream).await;
        let consumer = match found {
            Ok(consumer) => consumer,
            Err(error) => {
                return match error.kind() {
                    ConsumerErrorKind::JetStream(said)
                        if said.error_code() == ErrorCode::CONSUMER_NOT_FOUND =>
                    {
                        Ok(None)
                    }
                    _ => Err(BusError::Consumer {
                        consumer: durable.to_owned(),
                        reason: with_causes(&error),
                    }),
                };
            }
        };
        let info = consumer.cached_info();
        Ok(Some(ConsumerFacts {
            backlog: info.num_pending + info.num_ack_pending as u64,
            ack_wait: info.config.ack_wait,
            backoff: info.config.backoff.clone(),
            max_deliver: info.config.max_deliver,
        }))
    }

    /// How long the stream keeps a message; zero: for ever.
    pub(crate) async fn max_age(&self, stream: &str) -> Result<Duration, BusError> {
        let found = self.jetstream.get_stream(stream).await;
        let found = found.map_err(|error| BusError::Stream {
            stream: stream.to_owned(),
            reason: with_causes(&error),
        })?;
        Ok(found.cached_info().config.max_age)
    }

    /// How much the consumer `durable` has still to do.
    ///
    /// # Errors
    /// When the broker does not answer, or has no such consumer.
    pub async fn backlog(&self, stream: &str, durable: &str) -> Result<u64, BusError> {
        let consumer: PullConsumer = self
            .jetstream
            .get_consumer_from_stream(durable, stream)
            .await
            .map_err(|error| BusError::Consumer {
                consumer: durable.to_owned(),
                reason: with_causes(&error),
            })?;
        let info = consumer.cached_info();
        Ok(info.num_pending + info.num_ack_pending as u64)
    }

    /// How long the oldest message that the consumer has still to settle has been in its stream; zero when there is none.
    pub(crate) async fn lag(&self, stream: &str, durable: &str) -> Result<Duration, BusError> {
        let failed = |reason| BusError::Consumer {
            consumer: durable.to_owned(),
            reason,
        };
        let found: Result<PullConsumer, _> = self.jetstream.get_consumer_from_stream(durable, stream).await;
        let consumer = found.map_err(|error| failed(with_causes(&error)))?;
        let info = consumer.cached_info();
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return Ok(Duration::ZERO);
        }
        let source = self.jetstream.get_stream_no_info(stream).await;
        let source = source.map_err(|error| failed(with_causes(&error)))?;
        // Everything up to the floor is settled, and what follows it is not.
        let (subject, after) = (&info.config.filter_subject, info.ack_floor.stream_sequence + 1);
        match source.get_first_raw_message_by_subject(subject, after).await {
            Ok(oldest) => Ok(age(oldest.time.unix_timestamp_nanos(), SystemTime::now())),
            // Settled, or gone from the stream, since its consumer was asked.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(Duration::ZERO),
            Err(error) => Err(failed(with_causes(&error))),
        }
    }

    /// How many messages the stream holds.
    ///
    /// # Errors
    /// When the broker does not answer, or has no such stream.
    pub async fn messages_in(&self, stream: &str) -> Result<u64, BusError> {
        let found = self.jetstream.get_stream(stream).await;
        let found = found.map_err(|error| BusError::Stream {
            stream: stream.to_owned(),
            reason: with_causes(&error),
        })?;
        Ok(found.cached_info().state.messages)
    }
}
