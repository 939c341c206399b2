//! What an account may keep in streams: asked before one is made and before a message is taken in.

use bytes::Bytes;
use serde_json::json;

use super::Shared;
use super::api_error::{self, ApiError};
use super::handle::{Snapshot, StreamHandle};
use crate::router::{Message, Wakes};

impl Shared {
    pub(super) fn may_create_stream(&self) -> Result<(), ApiError> {
        match self.limits.max_streams {
            Some(max) if self.handles().len() >= max => Err(api_error::MAX_STREAMS),
            _ => Ok(()),
        }
    }

    /// A consumer that is there may be created again: that changes it or does nothing.
    pub(super) fn may_create_consumer(
        &self,
        stream: &StreamHandle,
        name: Option<&str>,
    ) -> Result<(), ApiError> {
        let is_new = name.is_none_or(|name| !stream.has_consumer(name));
        let count = || {
            self.handles()
                .iter()
                .map(|stream| stream.snapshot().consumers)
                .sum::<usize>()
        };
        match self.limits.max_consumers {
            Some(max) if is_new && count() >= max => Err(api_error::MAX_CONSUMERS),
            _ => Ok(()),
        }
    }

    /// Counts what streams had at the end of their last turn: what is on its way then still gets in.
    pub(super) fn has_room(&self, stream: &StreamHandle) -> bool {
        if self.limits.max_storage.is_none() && self.limits.max_memory.is_none() {
            return true;
        }
        let snapshots: Vec<_> = self.handles().iter().map(StreamHandle::snapshot).collect();
        let (max, used) = if stream.snapshot().is_in_memory {
            (
                self.limits.max_memory,
                snapshots.iter().map(Snapshot::memory_bytes).sum::<u64>(),
            )
        } else {
            (
                self.limits.max_storage,
                snapshots.iter().map(Snapshot::storage_bytes).sum(),
            )
        };
        max.is_none_or(|max| used < max)
    }

    /// Answers a publish that there is no room for.
    pub(super) fn refuse_publish(&self, stream: &StreamHandle, message: &Message<'_>) {
        let error = json!({"error": api_error::ACCOUNT_RESOURCES, "stream": stream.name(), "seq": 0});
        let body = Bytes::from(error.to_string());
        let answer = Message {
            subject: message.reply,
            reply: b"",
            header_len: 0,
            body: &body,
            backing: &body,
        };
        if !message.reply.is_empty() {
            self.around
                .router
                .publish(message.reply, &answer, &mut Wakes::default());
        }
    }
}
