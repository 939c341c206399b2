//! The append-only log of one stream: records go to the end of the newest segment; older ones are removed or rewritten
//! as wholes.
//!
//! Appending only fills a buffer. [`Log::flush`] hands it to the operating system and [`Log::sync`] makes it durable,
//! so that whatever came in meanwhile shares one write and one fdatasync. After a failed write or sync nobody knows
//! what the disk holds; from then on the log refuses to be written, until [`Log::heal`] has brought it back to where
//! it was last known to be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::folder::{self, Folder, StoredFile};
use super::frame::{self, Lsn};
use super::segment::{self, FILE_HEADER_LEN};
use super::summary::{self, Builder};
use super::{Record, StoreError};

/// Open files kept for reading older segments.
const READERS_MAX: usize = 8;
/// What the write buffer may keep after a burst.
const BUFFER_KEPT: usize = 4 * 1024 * 1024;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
    pub len: usize,
}

/// What is known of a segment that is not written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub size: u64,
    pub first_lsn: Lsn,
    pub generation: u64,
    /// Damage was found in it, so it stays as it is.
    pub is_damaged: bool,
}

/// Where a log goes on after it was read.
#[derive(Debug, Default)]
pub struct Resume {
    pub sealed: BTreeMap<u64, Sealed>,
    /// The segment that is written to, where it ends, and what it holds; without one the log is new.
    pub active: Option<(u64, Lsn)>,
    pub end: u64,
    /// The active segment has all of its head; until then nothing older may go.
    pub has_head: bool,
    pub next_lsn: Lsn,
    pub summary: Builder,
}

/// A point in the log that everything before is known to have reached.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    bytes: u64,
    next_lsn: Lsn,
    summary: usize,
}

#[derive(Debug)]
pub struct Log {
    folder: Arc<dyn Folder>,
    sealed: BTreeMap<u64, Sealed>,
    active: Box<dyn StoredFile>,
    active_number: u64,
    active_first_lsn: Lsn,
    /// Bytes of the active segment that the operating system has.
    written: u64,
    buffer: Vec<u8>,
    next_lsn: Lsn,
    segment_bytes: u64,
    is_dirty: bool,
    poison: Option<String>,
    readers: Vec<(u64, Box<dyn StoredFile>)>,
    /// What the active segment's summary will say. Memory streams keep none, for they are never read back.
    summary: Option<Builder>,
    /// Up to where the owner was told that it worked.
    committed: Mark,
    synced: u64,
}

impl Log {
    /// A log that goes on as `resume` says.
    pub fn resume(
        folder: Arc<dyn Folder>,
        resume: Resume,
        segment_bytes: u64,
        has_summaries: bool,
    ) -> Result<Log, StoreError> {
        let next_lsn = resume.next_lsn;
        let (active, (active_number, active_first_lsn), written) = match resume.active {
            Some(active) => (segment::open(&*folder, active.0)?, active, resume.end),
            None => (
                segment::create(&*folder, 1, next_lsn)?,
                (1, next_lsn),
                FILE_HEADER_LEN as u64,
            ),
        };
        let mut log = Log {
            folder,
            sealed: resume.sealed,
            active,
            active_number,
            active_first_lsn,
            written,
            buffer: Vec::new(),
            next_lsn,
            segment_bytes,
            is_dirty: false,
            poison: None,
            readers: Vec::new(),
            summary: has_summaries.then_some(resume.summary),
            committed: Mark::default(),
            synced: written,
        };
        log.note_commit();
        Ok(log)
    }

    pub fn active_segment(&self) -> u64 {
        self.active_number
    }

    pub fn oldest_segment(&self) -> u64 {
        self.sealed
            .first_key_value()
            .map_or(self.active_number, |(&number, _)| number)
    }

    pub fn sealed(&self) -> &BTreeMap<u64, Sealed> {
        &self.sealed
    }

