//! The bodies of log records: what can happen to a stream.
//!
//! ```text
//! 1 Message        seq u64, time i64, subject_len u16, header_len u32, subject, headers, payload
//! 2 Removed        seq u64 …                                    messages taken out one by one
//! 3 Trimmed        first_seq u64                                everything below is gone
//! 4 Delivered      consumer u32, (stream_seq u64, consumer_seq u64, count u32, time i64) …
//! 5 Settled        consumer u32, stream_seq u64 …               acked, terminated or given up
//! 6 Consumer       consumer u32, JSON                           created or changed
//! 7 ConsumerState  consumer u32, JSON                           replaces what earlier records say
//! 8 ConsumerGone   consumer u32
//! 9 StreamState    first_seq u64, last_seq u64                  at the head of each segment
//! 10 MessageIds    (seq u64, time i64, len u16, id) …           dedupe ids whose message's segment is gone
//! 11 Origins        JSON                                       how far each source was copied
//! 12 Message        at u16, of u16, then as 1                  the at-th, from 0, of a batch that counts as a whole
//! 13 WholeBatches   first_seq u64 …                            batches of this segment that are on disk as wholes
//! ```

use bytes::Buf;

use super::{Nanos, Seq};

/// Names a consumer within its stream's log; never reused.
pub type ConsumerId = u32;

/// Everything of a Message body that is not subject, headers or payload.
pub const MESSAGE_OVERHEAD: usize = 8 + 8 + 2 + 4;
/// What a message of a batch has besides.
pub const PART_LEN: usize = 2 + 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    Message(StoredMessage<'a>),
    Removed(Vec<Seq>),
    Trimmed {
        first_seq: Seq,
    },
    Delivered {
        consumer: ConsumerId,
        deliveries: Vec<Delivery>,
    },
    Settled {
        consumer: ConsumerId,
        seqs: Vec<Seq>,
    },
    Consumer {
        consumer: ConsumerId,
        json: &'a [u8],
    },
    ConsumerState {
        consumer: ConsumerId,
        json: &'a [u8],
    },
    ConsumerGone {
        consumer: ConsumerId,
    },
    StreamState {
        first_seq: Seq,
        last_seq: Seq,
    },
    MessageIds(Vec<MessageId<'a>>),
    Origins {
        json: &'a [u8],
    },
    /// By the sequence of the first message of each.
    WholeBatches(Vec<Seq>),
}

/// A message's place in the batch that it was published with; `of` messages with sequences in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub at: u16,
    pub of: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    pub seq: Seq,
    pub time: Nanos,
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// Without it the message counts alone.
    pub part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub stream_seq: Seq,
    pub consumer_seq: u64,
    /// How often the message has now been delivered.
    pub count: u32,
    pub time: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId<'a> {
    pub seq: Seq,
    pub time: Nanos,
    pub id: &'a [u8],
}

impl StoredMessage<'_> {
    /// The body without the payload.
    pub fn envelope_len(&self) -> usize {
        let part = self.part.map_or(0, |_| PART_LEN);
        part + MESSAGE_OVERHEAD + self.subject.len() + self.headers.len()
    }

    pub fn body_len(&self) -> usize {
        self.envelope_len() + self.payload.len()
    }

    /// Which batch it belongs to: the sequence of that batch's first message, and how many there are.
    pub fn batch(&self) -> Option<(Seq, u16)> {
        let part = self.part?;
        Some((self.seq.checked_sub(part.at.into())?, part.of))
    }
}

