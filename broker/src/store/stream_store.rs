//! A stream on disk: its log, and the index that the log adds up to.

use std::sync::Arc;

use bytes::Bytes;

use super::accounting::Accounting;
use super::folder::Folder;
use super::frame::{self, HEADER_LEN};
use super::index::Index;
use super::log::{Log, Position};
use super::record::MESSAGE_OVERHEAD;
use super::scrub::Scrub;
use super::{Damage, Nanos, Record, Seq, StoreError, replay};

/// A segment is the unit in which space comes back; small enough for that, large enough to be few.
#[cfg(not(test))]
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Tests roll early and often.
#[cfg(test)]
const SEGMENT_BYTES: u64 = 4 * 1024;

/// What opening a store found besides sound records.
#[derive(Debug, Default)]
pub struct Recovery {
    pub records: u64,
    /// The unfinished end of the log, which was cut off: where, and how many bytes.
    pub torn: Option<(Position, u64)>,
    pub damage: Vec<Damage>,
}

/// A message read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub seq: Seq,
    pub time: Nanos,
    pub subject: Bytes,
    pub header_len: usize,
    /// Header block and payload.
    pub body: Bytes,
}

#[derive(Debug)]
pub struct StreamStore {
    pub(super) log: Log,
    pub(super) index: Index,
    damage: Vec<Damage>,
    /// Taken out one by one since the last commit: said again if that fails.
    uncertain_removals: Vec<Seq>,
    /// Batches that are written and not synced yet, by the sequence of the first message of each.
    pub(super) open_batches: Vec<Seq>,
    /// Does the active segment open with the whole state? Until it does, nothing older may go.
    has_head: bool,
    pub(super) scrub: Scrub,
}

