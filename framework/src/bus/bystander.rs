//! What the test kit does on the broker beside the worker: publish as any client would, and read what a stream holds.

use bytes::Bytes;

use super::{Bus, BusError};
use crate::explain::with_causes;
use crate::headers::{self, Headers};
use crate::streams;

impl Bus {
    /// Publishes as a client that knows nothing of outboxes, and waits until the stream has the message.
    pub(crate) async fn publish_bare(&self, subject: &str, id: &str, payload: Bytes) -> Result<(), BusError> {
        let mut map = async_nats::HeaderMap::new();
        map.insert(headers::MESSAGE, id);
        let published = self
            .jetstream
            .publish_with_headers(subject.to_owned(), map, payload);
        let confirmed = async { published.await?.await };
        confirmed.await.map(drop).map_err(|error| BusError::NotConfirmed {
            subject: subject.to_owned(),
            reason: with_causes(&error),
        })
    }

    /// Every message that the stream of `subject` holds on it, in order; none when there is no such stream.
    pub(crate) async fn held_on(&self, subject: &str) -> Result<Vec<(Headers, Bytes)>, BusError> {
        let name = streams::for_subject(subject).name;
        let failed = |reason| BusError::Stream {
            stream: name.clone(),
            reason,
        };
        let Ok(stream) = self.jetstream.get_stream(&name).await else {
            return Ok(Vec::new());
        };
        let state = &stream.cached_info().state;
        let mut held = Vec::new();
        // Of an empty stream, the first sequence is past the last.
        for seq in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(seq).await;
            let message = message.map_err(|error| failed(with_causes(&error)))?;
            if message.subject.as_str() == subject {
                held.push((super::received(Some(&message.headers)), message.payload));
            }
        }
        Ok(held)
    }
}
