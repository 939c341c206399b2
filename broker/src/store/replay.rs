//! Reading a whole log back, segment by segment: what is sound is told in order, what is not is reported.
//!
//! A sealed segment with a summary is not read; damage in it is left to the scrub and to whoever reads the message.

use super::batches::Batches;
use super::folder::{self, Folder};
use super::frame::Lsn;
use super::log::{Position, Resume, Sealed};
use super::scan::{Found, Scan};
use super::segment::{self, FILE_HEADER_LEN, FORMAT, FileHeader, Head};
use super::stream_store::Recovery;
use super::summary::{self, Builder, Summary};
use super::{Damage, Record, Seq, StoreError};

/// What is written again of the newest segment at a start: more than one sync has to do under any but extreme load.
const REWRITTEN_MAX: usize = 1024 * 1024;

/// Where a log stands after it was read.
#[derive(Debug)]
pub struct Replayed {
    pub resume: Resume,
    /// Bytes at the very end that are damaged, not torn: they may have held acknowledged records.
    pub unreadable_tail: Option<u64>,
    /// The last sequence that a batch which does not count had for itself; 0 without one.
    pub dropped_to: Seq,
    /// Batches of the newest segment that count, which that does not say yet.
    pub unsaid_batches: Vec<Seq>,
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
    dropped_to: Seq,
    unsaid_batches: Vec<Seq>,
    /// The segment before was compacted: records may be missing after it.
    may_skip: bool,
    summary: Builder,
    /// The segment has said all there is to know besides messages.
    saw_state: bool,
}

/// A segment and what its header says.
struct Part {
    number: u64,
    size: u64,
    header: FileHeader,
}

pub fn replay(folder: &dyn Folder, visit: Visit<'_>) -> Result<Replayed, StoreError> {
    let parts = gather(folder)?;
    let mut replay = Replay {
        visit,
        next_lsn: 1,
        last_seq: 0,
        recovery: Recovery::default(),
        open_damage: None,
        unreadable_tail: None,
        dropped_to: 0,
        unsaid_batches: Vec::new(),
        may_skip: false,
        summary: Builder::default(),
        saw_state: false,
    };
    let mut resume = Resume::default();
    for (at, part) in parts.iter().enumerate() {
        let first_lsn = replay.read_header(part, at == 0);
        if at + 1 == parts.len() {
            resume.end = replay.read_active(folder, part)?;
            resume.active = Some((part.number, first_lsn));
            // In format 1 the stream's state came first, and tells nothing of whether the rest got there.
            resume.has_head = at == 0 || replay.saw_state && part.head().len == FILE_HEADER_LEN;
        } else {
            let is_damaged = replay.read_sealed(folder, part)?;
            let sealed = Sealed {
                size: part.size,
                first_lsn,
                generation: part.head().generation,
                is_damaged,
            };
            resume.sealed.insert(part.number, sealed);
        }
    }
    resume.next_lsn = replay.next_lsn;
    resume.summary = replay.summary;
    Ok(Replayed {
        resume,
        unreadable_tail: replay.unreadable_tail,
        dropped_to: replay.dropped_to,
        unsaid_batches: replay.unsaid_batches,
        recovery: replay.recovery,
    })
}

/// The segments that count, oldest first. What a crash left half done is cleared away: files that were not put in
/// place yet, segments whose content a compaction had already moved into a newer one, summaries of nothing.
fn gather(folder: &dyn Folder) -> Result<Vec<Part>, StoreError> {
    let numbers = folder::list_segments(folder)?;
    let mut parts: Vec<Part> = Vec::new();
    for &number in numbers.iter().rev() {
        let part = read_part(folder, number)?;
        // The crash came while this segment was being created; nothing in it was ever promised.
        let is_unwritten = parts.is_empty() && part.header == FileHeader::Unwritten;
        let is_superseded = match (&part.header, parts.last().map(|newer| newer.header)) {
            (FileHeader::Sound(head), Some(FileHeader::Sound(newer))) => head.first_lsn >= newer.first_lsn,
            _ => false,
        };
        if is_unwritten || is_superseded {
            let name = folder::segment_name(number);
            let removed = folder.remove(&name);
            removed.map_err(StoreError::io("remove", folder.path(&name)))?;
        } else {
            parts.push(part);
        }
    }
    parts.reverse();
    let known: Vec<u64> = parts.iter().map(|part| part.number).collect();
    folder::clear_leftovers(folder, &known)?;
    Ok(parts)
}

