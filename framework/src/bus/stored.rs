//! A look into a stream, at one message.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;

use super::{Bus, BusError, received};
use crate::explain::with_causes;
use crate::headers::Headers;

/// One message as its stream keeps it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) headers: Headers,
    pub(crate) payload: Bytes,
    /// As in [`Incoming`].
    pub(crate) stored_at: i128,
}

impl Bus {
    /// A message as its stream keeps it; `None` when it is gone, or the stream is.
    pub(crate) async fn stored(&self, stream: &str, seq: u64) -> Result<Option<Stored>, BusError> {
        let failed = |reason| BusError::Stream {
            stream: stream.to_owned(),
            reason,
        };
        let found = match self.jetstream.get_stream(stream).await {
            Ok(found) => found.get_raw_message(seq).await,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal)
                    if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    return Ok(None);
                }
                _ => return Err(failed(with_causes(&error))),
            },
        };
        match found {
            Ok(message) => Ok(Some(Stored {
                subject: message.subject.to_string(),
                headers: received(Some(&message.headers)),
                payload: message.payload,
                stored_at: message.time.unix_timestamp_nanos(),
            })),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(with_causes(&error))),
        }
    }
}