impl Record<'_> {
    pub fn kind(&self) -> u8 {
        match self {
            Record::Message(StoredMessage { part: None, .. }) => 1,
            Record::Message(_) => 12,
            Record::Removed(_) => 2,
            Record::Trimmed { .. } => 3,
            Record::Delivered { .. } => 4,
            Record::Settled { .. } => 5,
            Record::Consumer { .. } => 6,
            Record::ConsumerState { .. } => 7,
            Record::ConsumerGone { .. } => 8,
            Record::StreamState { .. } => 9,
            Record::MessageIds(_) => 10,
            Record::Origins { .. } => 11,
            Record::WholeBatches(_) => 13,
        }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Message(message) => encode_message(message, out),
            Record::Removed(seqs) | Record::WholeBatches(seqs) => put_seqs(out, seqs),
            Record::Trimmed { first_seq } => out.extend_from_slice(&first_seq.to_le_bytes()),
            Record::Delivered { consumer, deliveries } => {
                out.extend_from_slice(&consumer.to_le_bytes());
                for delivery in deliveries {
                    out.extend_from_slice(&delivery.stream_seq.to_le_bytes());
                    out.extend_from_slice(&delivery.consumer_seq.to_le_bytes());
                    out.extend_from_slice(&delivery.count.to_le_bytes());
                    out.extend_from_slice(&delivery.time.to_le_bytes());
                }
            }
            Record::Settled { consumer, seqs } => {
                out.extend_from_slice(&consumer.to_le_bytes());
                put_seqs(out, seqs);
            }
            Record::Consumer { consumer, json } | Record::ConsumerState { consumer, json } => {
                out.extend_from_slice(&consumer.to_le_bytes());
                out.extend_from_slice(json);
            }
            Record::ConsumerGone { consumer } => out.extend_from_slice(&consumer.to_le_bytes()),
            Record::StreamState { first_seq, last_seq } => put_seqs(out, &[*first_seq, *last_seq]),
            Record::Origins { json } => out.extend_from_slice(json),
            Record::MessageIds(ids) => {
                for MessageId { seq, time, id } in ids {
                    out.extend_from_slice(&seq.to_le_bytes());
                    out.extend_from_slice(&time.to_le_bytes());
                    put_short_len(out, id.len());
                    out.extend_from_slice(id);
                }
            }
        }
    }

    /// `None` when the body does not follow the layout of its kind.
    pub fn decode(kind: u8, mut body: &[u8]) -> Option<Record<'_>> {
        Some(match kind {
            1 => Record::Message(decode_message(body, None)?),
            2 => Record::Removed(get_seqs(body)?),
            3 => Record::Trimmed {
                first_seq: body.try_get_u64_le().ok()?,
            },
            4 => {
                let consumer = body.try_get_u32_le().ok()?;
                Record::Delivered {
                    consumer,
                    deliveries: get_deliveries(body)?,
                }
            }
            5 => Record::Settled {
                consumer: body.try_get_u32_le().ok()?,
                seqs: get_seqs(body)?,
            },
            6 => Record::Consumer {
                consumer: body.try_get_u32_le().ok()?,
                json: body,
            },
            7 => Record::ConsumerState {
                consumer: body.try_get_u32_le().ok()?,
                json: body,
            },
            8 => Record::ConsumerGone {
                consumer: body.try_get_u32_le().ok()?,
            },
            9 => {
                let first_seq = body.try_get_u64_le().ok()?;
                Record::StreamState {
                    first_seq,
                    last_seq: body.try_get_u64_le().ok()?,
                }
            }
            10 => Record::MessageIds(get_message_ids(body)?),
            11 => Record::Origins { json: body },
            12 => {
                let at = body.try_get_u16_le().ok()?;
                let of = body.try_get_u16_le().ok()?;
                let part = Part { at, of };
                Record::Message(decode_message(body, Some(part)).filter(|_| at < of)?)
            }
            13 => Record::WholeBatches(get_seqs(body)?),
            _ => return None,
        })
    }
}

fn encode_message(message: &StoredMessage<'_>, out: &mut Vec<u8>) {
    out.reserve(message.body_len());
    if let Some(part) = message.part {
        out.extend_from_slice(&part.at.to_le_bytes());
        out.extend_from_slice(&part.of.to_le_bytes());
    }
    out.extend_from_slice(&message.seq.to_le_bytes());
    out.extend_from_slice(&message.time.to_le_bytes());
    put_short_len(out, message.subject.len());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "headers are bounded by max_payload, far below 4 GiB"
    )]
    out.extend_from_slice(&(message.headers.len() as u32).to_le_bytes());
    out.extend_from_slice(message.subject);
    out.extend_from_slice(message.headers);
    out.extend_from_slice(message.payload);
}

