//! What a sealed segment says, without the payloads: a file beside it that makes a start quick.
//!
//! ```text
//!  0          8            12        16           24                  32               40             48
//!  +----------+------------+---------+------------+-------------------+----------------+--------------+------- …
//!  | PRSUMMRY | format u32 | crc u32 | number u64 | segment bytes u64 | generation u64 | next lsn u64 | entries
//!  +----------+------------+---------+------------+-------------------+----------------+--------------+------- …
//!  entry: offset u32, frame len u32, kind u8, body len u32, body; a message's body ends with its headers
//! ```
//! The CRC32C covers everything but itself. A summary is believed only if it is whole and speaks of the segment as it
//! is: number, size, generation. Otherwise the segment is read instead, so a summary needs no sync of its own.

use bytes::Buf;

use super::folder::{self, Folder};
use super::frame::Lsn;
use super::log::Position;
use super::segment;
use super::{Record, StoreError, StoredMessage};

const MAGIC: [u8; 8] = *b"PRSUMMRY";
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 48;
const ENTRY_HEADER_LEN: usize = 4 + 4 + 1 + 4;
/// What an active segment's entries may keep of memory after they were written out.
const ENTRIES_KEPT: usize = 1024 * 1024;

/// Which state of which segment a summary speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    pub number: u64,
    pub segment_bytes: u64,
    pub generation: u64,
}

/// Gathers entries while a segment is written.
#[derive(Debug, Default)]
pub struct Builder {
    entries: Vec<u8>,
}

/// A summary that was found whole.
#[derive(Debug)]
pub struct Summary {
    number: u64,
    pub next_lsn: Lsn,
    bytes: Vec<u8>,
}

impl Builder {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "segments stay far below 4 GiB, and bodies below BODY_MAX"
    )]
    pub fn push(&mut self, record: &Record<'_>, position: Position) {
        let out = &mut self.entries;
        out.extend_from_slice(&(position.offset as u32).to_le_bytes());
        out.extend_from_slice(&(position.len as u32).to_le_bytes());
        out.push(record.kind());
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match record {
            Record::Message(message) => Record::Message(StoredMessage {
                payload: b"",
                ..*message
            })
            .encode(out),
            other => other.encode(out),
        }
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(ENTRIES_KEPT);
    }

    /// Puts the summary beside its segment. Without it the next start takes longer, and nothing else.
    pub fn write(&self, folder: &dyn Folder, of: Subject, next_lsn: Lsn) {
        let mut header = [0; HEADER_LEN];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[16..24].copy_from_slice(&of.number.to_le_bytes());
        header[24..32].copy_from_slice(&of.segment_bytes.to_le_bytes());
        header[32..40].copy_from_slice(&of.generation.to_le_bytes());
        header[40..48].copy_from_slice(&next_lsn.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
        let crc = crc32c::crc32c_append(crc, &self.entries);
        header[12..16].copy_from_slice(&crc.to_le_bytes());
        let name = folder::summary_name(of.number);
        let write = || {
            let file = segment::create_anew(folder, &name)?;
            file.write_at(&header, 0)?;
            file.write_at(&self.entries, HEADER_LEN as u64)
        };
        if let Err(error) = write().map_err(StoreError::io("write", folder.path(&name))) {
            tracing::warn!(%error, "segment has no summary; the next start will read all of it");
        }
    }
}

impl Summary {
    /// The summary beside a segment, if there is one to be believed.
    pub fn read(folder: &dyn Folder, of: Subject) -> Option<Summary> {
        let bytes = folder::read(folder, &folder::summary_name(of.number)).ok()?;
        let mut header = bytes.get(..HEADER_LEN)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
        let magic = header.split_off(..8)?;
        let format = header.get_u32_le();
        let is_whole = magic == MAGIC && format == FORMAT && header.get_u32_le() == crc;
        let told = Subject {
            number: header.get_u64_le(),
            segment_bytes: header.get_u64_le(),
            generation: header.get_u64_le(),
        };
        let next_lsn = header.get_u64_le();
        (is_whole && told == of).then_some(Summary {
            number: of.number,
            next_lsn,
            bytes,
        })
    }

    /// The records in order; of messages, all but the payload. `None` stands for one that is not understood.
    pub fn records(&self) -> impl Iterator<Item = (Position, Option<Record<'_>>)> {
        let mut rest = &self.bytes[HEADER_LEN..];
        std::iter::from_fn(move || {
            let mut header = rest.get(..ENTRY_HEADER_LEN)?;
            let position = Position {
                segment: self.number,
                offset: u64::from(header.get_u32_le()),
                len: header.get_u32_le() as usize,
            };
            let kind = header.get_u8();
            let body_len = header.get_u32_le() as usize;
            let body = rest.get(ENTRY_HEADER_LEN..)?.get(..body_len)?;
            rest = &rest[ENTRY_HEADER_LEN + body_len..];
            Some((position, Record::decode(kind, body)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::folder::MemoryFolder;

    const OF: Subject = Subject {
        number: 3,
        segment_bytes: 1000,
        generation: 2,
    };

    fn sample(folder: &MemoryFolder) {
        let mut builder = Builder::default();
        let position = |offset| Position {
            segment: 3,
            offset,
            len: 70,
        };
        let message = StoredMessage {
            seq: 9,
            time: 5,
            subject: b"a.b",
            headers: b"NATS/1.0\r\n\r\n",
            payload: b"not kept",
            part: None,
        };
        builder.push(&Record::Message(message), position(40));
        builder.push(&Record::Removed(vec![1, 2]), position(110));
        builder.write(folder, OF, 77);
    }

    #[test]
    fn round_trip() {
        let folder = MemoryFolder::default();
        sample(&folder);
        let summary = Summary::read(&folder, OF).unwrap();
        assert_eq!(summary.next_lsn, 77);
        let records: Vec<_> = summary.records().collect();
        assert_eq!(
            (records.len(), records[0].0.offset, records[1].0.len),
            (2, 40, 70)
        );
        let Some(Record::Message(message)) = &records[0].1 else {
            panic!("{records:?}");
        };
        assert_eq!(
            (message.seq, message.headers.len(), message.payload),
            (9, 12, &b""[..])
        );
        assert_eq!(records[1].1, Some(Record::Removed(vec![1, 2])));
    }

    #[test]
    fn only_a_whole_one_of_the_very_segment_is_believed() {
        let folder = MemoryFolder::default();
        sample(&folder);
        for other in [
            Subject { number: 4, ..OF },
            Subject {
                segment_bytes: 999,
                ..OF
            },
            Subject { generation: 1, ..OF },
        ] {
            assert!(Summary::read(&folder, other).is_none());
        }
        let name = folder::summary_name(3);
        let whole = folder::read(&folder, &name).unwrap();
        let file = folder.open(&name).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            file.write_at(&flipped, 0).unwrap();
            assert!(Summary::read(&folder, OF).is_none(), "bit {bit}");
        }
        file.write_at(&whole, 0).unwrap();
        for cut in (0..whole.len()).rev() {
            file.truncate(cut as u64).unwrap();
            assert!(Summary::read(&folder, OF).is_none(), "cut {cut}");
        }
    }
}