/// Cuts the newest segment to `end` and sees to it that what is before is on disk, for now it will be shown.
///
/// A process that was killed may have left it in the system's cache only; and if its last sync failed, the system takes
/// those pages for clean, so that nothing but writing them again helps.
fn make_durable(folder: &dyn Folder, number: u64, bytes: &[u8], end: u64) -> std::io::Result<()> {
    let file = segment::open(folder, number).map_err(std::io::Error::other)?;
    if end < bytes.len() as u64 {
        file.truncate(end)?;
    }
    let sound = &bytes[..bytes.len().min(usize::try_from(end).unwrap_or(usize::MAX))];
    let from = sound.len().saturating_sub(REWRITTEN_MAX);
    file.write_at(&sound[from..], from as u64)?;
    file.sync()?;
    folder.sync()
}

fn read_part(folder: &dyn Folder, number: u64) -> Result<Part, StoreError> {
    let name = folder::segment_name(number);
    let read = || {
        let file = folder.open(&name)?;
        let size = file.size()?;
        let mut header = [0; FILE_HEADER_LEN];
        let there = header.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        file.read_at(&mut header[..there], 0)?;
        Ok((size, segment::decode_header(&header[..there])))
    };
    let (size, header) = read().map_err(StoreError::io("read", folder.path(&name)))?;
    match header {
        FileHeader::Newer { format } => Err(StoreError::NewerFormat {
            path: folder.path(&name),
            found: format,
            supported: FORMAT,
        }),
        header => Ok(Part { number, size, header }),
    }
}

impl Part {
    fn head(&self) -> Head {
        match self.header {
            FileHeader::Sound(head) if head.number == self.number => head,
            _ => Head::default(),
        }
    }
}

