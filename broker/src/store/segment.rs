//! One file of the log and the header it starts with.
//!
//! ```text
//!  0          8            12        16           24              32               40
//!  +----------+------------+---------+------------+---------------+----------------+------ …
//!  | PRBROKER | format u32 | crc u32 | number u64 | first lsn u64 | generation u64 | frames
//!  +----------+------------+---------+------------+---------------+----------------+------ …
//! ```
//! The CRC32C covers everything of the header but itself. A segment is written in generation 0; each compaction of it
//! counts one up. Format 1 had no generation and no compaction, and a header of 32 bytes.

use std::io;

use super::StoreError;
use super::folder::{self, Folder, StoredFile};
use super::frame::{self, Lsn};

const MAGIC: [u8; 8] = *b"PRBROKER";
/// Since 3 there are batches that count as wholes.
pub const FORMAT: u32 = 3;
pub const FILE_HEADER_LEN: usize = 40;
const FORMAT_1_HEADER_LEN: usize = 32;

/// What the start of a segment file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHeader {
    Sound(Head),
    /// Shorter than a header, or nothing but zeros: the crash came before the first write.
    Unwritten,
    Damaged,
    Newer {
        format: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    pub number: u64,
    pub first_lsn: Lsn,
    /// Above 0 records are missing on purpose: what was dead when the segment was rewritten.
    pub generation: u64,
    /// Where the frames begin.
    pub len: usize,
}

pub fn encode_header(number: u64, first_lsn: Lsn, generation: u64) -> [u8; FILE_HEADER_LEN] {
    let mut header = [0; FILE_HEADER_LEN];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&first_lsn.to_le_bytes());
    header[32..40].copy_from_slice(&generation.to_le_bytes());
    let crc = header_crc(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

pub fn decode_header(bytes: &[u8]) -> FileHeader {
    let Some(fixed) = bytes.first_chunk::<FORMAT_1_HEADER_LEN>() else {
        return FileHeader::Unwritten;
    };
    if bytes.iter().all(|&byte| byte == 0) {
        return FileHeader::Unwritten;
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if fixed[0..8] != MAGIC {
        return FileHeader::Damaged;
    }
    let format = word(8);
    let len = if format == 1 {
        FORMAT_1_HEADER_LEN
    } else {
        FILE_HEADER_LEN
    };
    let Some(header) = bytes.get(..len) else {
        return FileHeader::Unwritten;
    };
    match format {
        _ if word(12) != header_crc(header) => FileHeader::Damaged,
        1..=FORMAT => FileHeader::Sound(Head {
            number: long(16),
            first_lsn: long(24),
            generation: if format == 1 { 0 } else { long(32) },
            len,
        }),
        newer => FileHeader::Newer { format: newer },
    }
}

/// Where the frames begin, even if the header tells nothing any more.
pub fn frames_start(bytes: &[u8]) -> usize {
    if let FileHeader::Sound(head) = decode_header(bytes) {
        return head.len;
    }
    let has_frame = |at: usize| {
        bytes
            .get(at..)
            .is_some_and(|rest| frame::decode_header(rest).is_some())
    };
    if has_frame(FORMAT_1_HEADER_LEN) {
        FORMAT_1_HEADER_LEN
    } else {
        FILE_HEADER_LEN
    }
}

fn header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}

/// Creates a segment that holds nothing but its header, durably. What an earlier try left behind is replaced.
pub fn create(folder: &dyn Folder, number: u64, first_lsn: Lsn) -> Result<Box<dyn StoredFile>, StoreError> {
    let name = folder::segment_name(number);
    let create = || {
        let file = create_anew(folder, &name)?;
        file.write_at(&encode_header(number, first_lsn, 0), 0)?;
        file.sync()?;
        folder.sync()?;
        Ok(file)
    };
    create().map_err(StoreError::io("create", folder.path(&name)))
}

pub fn create_anew(folder: &dyn Folder, name: &str) -> io::Result<Box<dyn StoredFile>> {
    match folder.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            folder.remove(name)?;
            folder.create(name)
        }
        outcome => outcome,
    }
}

pub fn open(folder: &dyn Folder, number: u64) -> Result<Box<dyn StoredFile>, StoreError> {
    let name = folder::segment_name(number);
    let opened = folder.open(&name);
    opened.map_err(StoreError::io("open", folder.path(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip_and_every_bit_flip() {
        let header = encode_header(7, 99, 3);
        let head = Head {
            number: 7,
            first_lsn: 99,
            generation: 3,
            len: FILE_HEADER_LEN,
        };
        assert_eq!(decode_header(&header), FileHeader::Sound(head));
        for bit in 0..FILE_HEADER_LEN * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&flipped), FileHeader::Damaged, "bit {bit}");
        }
        assert_eq!(decode_header(&header[..39]), FileHeader::Unwritten);
        assert_eq!(decode_header(&[0; 40]), FileHeader::Unwritten);
    }
}
