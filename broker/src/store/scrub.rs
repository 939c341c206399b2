//! Looking for damage before anybody needs the message: sealed segments are read through, a little at a time.

use std::ops::RangeInclusive;

use super::frame;
use super::scan::{Found, Scan};
use super::segment;
use super::{Damage, StoreError, StreamStore};

/// What one step reads. About a millisecond of work, so that the stream's clients don't notice.
#[cfg(not(test))]
const STEP_BYTES: u64 = 1024 * 1024;
/// Tests have small segments, which take several steps all the same.
#[cfg(test)]
const STEP_BYTES: u64 = 512;

/// How far a pass has come; 0 begins the next one.
#[derive(Debug, Default, Clone, Copy)]
pub struct Scrub {
    segment: u64,
    offset: u64,
}

impl Scrub {
    /// The segments of `run` are not what they were.
    pub(super) fn restart_within(&mut self, run: &RangeInclusive<u64>) {
        if run.contains(&self.segment) {
            self.offset = 0;
        }
    }
}

impl StreamStore {
    /// Reads on where the last step ended. `Ok(false)` when a pass has reached the end; the next call starts anew.
    /// New damage is put into `found`.
    pub fn scrub(&mut self, found: &mut Vec<Damage>) -> Result<bool, StoreError> {
        let at = self.scrub;
        let Some((number, sealed)) = self
            .log
            .sealed()
            .range(at.segment..)
            .next()
            .map(|(&n, &s)| (n, s))
        else {
            self.scrub = Scrub::default();
            return Ok(false);
        };
        let from = if number == at.segment { at.offset } else { 0 };
        let (bytes, to) = self.read_step(number, from, sealed.size)?;
        let start = if from == 0 {
            segment::frames_start(&bytes)
        } else {
            0
        };
        let before = self.damage().len();
        let mut end = to;
        for outcome in Scan::new(&bytes, start, sealed.first_lsn) {
            match outcome {
                Found::Record { .. } => {}
                // A frame that goes on after what was read is looked at in the next step.
                Found::Torn { offset } | Found::Damaged { offset, .. } if to < sealed.size && offset > 0 => {
                    end = from + offset as u64;
                    break;
                }
                Found::Torn { offset } => {
                    self.note_damage(number, from + offset as u64, (bytes.len() - offset) as u64);
                }
                Found::Damaged { offset, len } => {
                    self.note_damage(number, from + offset as u64, len as u64);
                }
            }
        }
        found.extend_from_slice(&self.damage()[before..]);
        self.scrub = Scrub {
            segment: number + u64::from(end >= sealed.size),
            offset: if end >= sealed.size { 0 } else { end },
        };
        Ok(true)
    }

    /// The next stretch of a segment and where it ends: a whole frame at least, even if that is long.
    fn read_step(&mut self, number: u64, from: u64, size: u64) -> Result<(Vec<u8>, u64), StoreError> {
        let path = self.log.segment_path(number);
        let rest = size.saturating_sub(from);
        let mut len = STEP_BYTES.min(rest);
        loop {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            let read = self.log.reader(number)?.read_at(&mut bytes, from);
            read.map_err(StoreError::io("read", &path))?;
            let start = if from == 0 {
                segment::frames_start(&bytes).min(bytes.len())
            } else {
                0
            };
            let needed = match frame::decode_header(&bytes[start..]) {
                Some(header) if header.body(&bytes[start..]).is_some() => len,
                Some(header) if start + header.frame_len() > bytes.len() => {
                    (start + header.frame_len()) as u64
                }
                // Where damage ends is known only once the next sound record is seen.
                _ => rest,
            };
            if needed.min(rest) <= len {
                return Ok((bytes, from + len));
            }
            len = needed.min(rest);
        }
    }
}
