//! Reading a whole log back, segment by segment: what is sound is told in order, what is not is reported.

use std::path::Path;

use super::folder::{self, Folder};
use super::frame::Lsn;
use super::log::Position;
use super::scan::{Found, Scan};
use super::segment::{self, FILE_HEADER_LEN, FORMAT, FileHeader};
use super::stream_store::Recovery;
use super::{Damage, Record, Seq, StoreError};

/// Where a log stands after it was read.
#[derive(Debug)]
pub struct Replayed {
    pub segments: Vec<u64>,
    /// End of the newest segment, after a torn tail was cut off.
    pub end: u64,
    pub next_lsn: Lsn,
    /// Bytes at the very end that are damaged, not torn: they may have held acknowledged records.
    pub unreadable_tail: Option<u64>,
    pub recovery: Recovery,
}

type Visit<'v> = &'v mut dyn FnMut(&Record<'_>, Position);

struct Replay<'v> {
    visit: Visit<'v>,
    next_lsn: Lsn,
    last_seq: Seq,
    recovery: Recovery,
    /// Damage since the last message: the next one tells which sequences it took.
    open_damage: Option<usize>,
    unreadable_tail: Option<u64>,
}

pub fn replay(folder: &dyn Folder, visit: Visit<'_>) -> Result<Replayed, StoreError> {
    let mut segments = folder::list_segments(folder)?;
    let mut replay = Replay {
        visit,
        next_lsn: 1,
        last_seq: 0,
        recovery: Recovery::default(),
        open_damage: None,
        unreadable_tail: None,
    };
    let mut end = FILE_HEADER_LEN as u64;
    for (at, &number) in segments.clone().iter().enumerate() {
        let is_newest = at + 1 == segments.len();
        let name = folder::segment_name(number);
        let bytes = folder::read(folder, &name)?;
        if is_newest && segment::decode_header(&bytes) == FileHeader::Unwritten {
            // The crash came while this segment was being created; nothing in it was ever promised.
            let removed = folder.remove(&name);
            removed.map_err(StoreError::io("remove", folder.path(&name)))?;
            segments.pop();
            break;
        }
        replay.read_header(number, &bytes, at == 0, &folder.path(&name))?;
        end = replay.read_records(number, &bytes, is_newest);
        if end < bytes.len() as u64 {
            cut(folder, number, end)?;
        }
    }
    Ok(Replayed {
        segments,
        end,
        next_lsn: replay.next_lsn,
        unreadable_tail: replay.unreadable_tail,
        recovery: replay.recovery,
    })
}

fn cut(folder: &dyn Folder, number: u64, end: u64) -> Result<(), StoreError> {
    let cut = segment::open(folder, number)?.truncate(end);
    cut.map_err(StoreError::io(
        "truncate",
        folder.path(&folder::segment_name(number)),
    ))
}

impl Replay<'_> {
    fn read_header(
        &mut self,
        number: u64,
        bytes: &[u8],
        is_first: bool,
        path: &Path,
    ) -> Result<(), StoreError> {
        match segment::decode_header(bytes) {
            FileHeader::Sound {
                number: told,
                first_lsn,
            } if told == number => {
                if is_first {
                    self.next_lsn = first_lsn;
                } else if first_lsn > self.next_lsn {
                    self.report(number, 0, 0);
                    self.next_lsn = first_lsn;
                }
            }
            FileHeader::Newer { format } => {
                return Err(StoreError::NewerFormat {
                    path: path.to_owned(),
                    found: format,
                    supported: FORMAT,
                });
            }
            _ => self.report(number, 0, bytes.len().min(FILE_HEADER_LEN)),
        }
        Ok(())
    }

    /// Where the sound part of the segment ends.
    fn read_records(&mut self, number: u64, bytes: &[u8], is_newest: bool) -> u64 {
        self.unreadable_tail = None;
        for found in Scan::new(bytes, FILE_HEADER_LEN, self.next_lsn) {
            match found {
                Found::Record {
                    offset,
                    lsn,
                    kind,
                    body,
                } => {
                    let len = super::frame::HEADER_LEN + body.len();
                    let position = Position {
                        segment: number,
                        offset: offset as u64,
                        len,
                    };
                    self.on_record(position, lsn, kind, body);
                }
                Found::Damaged { offset, len } => {
                    self.report(number, offset, len);
                    self.unreadable_tail = is_newest.then_some(len as u64);
                }
                Found::Torn { offset } if is_newest => {
                    let position = Position {
                        segment: number,
                        offset: offset as u64,
                        len: 0,
                    };
                    self.recovery.torn = Some((position, (bytes.len() - offset) as u64));
                    return offset as u64;
                }
                Found::Torn { offset } => self.report(number, offset, bytes.len() - offset),
            }
        }
        bytes.len() as u64
    }

    fn on_record(&mut self, position: Position, lsn: Lsn, kind: u8, body: &[u8]) {
        if lsn > self.next_lsn && self.open_damage.is_none() && self.unreadable_tail.is_none() {
            self.report(position.segment, position.offset_usize(), 0);
        }
        self.next_lsn = lsn + 1;
        self.unreadable_tail = None;
        let Some(record) = Record::decode(kind, body) else {
            self.report(position.segment, position.offset_usize(), position.len);
            return;
        };
        match &record {
            Record::Message(message) => self.on_sequence(message.seq, message.seq.saturating_sub(1)),
            Record::StreamState { last_seq, .. } => self.on_sequence(*last_seq, *last_seq),
            _ => {}
        }
        self.recovery.records += 1;
        (self.visit)(&record, position);
    }

    /// Sequences up to `accounted` should have been seen by now; after damage, those that were not went with it.
    fn on_sequence(&mut self, seq: Seq, accounted: Seq) {
        if let Some(damage) = self.open_damage.take()
            && accounted > self.last_seq
        {
            self.recovery.damage[damage]
                .lost
                .push(self.last_seq + 1..=accounted);
        }
        self.last_seq = self.last_seq.max(seq);
    }

    fn report(&mut self, segment: u64, offset: usize, len: usize) {
        let damage = Damage {
            segment,
            offset: offset as u64,
            bytes: len as u64,
            lost: Vec::new(),
        };
        self.open_damage = Some(self.recovery.damage.len());
        self.recovery.damage.push(damage);
    }
}

impl Position {
    fn offset_usize(self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }
}
