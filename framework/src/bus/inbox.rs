//! An inbox of one's own, for answers.

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Bus, BusError, received};
use crate::headers::Headers;

/// A subject that nobody else has, and what arrives there.
pub(crate) struct Inbox {
    subject: String,
    arrivals: Subscriber,
}

impl Bus {
    pub(crate) async fn inbox(&self) -> Result<Inbox, BusError> {
        let subject = self.client.new_inbox();
        let subscribed = self.client.subscribe(subject.clone()).await;
        let arrivals = subscribed.map_err(|error| BusError::NotConfirmed {
            subject: subject.clone(),
            reason: error.to_string(),
        })?;
        Ok(Inbox { subject, arrivals })
    }
}

impl Inbox {
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The next message; `None` once the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<(Headers, Bytes)> {
        let message = self.arrivals.next().await?;
        Some((received(message.headers.as_ref()), message.payload))
    }
}