impl StreamStore {
    /// Opens what is in `folder` and tells `visit` every record in order, with the segment it lies in.
    pub fn open(
        folder: Arc<dyn Folder>,
        accounting: Accounting,
        visit: &mut dyn FnMut(&Record<'_>, u64),
    ) -> Result<(StreamStore, Recovery), StoreError> {
        let mut index = Index::new(accounting);
        let replayed = replay::replay(&*folder, &mut |record, position| {
            apply(&mut index, record, position);
            visit(record, position.segment);
        })?;
        let has_head = replayed.resume.has_head || replayed.resume.active.is_none();
        let has_summaries = accounting == Accounting::File;
        let log = Log::resume(folder, replayed.resume, SEGMENT_BYTES, has_summaries)?;
        let mut store = StreamStore {
            log,
            index,
            damage: replayed.recovery.damage,
            uncertain_removals: Vec::new(),
            open_batches: replayed.unsaid_batches,
            has_head,
            scrub: Scrub::default(),
        };
        store.index.skip_to(replayed.dropped_to);
        if let Some(unreadable) = replayed.unreadable_tail {
            store.burn_sequences(unreadable)?;
        }
        let recovery = Recovery {
            damage: store.damage.clone(),
            ..replayed.recovery
        };
        Ok((store, recovery))
    }

    /// Damage at the very end may have held acknowledged messages whose sequences nobody can read any more. As many
    /// are skipped as can have fitted, so that none is given twice.
    fn burn_sequences(&mut self, unreadable: u64) -> Result<(), StoreError> {
        let smallest = (HEADER_LEN + MESSAGE_OVERHEAD + 1) as u64;
        let last_known = self.index.last_seq();
        let burned = last_known + unreadable / smallest + 1;
        if let Some(damage) = self.damage.last_mut() {
            damage.lost.push(last_known + 1..=burned);
        }
        self.index.skip_to(burned);
        if self.has_head {
            self.log.append(&self.state_record())?;
            self.log.sync()?;
        }
        Ok(())
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Why this store takes no more writes, if it does not.
    pub fn poison(&self) -> Option<&str> {
        self.log.poison()
    }

    pub fn active_segment(&self) -> u64 {
        self.log.active_segment()
    }

    pub fn is_dirty(&self) -> bool {
        self.log.is_dirty()
    }

    /// Appends what is not about messages.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        self.log.append(record).map(|_| ())
    }

    /// Takes messages out one by one, telling `removed` each that was there.
    pub fn remove(&mut self, seqs: &[Seq], mut removed: impl FnMut(Seq, &[u8])) -> Result<u64, StoreError> {
        let there: Vec<Seq> = seqs
            .iter()
            .copied()
            .filter(|&seq| self.index.get(seq).is_some())
            .collect();
        if there.is_empty() {
            return Ok(0);
        }
        self.log.append(&Record::Removed(there.clone()))?;
        self.uncertain_removals.extend(&there);
        for &seq in &there {
            if let Some(subject) = self.index.remove(seq) {
                removed(seq, &subject);
            }
        }
        Ok(there.len() as u64)
    }

    /// Takes out everything below `first_seq`.
    pub fn trim(&mut self, first_seq: Seq, mut removed: impl FnMut(Seq, &[u8])) -> Result<u64, StoreError> {
        if self.index.first_seq() >= first_seq {
            return Ok(0);
        }
        self.log.append(&Record::Trimmed { first_seq })?;
        let mut count = 0;
        while let Some((seq, subject)) = remove_first_below(&mut self.index, first_seq) {
            removed(seq, &subject);
            count += 1;
        }
        self.index.skip_to(first_seq - 1);
        Ok(count)
    }

    /// Reads a message back; `None` when there is none at `seq`.
    pub fn load(&mut self, seq: Seq) -> Result<Option<Loaded>, StoreError> {
        let Some(position) = self.index.get(seq).map(super::index::Entry::position) else {
            return Ok(None);
        };
        let frame = Bytes::from(self.log.read(position)?);
        let header = frame::decode_header(&frame).filter(|header| header.frame_len() == frame.len());
        let record = header.and_then(|header| Record::decode(header.kind, header.body(&frame)?));
        match record {
            Some(Record::Message(message)) if message.seq == seq => Ok(Some(Loaded {
                seq,
                time: message.time,
                subject: frame.slice_ref(message.subject),
                header_len: message.headers.len(),
                // Headers and payload lie side by side at the end of the frame.
                body: frame.slice(frame.len() - message.headers.len() - message.payload.len()..),
            })),
            _ => {
                self.note_damage(position.segment, position.offset, position.len as u64);
                Err(StoreError::Damaged {
                    seq,
                    path: self.log.segment_path(position.segment),
                    offset: position.offset,
                })
            }
        }
    }

    /// Remembers damage in bytes that were written soundly once. False if it was known.
    pub(super) fn note_damage(&mut self, segment: u64, offset: u64, bytes: u64) -> bool {
        let known = |damage: &Damage| (damage.segment, damage.offset) == (segment, offset);
        if self.damage.iter().any(known) {
            return false;
        }
        let lies_in = |at: Position| at.offset < offset + bytes && offset < at.offset + at.len as u64;
        let lost = self
            .index
            .in_segment(segment)
            .filter(|entry| lies_in(entry.position()))
            .map(|entry| entry.seq..=entry.seq);
        let damage = Damage {
            segment,
            offset,
            bytes,
            lost: lost.collect(),
        };
        self.damage.push(damage);
        if let Some(sealed) = self.log.sealed_mut().get_mut(&segment) {
            sealed.is_damaged = true;
        }
        true
    }

    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.log.flush()?;
        self.uncertain_removals.clear();
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.log.sync()?;
        self.uncertain_removals.clear();
        self.say_batches()
    }

    /// Has the active segment reached its size, or does it lack what it should have opened with?
    pub fn is_roll_due(&self) -> bool {
        self.log.is_roll_due() || !self.has_head
    }

