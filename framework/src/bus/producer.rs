//! What is published outside of any transaction: by a producer that keeps no state of its own.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{DeleteStreamError, DeleteStreamErrorKind};

use super::{Bus, BusError};
use crate::explain::with_causes;
use crate::message::Message;
use crate::store::StoreError;
use crate::store::outbox::OutboxRow;
use crate::streams;

impl Bus {
    /// Publishes in order, without a transaction, and returns once the broker has stored every message. Its stream is
    /// made if it is missing. A handler's messages go through [`Cx::publish`](crate::Cx::publish), a service's through
    /// [`Tx::publish`](crate::Tx::publish): those commit with the work that they tell of.
    ///
    /// # Errors
    /// At the first message that can't be encoded, or was not confirmed; others may have been stored.
    pub async fn publish<M: Message>(&self, messages: &[M]) -> Result<(), BusError> {
        let unfit = |error: StoreError| BusError::NotTaken {
            subject: M::SUBJECT.to_owned(),
            reason: with_causes(&error),
        };
        let rows: Result<Vec<_>, _> = messages.iter().map(OutboxRow::of).collect();
        self.ensure_stream(&streams::for_subject(M::SUBJECT)).await?;
        self.publish_all(&rows.map_err(unfit)?)
            .await
            .into_iter()
            .collect()
    }

    /// Removes a stream with all that it holds, if there is one.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses.
    pub async fn delete_stream(&self, stream: &str) -> Result<(), BusError> {
        match self.jetstream.delete_stream(stream).await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(BusError::Stream {
                stream: stream.to_owned(),
                reason: with_causes(&error),
            }),
        }
    }
}

fn is_absent(error: &DeleteStreamError) -> bool {
    matches!(error.kind(), DeleteStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