fn decode_message(mut body: &[u8], part: Option<Part>) -> Option<StoredMessage<'_>> {
    let seq = body.try_get_u64_le().ok()?;
    let time = body.try_get_i64_le().ok()?;
    let subject_len = usize::from(body.try_get_u16_le().ok()?);
    let header_len = body.try_get_u32_le().ok()? as usize;
    let (subject, rest) = body.split_at_checked(subject_len)?;
    let (headers, payload) = rest.split_at_checked(header_len)?;
    Some(StoredMessage {
        seq,
        time,
        subject,
        headers,
        payload,
        part,
    })
}

/// Subjects and ids come from control lines and headers, which are far shorter than 64 KiB.
fn put_short_len(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len <= usize::from(u16::MAX));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded by SHORT_MAX where they enter the store"
    )]
    out.extend_from_slice(&(len as u16).to_le_bytes());
}

fn put_seqs(out: &mut Vec<u8>, seqs: &[Seq]) {
    for seq in seqs {
        out.extend_from_slice(&seq.to_le_bytes());
    }
}

fn get_seqs(body: &[u8]) -> Option<Vec<Seq>> {
    let (words, rest) = body.as_chunks::<8>();
    rest.is_empty()
        .then(|| words.iter().map(|word| Seq::from_le_bytes(*word)).collect())
}

fn get_deliveries(mut body: &[u8]) -> Option<Vec<Delivery>> {
    let mut deliveries = Vec::new();
    while !body.is_empty() {
        deliveries.push(Delivery {
            stream_seq: body.try_get_u64_le().ok()?,
            consumer_seq: body.try_get_u64_le().ok()?,
            count: body.try_get_u32_le().ok()?,
            time: body.try_get_i64_le().ok()?,
        });
    }
    Some(deliveries)
}

fn get_message_ids(mut body: &[u8]) -> Option<Vec<MessageId<'_>>> {
    let mut ids = Vec::new();
    while !body.is_empty() {
        let seq = body.try_get_u64_le().ok()?;
        let time = body.try_get_i64_le().ok()?;
        let len = usize::from(body.try_get_u16_le().ok()?);
        let (id, rest) = body.split_at_checked(len)?;
        ids.push(MessageId { seq, time, id });
        body = rest;
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(record: Record<'_>) {
        let mut body = Vec::new();
        record.encode(&mut body);
        assert_eq!(Record::decode(record.kind(), &body), Some(record));
    }

    #[test]
    fn round_trips() {
        let message = StoredMessage {
            seq: 7,
            time: -1,
            subject: b"a.b",
            headers: b"NATS/1.0\r\n\r\n",
            payload: b"hello",
            part: None,
        };
        check(Record::Message(message));
        let part = Some(Part { at: 2, of: 3 });
        let member = StoredMessage { part, ..message };
        assert_eq!(member.batch(), Some((5, 3)));
        check(Record::Message(member));
        check(Record::WholeBatches(vec![5, 8]));
        check(Record::Removed(vec![1, u64::MAX]));
        check(Record::Trimmed { first_seq: 9 });
        let delivery = Delivery {
            stream_seq: 1,
            consumer_seq: 2,
            count: 3,
            time: 4,
        };
        check(Record::Delivered {
            consumer: 5,
            deliveries: vec![delivery, delivery],
        });
        check(Record::Settled {
            consumer: 5,
            seqs: vec![1, 2, 3],
        });
        check(Record::Consumer {
            consumer: 1,
            json: b"{}",
        });
        check(Record::ConsumerState {
            consumer: 1,
            json: b"{}",
        });
        check(Record::ConsumerGone { consumer: 1 });
        check(Record::StreamState {
            first_seq: 3,
            last_seq: 2,
        });
        check(Record::Origins { json: b"{}" });
        check(Record::MessageIds(vec![
            MessageId {
                seq: 1,
                time: 2,
                id: b"x",
            },
            MessageId {
                seq: 3,
                time: 4,
                id: b"",
            },
        ]));
    }

    proptest! {
        #[test]
        fn no_body_panics(kind in 0u8..15, body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(kind, &body);
        }
    }
}
