//! DIRECT.GET: a stored message as it is, with its place told in headers.

use bytes::Bytes;

use super::Stream;
use super::requests::GetRequest;
use crate::jetstream::json;
use crate::protocol::headers;
use crate::router::Message;
use crate::store::Loaded;

impl Stream {
    pub(super) fn direct_get(&mut self, reply: &Bytes, last_by_subject: Option<String>, body: &[u8]) {
        let (header_len, block) = match self.direct_lookup(last_by_subject, body) {
            Ok(message) => self.direct_frame(&message),
            Err((code, text)) => {
                let status = headers::status(code, text, &[]);
                (status.len(), status)
            }
        };
        let body = Bytes::from(block);
        let message = Message {
            subject: reply,
            reply: b"",
            header_len,
            body: &body,
            backing: &body,
        };
        self.around.router.publish(reply, &message, &mut self.wakes);
    }

    fn direct_lookup(
        &mut self,
        last_by_subject: Option<String>,
        body: &[u8],
    ) -> Result<Loaded, (u16, &'static str)> {
        let request = match last_by_subject {
            Some(last_by_subj) => GetRequest {
                last_by_subj,
                ..GetRequest::default()
            },
            None if body.is_empty() => return Err((408, "Empty Request")),
            None => json::decode(body).map_err(|_| (408, "Malformed Request"))?,
        };
        let found = self.find(&request).map_err(|_| (408, "Bad Request"))?;
        // What is not durable yet may not be shown.
        found
            .filter(|message| message.seq <= self.visible)
            .ok_or((404, "Message Not Found"))
    }

    fn direct_frame(&self, message: &Loaded) -> (usize, Vec<u8>) {
        let (own, payload) = message.body.split_at(message.header_len);
        let mut block = match own {
            [] => b"NATS/1.0\r\n".to_vec(),
            // Original headers come first, without the blank line that closes them.
            own => headers::open_block(own).to_vec(),
        };
        let subject = String::from_utf8_lossy(&message.subject);
        let place = format!(
            "Nats-Stream: {}\r\nNats-Subject: {subject}\r\nNats-Sequence: {}\r\nNats-Time-Stamp: {}\r\n\r\n",
            self.config.name,
            message.seq,
            json::time(message.time),
        );
        block.extend_from_slice(place.as_bytes());
        let header_len = block.len();
        block.extend_from_slice(payload);
        (header_len, block)
    }
}