    pub(super) fn sealed_mut(&mut self) -> &mut BTreeMap<u64, Sealed> {
        &mut self.sealed
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub fn folder(&self) -> &Arc<dyn Folder> {
        &self.folder
    }

    pub fn has_summaries(&self) -> bool {
        self.summary.is_some()
    }

    /// Is there anything that the next [`Log::sync`] would make durable?
    pub fn is_dirty(&self) -> bool {
        self.is_dirty || !self.buffer.is_empty()
    }

    pub fn poison(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    /// Has the active segment reached its size? Rolling is left to the owner, who knows what the next one opens with.
    pub fn is_roll_due(&self) -> bool {
        self.written + self.buffer.len() as u64 >= self.segment_bytes
    }

    /// Not durable before the next [`Log::sync`].
    pub fn append(&mut self, record: &Record<'_>) -> Result<Position, StoreError> {
        self.check()?;
        let offset = self.written + self.buffer.len() as u64;
        let len = frame::encode(&mut self.buffer, self.next_lsn, record.kind(), |out| {
            record.encode(out);
        });
        self.next_lsn += 1;
        let position = Position {
            segment: self.active_number,
            offset,
            len,
        };
        if let Some(summary) = &mut self.summary {
            summary.push(record, position);
        }
        Ok(position)
    }

    /// Hands the buffer to the operating system: survives this process, not a power loss.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.write_buffer()?;
        self.note_commit();
        Ok(())
    }

    /// Everything appended so far survives a power loss once this returns.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.write_buffer()?;
        if self.is_dirty {
            let outcome = self.active.sync();
            let path = self.segment_path(self.active_number);
            self.poison_on_error(outcome.map_err(StoreError::io("sync", path)))?;
            self.is_dirty = false;
        }
        self.synced = self.written;
        self.note_commit();
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let outcome = self.active.write_at(&self.buffer, self.written);
        let path = self.segment_path(self.active_number);
        self.poison_on_error(outcome.map_err(StoreError::io("write", path)))?;
        self.written += self.buffer.len() as u64;
        self.is_dirty = true;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    fn note_commit(&mut self) {
        self.committed = Mark {
            bytes: self.written,
            next_lsn: self.next_lsn,
            summary: self.summary.as_ref().map_or(0, Builder::len),
        };
    }

    /// Starts a new segment. Until it is durable the old one stays the active one.
    pub fn roll(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        let number = self.active_number + 1;
        let outcome = segment::create(&*self.folder, number, self.next_lsn);
        self.active = self.poison_on_error(outcome)?;
        let sealed = Sealed {
            size: self.written,
            first_lsn: self.active_first_lsn,
            generation: 0,
            is_damaged: false,
        };
        if let Some(summary) = &mut self.summary {
            let of = summary::Subject {
                number: self.active_number,
                segment_bytes: self.written,
                generation: 0,
            };
            summary.write(&*self.folder, of, self.next_lsn);
            summary.clear();
        }
        self.sealed.insert(self.active_number, sealed);
        self.active_number = number;
        self.active_first_lsn = self.next_lsn;
        self.written = FILE_HEADER_LEN as u64;
        self.synced = self.written;
        self.note_commit();
        Ok(())
    }

    /// Brings the log back to the last point that its owner was told of. A new segment has to be started there.
    ///
    /// What was written since is cut off. What was written before but not synced is written once more: after a failed
    /// sync the system takes those pages for clean, and another sync alone would promise what it does not do.
    pub fn heal(&mut self) -> Result<(), StoreError> {
        self.buffer.clear();
        let outcome = self.rewrite_uncertain();
        let path = self.segment_path(self.active_number);
        outcome.map_err(StoreError::io("repair", path))?;
        self.written = self.committed.bytes;
        self.next_lsn = self.committed.next_lsn;
        if let Some(summary) = &mut self.summary {
            summary.truncate(self.committed.summary);
        }
        self.is_dirty = false;
        self.poison = None;
        self.synced = self.written;
        Ok(())
    }

    fn rewrite_uncertain(&self) -> std::io::Result<()> {
        let end = self.committed.bytes;
        self.active.truncate(end)?;
        let uncertain = usize::try_from(end - self.synced.min(end)).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; uncertain];
        self.active.read_at(&mut bytes, self.synced)?;
        self.active.write_at(&bytes, self.synced)?;
        self.active.sync()
    }

    /// Removes the segments before `keep_from`; the active one always stays.
    pub fn remove_before(&mut self, keep_from: u64) -> Result<(), StoreError> {
        while let Some((&oldest, _)) = self.sealed.first_key_value()
            && oldest < keep_from
        {
            self.remove_segment(oldest)?;
        }
        Ok(())
    }

    pub(super) fn remove_segment(&mut self, number: u64) -> Result<(), StoreError> {
        self.forget_reader(number);
        let removed = self.folder.remove(&folder::segment_name(number));
        removed.map_err(StoreError::io("remove", self.segment_path(number)))?;
        self.sealed.remove(&number);
        folder::remove_summary(&*self.folder, number);
        Ok(())
    }

    /// The frame at `position`, unchecked.
    pub fn read(&mut self, position: Position) -> Result<Vec<u8>, StoreError> {
        if position.offset + position.len as u64 > self.written && position.segment == self.active_number {
            self.write_buffer()?;
        }
        let path = self.segment_path(position.segment);
        let mut frame = vec![0; position.len];
        let file = self.reader(position.segment)?;
        file.read_at(&mut frame, position.offset)
            .map_err(StoreError::io("read", path))?;
        Ok(frame)
    }

    pub fn segment_path(&self, number: u64) -> PathBuf {
        self.folder.path(&folder::segment_name(number))
    }

    /// Writes from now on fail with `reason`.
    pub fn poison_with(&mut self, reason: String) {
        self.poison.get_or_insert(reason);
    }

    pub(super) fn forget_reader(&mut self, number: u64) {
        self.readers.retain(|(open, _)| *open != number);
    }

    pub(super) fn reader(&mut self, number: u64) -> Result<&dyn StoredFile, StoreError> {
        if number == self.active_number {
            return Ok(&*self.active);
        }
        let at = match self.readers.iter().position(|(open, _)| *open == number) {
            Some(at) => at,
            None => {
                let file = segment::open(&*self.folder, number)?;
                if self.readers.len() == READERS_MAX {
                    self.readers.remove(0);
                }
                self.readers.push((number, file));
                self.readers.len() - 1
            }
        };
        Ok(&*self.readers[at].1)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.poison
            .as_ref()
            .map_or(Ok(()), |reason| Err(StoreError::Poisoned(reason.clone())))
    }

    fn poison_on_error<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &outcome {
            self.poison = Some(error.to_string());
        }
        outcome
    }
}