    /// Starts a new segment that opens with the whole state besides messages, so that older ones can go.
    pub fn roll(&mut self, state: &[Record<'_>]) -> Result<(), StoreError> {
        // What is to be said of this segment's batches is said in it.
        self.sync()?;
        self.log.roll()?;
        self.write_head(state)
    }

    /// The stream's own state comes last: where it is found, the rest is there too.
    fn write_head(&mut self, state: &[Record<'_>]) -> Result<(), StoreError> {
        self.has_head = false;
        for record in state {
            self.log.append(record)?;
        }
        self.log.append(&self.state_record())?;
        self.sync()?;
        self.has_head = true;
        Ok(())
    }

    /// Forgets the messages after `visible`, which were never acknowledged nor shown, after a failed write.
    pub fn roll_back(&mut self, visible: Seq, mut removed: impl FnMut(Seq, &[u8])) {
        self.open_batches.retain(|&first| first <= visible);
        while let Some(seq) = self.index.next(visible + 1).map(|entry| entry.seq) {
            if let Some(subject) = self.index.remove(seq) {
                removed(seq, &subject);
            }
        }
    }

    /// Sequences up to `last_seq` were given once, although the log does not say so any more.
    pub fn skip_to(&mut self, last_seq: Seq) {
        self.index.skip_to(last_seq);
    }

    /// Sequences after `last_seq`, all forgotten, may be given again.
    pub fn reuse_after(&mut self, last_seq: Seq) {
        self.index.back_to(last_seq);
    }

    /// Takes writes again after a failed one, if the disk does: what is uncertain is cut off or written anew, and a new
    /// segment opens with `state`.
    pub fn heal(&mut self, state: &[Record<'_>]) -> Result<(), StoreError> {
        self.log.heal()?;
        self.say_batches()?;
        self.log.roll()?;
        self.has_head = false;
        let again = std::mem::take(&mut self.uncertain_removals);
        let outcome = self.note_gone(&again).and_then(|()| self.write_head(state));
        if outcome.is_err() {
            self.uncertain_removals = again;
        }
        outcome
    }

    /// Says durably what is gone. That comes before `state`: consumers have moved on past it, and if their progress were
    /// on disk without it, what comes back would never be delivered.
    fn note_gone(&mut self, removed: &[Seq]) -> Result<(), StoreError> {
        let first_seq = self.index.first_seq();
        self.log.append(&Record::Trimmed { first_seq })?;
        if !removed.is_empty() {
            self.log.append(&Record::Removed(removed.to_vec()))?;
        }
        self.log.sync()
    }

    /// The first segment that still holds a live message; all before it can go.
    pub fn first_needed_segment(&self) -> Option<u64> {
        let needed = self
            .index
            .first()
            .map_or(self.log.active_segment(), |entry| entry.position().segment);
        (self.has_head && needed > self.log.oldest_segment()).then_some(needed)
    }

    /// Removes the segments before `keep_from`. What they say is first superseded durably.
    pub fn reclaim(&mut self, keep_from: u64) -> Result<(), StoreError> {
        self.note_state()?;
        self.log.remove_before(keep_from)
    }

    /// Says durably where the stream begins and ends.
    pub(super) fn note_state(&mut self) -> Result<(), StoreError> {
        self.log.append(&self.state_record())?;
        self.sync()
    }

    /// Refuses all further writes, as after a failed one.
    pub fn poison_with(&mut self, reason: String) {
        self.log.poison_with(reason);
    }

    pub(super) fn state_record(&self) -> Record<'static> {
        Record::StreamState {
            first_seq: self.index.first_seq(),
            last_seq: self.index.last_seq(),
        }
    }
}

/// Brings the index up to date with one record of the log.
fn apply(index: &mut Index, record: &Record<'_>, position: Position) {
    match record {
        Record::Message(message) if message.seq > index.last_seq() => index.insert(message, position),
        Record::Removed(seqs) => {
            for &seq in seqs {
                index.remove(seq);
            }
        }
        Record::Trimmed { first_seq } => {
            while remove_first_below(index, *first_seq).is_some() {}
            index.skip_to(first_seq.saturating_sub(1));
        }
        Record::StreamState { first_seq, last_seq } => {
            while remove_first_below(index, *first_seq).is_some() {}
            index.skip_to(*last_seq);
        }
        _ => {}
    }
}

fn remove_first_below(index: &mut Index, first_seq: Seq) -> Option<(Seq, Arc<[u8]>)> {
    let seq = index
        .first()
        .map(|entry| entry.seq)
        .filter(|&seq| seq < first_seq)?;
    index.remove(seq).map(|subject| (seq, subject))
}
