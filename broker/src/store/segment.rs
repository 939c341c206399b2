//! One file of the log and the header it starts with.
//!
//! ```text
//!  0          8            12        16           24              32
//!  +----------+------------+---------+------------+---------------+------ …
//!  | PRBROKER | format u32 | crc u32 | number u64 | first lsn u64 | frames
//!  +----------+------------+---------+------------+---------------+------ …
//! ```
//! The CRC32C covers everything of the header but itself.

use super::StoreError;
use super::folder::{self, Folder, StoredFile};
use super::frame::Lsn;

const MAGIC: [u8; 8] = *b"PRBROKER";
pub const FORMAT: u32 = 1;
pub const FILE_HEADER_LEN: usize = 32;

/// What the start of a segment file says.
#[derive(Debug, PartialEq, Eq)]
pub enum FileHeader {
    Sound {
        number: u64,
        first_lsn: Lsn,
    },
    /// Shorter than a header, or nothing but zeros: the crash came before the first write.
    Unwritten,
    Damaged,
    Newer {
        format: u32,
    },
}

pub fn encode_header(number: u64, first_lsn: Lsn) -> [u8; FILE_HEADER_LEN] {
    let mut header = [0; FILE_HEADER_LEN];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..32].copy_from_slice(&first_lsn.to_le_bytes());
    let crc = header_crc(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

pub fn decode_header(bytes: &[u8]) -> FileHeader {
    let Some(header) = bytes.first_chunk::<FILE_HEADER_LEN>() else {
        return FileHeader::Unwritten;
    };
    if bytes.iter().all(|&byte| byte == 0) {
        return FileHeader::Unwritten;
    }
    let (words, _) = header.as_chunks::<4>();
    let word = |at: usize| u32::from_le_bytes(words[at]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 1)) << 32;
    if header[0..8] != MAGIC || word(3) != header_crc(header) {
        return FileHeader::Damaged;
    }
    if word(2) > FORMAT {
        return FileHeader::Newer { format: word(2) };
    }
    FileHeader::Sound {
        number: long(4),
        first_lsn: long(6),
    }
}

fn header_crc(header: &[u8; FILE_HEADER_LEN]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..])
}

/// Creates a segment that holds nothing but its header, durably.
pub fn create(folder: &dyn Folder, number: u64, first_lsn: Lsn) -> Result<Box<dyn StoredFile>, StoreError> {
    let name = folder::segment_name(number);
    let create = || {
        let file = folder.create(&name)?;
        file.write_at(&encode_header(number, first_lsn), 0)?;
        file.sync()?;
        folder.sync()?;
        Ok(file)
    };
    create().map_err(StoreError::io("create", folder.path(&name)))
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
        let header = encode_header(7, 99);
        assert_eq!(
            decode_header(&header),
            FileHeader::Sound {
                number: 7,
                first_lsn: 99
            }
        );
        for bit in 0..FILE_HEADER_LEN * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&flipped), FileHeader::Damaged, "bit {bit}");
        }
        assert_eq!(decode_header(&header[..31]), FileHeader::Unwritten);
        assert_eq!(decode_header(&[0; 40]), FileHeader::Unwritten);
    }
}
