//! The envelope of every record in the log.
//!
//! ```text
//!  0        4      5       8            16          20           24
//!  +--------+------+-------+------------+-----------+------------+------ … ------+
//!  | len u32| kind | zero3 |  lsn u64   | body crc  | header crc | body, len bytes|
//!  +--------+------+-------+------------+-----------+------------+------ … ------+
//! ```
//! All integers are little-endian. `lsn` counts the records of one log from 1 without gaps, so a lost record shows.
//! The body CRC32C covers bytes 0..16 and the body; the header CRC32C covers bytes 0..20. With a sound header and a
//! damaged body exactly one record is lost, and a cut-off record can be told from a damaged one.

pub const HEADER_LEN: usize = 24;

/// No record is longer: checked before anything is allocated for it.
pub const BODY_MAX: usize = 128 * 1024 * 1024;

/// Position of a record in its log.
pub type Lsn = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub body_len: usize,
    pub kind: u8,
    pub lsn: Lsn,
    body_crc: u32,
}

/// Appends one frame, its body written by `write_body`. The frame's length.
pub fn encode(out: &mut Vec<u8>, lsn: Lsn, kind: u8, write_body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    write_body(out);
    let body_len = out.len() - start - HEADER_LEN;
    debug_assert!(body_len <= BODY_MAX);
    let frame = &mut out[start..];
    #[expect(clippy::cast_possible_truncation, reason = "bodies are bounded by BODY_MAX")]
    frame[0..4].copy_from_slice(&(body_len as u32).to_le_bytes());
    frame[4] = kind;
    frame[8..16].copy_from_slice(&lsn.to_le_bytes());
    let body_crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..16]), &frame[HEADER_LEN..]);
    frame[16..20].copy_from_slice(&body_crc.to_le_bytes());
    let header_crc = crc32c::crc32c(&frame[..20]);
    frame[20..24].copy_from_slice(&header_crc.to_le_bytes());
    HEADER_LEN + body_len
}

/// The header at the start of `bytes`, if there is a sound one.
pub fn decode_header(bytes: &[u8]) -> Option<Header> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (low, high) = (word(8), word(12));
    let body_len = word(0) as usize;
    let is_sound = word(20) == crc32c::crc32c(&header[..20]) && body_len <= BODY_MAX;
    is_sound.then_some(Header {
        body_len,
        kind: header[4],
        lsn: u64::from(low) | u64::from(high) << 32,
        body_crc: word(16),
    })
}

impl Header {
    pub fn frame_len(&self) -> usize {
        HEADER_LEN + self.body_len
    }

    /// The body, if `frame` holds all of it undamaged.
    pub fn body<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let body = frame.get(HEADER_LEN..self.frame_len())?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..16]), body);
        (crc == self.body_crc).then_some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_single_bit_flip() {
        let mut frame = Vec::new();
        let len = encode(&mut frame, 0x0102_0304_0506_0708, 3, |out| {
            out.extend_from_slice(b"body");
        });
        assert_eq!(len, frame.len());
        let header = decode_header(&frame).unwrap();
        assert_eq!(
            (header.body_len, header.kind, header.lsn),
            (4, 3, 0x0102_0304_0506_0708)
        );
        assert_eq!(header.body(&frame), Some(b"body".as_slice()));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode_header(&flipped).and_then(|header| header.body(&flipped).map(<[u8]>::len));
            assert_eq!(decoded, None, "bit {bit}");
        }
        for cut in 0..frame.len() {
            let decoded = decode_header(&frame[..cut]).and_then(|header| header.body(&frame[..cut]));
            assert_eq!(decoded, None, "cut {cut}");
        }
    }
}
