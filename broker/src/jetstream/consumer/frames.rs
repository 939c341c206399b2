//! What goes out on the wire: statuses, ack subjects, headers without payload.

use bytes::{Bytes, BytesMut};

use super::Status;
use crate::jetstream::ack;
use crate::protocol::headers;
use crate::protocol::write::decimal;
use crate::router::{Message, Router, Wakes};
use crate::store::{Loaded, Nanos};

/// A status to `to`; false if nobody listens.
pub fn send_status(to: &[u8], status: &Status, router: &Router, wakes: &mut Wakes) -> bool {
    send_block(to, b"", status.to_block(), router, wakes)
}

/// A header block and nothing else.
pub fn send_block(to: &[u8], reply: &[u8], block: Vec<u8>, router: &Router, wakes: &mut Wakes) -> bool {
    let block = Bytes::from(block);
    let message = Message {
        subject: to,
        reply,
        header_len: block.len(),
        body: &block,
        backing: &block,
    };
    router.publish(to, &message, wakes) > 0
}

/// The headers with the payload's size in its place.
pub fn headers_only(message: &Loaded) -> (usize, Bytes) {
    let payload_len = message.body.len() - message.header_len;
    let size = format!("Nats-Msg-Size: {payload_len}\r\n");
    let block = headers::with_lines(&message.body[..message.header_len], &size);
    (block.len(), block.into())
}

/// A message with another line at the end of its headers.
pub fn with_line(header_len: usize, body: &[u8], line: &str) -> (usize, Bytes) {
    let (block, payload) = body.split_at(header_len);
    let mut block = headers::with_lines(block, line);
    let header_len = block.len();
    block.extend_from_slice(payload);
    (header_len, block.into())
}

/// The subject that acknowledges a delivery, which tells what it is as well.
pub fn ack_subject(
    stream: &str,
    consumer: &str,
    count: u32,
    message: &Loaded,
    consumer_seq: u64,
    num_pending: u64,
) -> BytesMut {
    const NUMBERS_LEN: usize = 5 * 21;
    let prefix = ack::PREFIX;
    let mut subject = BytesMut::with_capacity(prefix.len() + stream.len() + consumer.len() + NUMBERS_LEN);
    subject.extend_from_slice(prefix);
    subject.extend_from_slice(stream.as_bytes());
    subject.extend_from_slice(b".");
    subject.extend_from_slice(consumer.as_bytes());
    let time: u64 = Nanos::unsigned_abs(message.time);
    for number in [u64::from(count), message.seq, consumer_seq, time, num_pending] {
        subject.extend_from_slice(b".");
        decimal(&mut subject, usize::try_from(number).unwrap_or(usize::MAX));
    }
    subject
}