impl Replay<'_> {
    /// The LSN that the segment starts with.
    fn read_header(&mut self, part: &Part, is_first: bool) -> Lsn {
        let head = part.head();
        if head.len == 0 {
            self.report(part.number, 0, part.size.min(FILE_HEADER_LEN as u64));
            return self.next_lsn;
        }
        if is_first {
            self.next_lsn = head.first_lsn;
        } else if head.first_lsn > self.next_lsn {
            if !self.may_skip {
                self.report(part.number, 0, 0);
            }
            self.next_lsn = head.first_lsn;
        }
        self.may_skip = head.generation > 0;
        head.first_lsn
    }

    /// True when it is damaged.
    fn read_sealed(&mut self, folder: &dyn Folder, part: &Part) -> Result<bool, StoreError> {
        let head = part.head();
        self.unreadable_tail = None;
        let of = summary::Subject {
            number: part.number,
            segment_bytes: part.size,
            generation: head.generation,
        };
        if head.len > 0
            && let Some(summary) = Summary::read(folder, of)
        {
            for (position, record) in summary.records() {
                self.on_record(position, record.as_ref());
            }
            self.next_lsn = self.next_lsn.max(summary.next_lsn);
            return Ok(false);
        }
        let bytes = folder::read(folder, &folder::segment_name(part.number))?;
        let known = self.recovery.damage.len();
        self.summary.clear();
        self.read_records(part, &bytes, false);
        let is_damaged = head.len == 0 || self.recovery.damage.len() > known;
        if !is_damaged {
            self.summary.write(folder, of, self.next_lsn);
        }
        Ok(is_damaged)
    }

    /// Where the sound part of the newest segment ends. What is torn off there is cut.
    fn read_active(&mut self, folder: &dyn Folder, part: &Part) -> Result<u64, StoreError> {
        let name = folder::segment_name(part.number);
        let bytes = folder::read(folder, &name)?;
        self.summary.clear();
        self.saw_state = false;
        let end = self.read_records(part, &bytes, true);
        make_durable(folder, part.number, &bytes, end)
            .map_err(StoreError::io("repair", folder.path(&name)))?;
        Ok(end)
    }

    fn read_records(&mut self, part: &Part, bytes: &[u8], is_newest: bool) -> u64 {
        self.unreadable_tail = None;
        self.unsaid_batches.clear();
        let mut batches = None;
        for found in Scan::new(bytes, segment::frames_start(bytes), self.next_lsn) {
            match found {
                Found::Record {
                    offset,
                    lsn,
                    kind,
                    body,
                } => {
                    let position = Position {
                        segment: part.number,
                        offset: offset as u64,
                        len: super::frame::HEADER_LEN + body.len(),
                    };
                    self.on_frame(position, lsn);
                    let record = Record::decode(kind, body);
                    if let Some(Record::Message(message)) = &record
                        && let Some((first, of)) = message.batch()
                    {
                        let batches = batches.get_or_insert_with(|| Batches::scan(bytes, offset, lsn));
                        if !batches.counts(first) {
                            self.on_dropped(first, of);
                            continue;
                        }
                    }
                    if let Some(record) = &record {
                        self.summary.push(record, position);
                    }
                    self.on_record(position, record.as_ref());
                }
                Found::Damaged { offset, len } => {
                    self.report(part.number, offset as u64, len as u64);
                    self.unreadable_tail = is_newest.then_some(len as u64);
                }
                Found::Torn { offset } if is_newest => {
                    let position = Position {
                        segment: part.number,
                        offset: offset as u64,
                        len: 0,
                    };
                    self.recovery.torn = Some((position, (bytes.len() - offset) as u64));
                    return offset as u64;
                }
                Found::Torn { offset } => {
                    self.report(part.number, offset as u64, (bytes.len() - offset) as u64);
                }
            }
        }
        self.unsaid_batches = batches.map(|batches| batches.unsaid()).unwrap_or_default();
        bytes.len() as u64
    }

    /// A message of a batch that was not written as a whole: nobody was ever told of it, nor of what is missing of it.
    fn on_dropped(&mut self, first: Seq, of: u16) {
        self.on_sequence(first, first.saturating_sub(1));
        self.last_seq = self.last_seq.max(first + Seq::from(of) - 1);
        self.dropped_to = self.dropped_to.max(self.last_seq);
    }

    fn on_frame(&mut self, position: Position, lsn: Lsn) {
        let is_explained = self.may_skip || self.open_damage.is_some() || self.unreadable_tail.is_some();
        if lsn > self.next_lsn && !is_explained {
            self.report(position.segment, position.offset, 0);
        }
        self.next_lsn = lsn + 1;
        self.unreadable_tail = None;
    }

    fn on_record(&mut self, position: Position, record: Option<&Record<'_>>) {
        let Some(record) = record else {
            self.report(position.segment, position.offset, position.len as u64);
            return;
        };
        match record {
            Record::Message(message) => self.on_sequence(message.seq, message.seq.saturating_sub(1)),
            Record::StreamState { last_seq, .. } => {
                self.saw_state = true;
                self.on_sequence(*last_seq, *last_seq);
            }
            _ => {}
        }
        self.recovery.records += 1;
        (self.visit)(record, position);
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

    fn report(&mut self, segment: u64, offset: u64, bytes: u64) {
        let damage = Damage {
            segment,
            offset,
            bytes,
            lost: Vec::new(),
        };
        self.open_damage = Some(self.recovery.damage.len());
        self.recovery.damage.push(damage);
    }
}
