//! The append-only log of one stream: records go to the end of the newest segment, and only whole segments go away.
//!
//! Appending only fills a buffer. [`Log::flush`] hands it to the operating system and [`Log::sync`] makes it durable,
//! so that whatever came in meanwhile shares one write and one fdatasync. After a failed write or sync nobody knows
//! what the disk holds; from then on the log refuses to be written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::folder::{self, Folder, StoredFile};
use super::frame::{self, Lsn};
use super::segment::{self, FILE_HEADER_LEN};
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

#[derive(Debug)]
pub struct Log {
    folder: Arc<dyn Folder>,
    segments: BTreeSet<u64>,
    active: Box<dyn StoredFile>,
    active_number: u64,
    /// Bytes of the active segment that the operating system has.
    written: u64,
    buffer: Vec<u8>,
    next_lsn: Lsn,
    segment_bytes: u64,
    is_dirty: bool,
    poison: Option<String>,
    readers: Vec<(u64, Box<dyn StoredFile>)>,
}

impl Log {
    /// A log that goes on at `written` in the newest of `segments`; with none, a new log.
    pub fn resume(
        folder: Arc<dyn Folder>,
        segments: BTreeSet<u64>,
        written: u64,
        next_lsn: Lsn,
        segment_bytes: u64,
    ) -> Result<Log, StoreError> {
        let mut segments = segments;
        let (active, active_number, written) = match segments.last() {
            Some(&number) => (segment::open(&*folder, number)?, number, written),
            None => (segment::create(&*folder, 1, next_lsn)?, 1, FILE_HEADER_LEN as u64),
        };
        segments.insert(active_number);
        Ok(Log {
            folder,
            segments,
            active,
            active_number,
            written,
            buffer: Vec::new(),
            next_lsn,
            segment_bytes,
            is_dirty: false,
            poison: None,
            readers: Vec::new(),
        })
    }

    pub fn active_segment(&self) -> u64 {
        self.active_number
    }

    pub fn oldest_segment(&self) -> u64 {
        self.segments.first().copied().unwrap_or(self.active_number)
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
        Ok(Position {
            segment: self.active_number,
            offset,
            len,
        })
    }

    /// Hands the buffer to the operating system: survives this process, not a power loss.
    pub fn flush(&mut self) -> Result<(), StoreError> {
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

    /// Everything appended so far survives a power loss once this returns.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if self.is_dirty {
            let path = self.segment_path(self.active_number);
            let outcome = self.active.sync().map_err(StoreError::io("sync", path));
            self.poison_on_error(outcome)?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Starts a new segment. Until it is durable the old one stays the active one.
    pub fn roll(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        let number = self.active_number + 1;
        let outcome = segment::create(&*self.folder, number, self.next_lsn);
        self.active = self.poison_on_error(outcome)?;
        self.active_number = number;
        self.written = FILE_HEADER_LEN as u64;
        self.segments.insert(number);
        Ok(())
    }

    /// Removes the segments before `keep_from`; the active one always stays.
    pub fn remove_before(&mut self, keep_from: u64) -> Result<(), StoreError> {
        let keep_from = keep_from.min(self.active_number);
        while let Some(&oldest) = self.segments.first()
            && oldest < keep_from
        {
            self.readers.retain(|(number, _)| *number != oldest);
            let removed = self.folder.remove(&folder::segment_name(oldest));
            removed.map_err(StoreError::io("remove", self.segment_path(oldest)))?;
            self.segments.pop_first();
        }
        Ok(())
    }

    /// The frame at `position`, unchecked.
    pub fn read(&mut self, position: Position) -> Result<Vec<u8>, StoreError> {
        if position.offset + position.len as u64 > self.written && position.segment == self.active_number {
            self.flush()?;
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

    fn reader(&mut self, number: u64) -> Result<&dyn StoredFile, StoreError> {
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
