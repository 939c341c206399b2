//! Reading a segment back: sound records in order, and what lies between them that is none. Pure.

use super::Seq;
use super::frame::{self, HEADER_LEN, Lsn};

/// A stretch of a segment that holds no sound record although it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
    /// Messages lost with it, as far as the sequences around it tell; empty when it held none.
    pub lost: Vec<std::ops::RangeInclusive<Seq>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Record {
        offset: usize,
        lsn: Lsn,
        kind: u8,
        body: &'a [u8],
    },
    /// Not a record; the scan goes on after it.
    Damaged { offset: usize, len: usize },
    /// The last write did not get this far: a record that stops at the end of the file, or zeros up to it.
    Torn { offset: usize },
}

/// An LSN further ahead than this is chance, not a record: no segment holds that many.
const LSN_AHEAD_MAX: u64 = 1 << 32;

/// Walks over the records of one segment, from just after its file header.
pub struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    expected: Lsn,
}

impl<'a> Scan<'a> {
    pub fn new(bytes: &'a [u8], start: usize, expected: Lsn) -> Scan<'a> {
        Scan {
            bytes,
            at: start.min(bytes.len()),
            expected,
        }
    }

    /// Moves past the damage that starts at `self.at`.
    fn skip_damage(&mut self) -> Found<'a> {
        let offset = self.at;
        // A sound header with a damaged body says where the next record starts.
        let next = match frame::decode_header(&self.bytes[offset..]) {
            Some(header) if self.is_ahead(header.lsn) && self.starts_record(offset + header.frame_len()) => {
                offset + header.frame_len()
            }
            _ => (offset + 1..self.bytes.len())
                .find(|&at| self.starts_record(at))
                .unwrap_or(self.bytes.len()),
        };
        self.at = next;
        Found::Damaged {
            offset,
            len: next - offset,
        }
    }

    fn starts_record(&self, at: usize) -> bool {
        at == self.bytes.len() || self.record_at(at).is_some()
    }

    fn record_at(&self, at: usize) -> Option<(frame::Header, &'a [u8])> {
        let rest = self.bytes.get(at..)?;
        let header = frame::decode_header(rest)?;
        if !self.is_ahead(header.lsn) {
            return None;
        }
        Some((header, header.body(rest)?))
    }

    fn is_ahead(&self, lsn: Lsn) -> bool {
        (self.expected..self.expected.saturating_add(LSN_AHEAD_MAX)).contains(&lsn)
    }

    fn is_torn(&self) -> bool {
        let rest = &self.bytes[self.at..];
        if rest.len() < HEADER_LEN {
            return true;
        }
        match frame::decode_header(rest) {
            Some(header) => header.frame_len() > rest.len(),
            None => rest.iter().all(|&byte| byte == 0),
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let offset = self.at;
        if offset == self.bytes.len() {
            return None;
        }
        if let Some((header, body)) = self.record_at(offset) {
            self.at += header.frame_len();
            self.expected = header.lsn + 1;
            return Some(Found::Record {
                offset,
                lsn: header.lsn,
                kind: header.kind,
                body,
            });
        }
        if self.is_torn() {
            self.at = self.bytes.len();
            return Some(Found::Torn { offset });
        }
        Some(self.skip_damage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: usize = 8;

    fn log() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0xee; START];
        let mut starts = Vec::new();
        for lsn in 1..=4u64 {
            starts.push(bytes.len());
            frame::encode(&mut bytes, lsn, 2, |out| {
                out.extend_from_slice(format!("body {lsn}").as_bytes());
            });
        }
        starts.push(bytes.len());
        (bytes, starts)
    }

    fn lsns(bytes: &[u8]) -> (Vec<Lsn>, Vec<(usize, usize)>, Option<usize>) {
        let (mut lsns, mut damaged, mut torn) = (Vec::new(), Vec::new(), None);
        for found in Scan::new(bytes, START, 1) {
            match found {
                Found::Record { lsn, .. } => lsns.push(lsn),
                Found::Damaged { offset, len } => damaged.push((offset, len)),
                Found::Torn { offset } => torn = Some(offset),
            }
        }
        (lsns, damaged, torn)
    }

    #[test]
    fn a_cut_anywhere_is_torn_and_loses_only_the_cut_record() {
        let (bytes, starts) = log();
        for cut in START..bytes.len() {
            let whole = starts.iter().filter(|&&start| start <= cut).count() as u64 - 1;
            let expect_torn = (!starts.contains(&cut)).then(|| starts[usize::try_from(whole).unwrap()]);
            assert_eq!(
                lsns(&bytes[..cut]),
                ((1..=whole).collect(), vec![], expect_torn),
                "cut {cut}"
            );
        }
    }

    #[test]
    fn every_bit_flip_is_damage_of_exactly_its_record() {
        let (bytes, starts) = log();
        for bit in START * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let hit = starts.iter().filter(|&&start| start <= bit / 8).count();
            let expect: Vec<Lsn> = (1..=4).filter(|&lsn| lsn != hit as u64).collect();
            let (found, damaged, torn) = lsns(&flipped);
            assert_eq!(found, expect, "bit {bit}");
            assert_eq!(
                damaged,
                [(starts[hit - 1], starts[hit] - starts[hit - 1])],
                "bit {bit}"
            );
            assert_eq!(torn, None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_after_the_last_record_are_torn() {
        let (mut bytes, starts) = log();
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(lsns(&bytes), (vec![1, 2, 3, 4], vec![], Some(starts[4])));
    }

    #[test]
    fn a_record_from_before_is_not_taken_again() {
        let (bytes, _) = log();
        let stale = &bytes[START..];
        let doubled = [&bytes, stale].concat();
        let (found, damaged, _) = lsns(&doubled);
        assert_eq!((found, damaged.len()), (vec![1, 2, 3, 4], 1));
    }
}
