//! Messages go into the log, alone or as parts of a batch.

use super::record::Part;
use super::{Nanos, Record, Seq, StoreError, StoredMessage, StreamStore};

impl StreamStore {
    /// Appends a message; durable after the next [`StreamStore::sync`].
    #[cfg(test)]
    pub fn append_message(
        &mut self,
        time: Nanos,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Seq, StoreError> {
        self.append_part(None, time, subject, headers, payload)
    }

    /// As [`StreamStore::append_message`], of a batch whose messages follow one another with nothing in between.
    pub fn append_part(
        &mut self,
        part: Option<Part>,
        time: Nanos,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Seq, StoreError> {
        let message = StoredMessage {
            seq: self.index.last_seq() + 1,
            // Times never go back within a stream, so that messages can be found by time.
            time: time.max(self.index.last_time()),
            subject,
            headers,
            payload,
            part,
        };
        self.append_stored(&message)
    }

    /// Appends a message with the sequence and time that it has elsewhere; both may only grow.
    pub fn append_copy(
        &mut self,
        seq: Seq,
        time: Nanos,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Seq, StoreError> {
        let message = StoredMessage {
            seq,
            time,
            subject,
            headers,
            payload,
            part: None,
        };
        self.append_stored(&message)
    }

    fn append_stored(&mut self, message: &StoredMessage<'_>) -> Result<Seq, StoreError> {
        let position = self.log.append(&Record::Message(*message))?;
        self.index.insert(message, position);
        self.open_batches
            .extend(message.part.filter(|part| part.at == 0).map(|_| message.seq));
        Ok(message.seq)
    }

    /// Gives the next sequence away for a message that is not kept; durable after the next [`StreamStore::sync`].
    pub fn skip_message(&mut self) -> Result<Seq, StoreError> {
        self.index.skip_to(self.index.last_seq() + 1);
        self.log.append(&self.state_record())?;
        Ok(self.index.last_seq())
    }

    /// Says of the batches that are on disk now that they are. It is durable with whatever comes next; until then they
    /// count because nothing of them is missing.
    pub(super) fn say_batches(&mut self) -> Result<(), StoreError> {
        if self.open_batches.is_empty() {
            return Ok(());
        }
        let whole = Record::WholeBatches(std::mem::take(&mut self.open_batches));
        self.log.append(&whole).map(|_| ())
    }
}
