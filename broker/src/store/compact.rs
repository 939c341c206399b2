//! Taking the dead out of sealed segments: a run of neighbours is rewritten as one, put in place of the newest of them
//! by a rename, and the others removed.
//!
//! A crash in between leaves the new one together with older ones that it supersedes, which its first LSN tells.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::folder::{self, STAGED_SUFFIX, StoredFile};
use super::frame;
use super::log::{Log, Position, Sealed};
use super::scan::{Found, Scan};
use super::segment::{self, FILE_HEADER_LEN};
use super::summary::{self, Builder};
use super::{Record, Seq, StoreError, StoredMessage, StreamStore};

/// A rewritten segment before it is in place.
struct Rewritten {
    bytes: Vec<u8>,
    summary: Builder,
    /// Where the living have moved.
    moved: BTreeMap<Seq, Position>,
}

impl StreamStore {
    /// The oldest run of sealed segments that is worth rewriting: half of it is dead, and what lives fits in one.
    pub fn worth_compacting(&self) -> Option<RangeInclusive<u64>> {
        let full = self.log.segment_bytes();
        let mut run: Option<(RangeInclusive<u64>, u64)> = None;
        for (&number, sealed) in self.log.sealed() {
            let live = self.index.live_bytes_in(number);
            let dead = sealed.size.saturating_sub(live);
            let extends = run.take().filter(|(_, before)| before + live <= full);
            if sealed.is_damaged {
                continue;
            }
            let (first, live) = extends.map_or((number, live), |(run, before)| (*run.start(), before + live));
            // Less than a quarter of a segment is not worth the writing.
            if dead >= sealed.size / 2 && dead >= full / 4 {
                return Some(first..=number);
            }
            // Small ones are carried along, so that they don't become many.
            if sealed.size <= full / 2 {
                run = Some((first..=number, live));
            }
        }
        None
    }

    /// Rewrites `run` without its dead. If that fails everything is as before.
    pub fn compact(&mut self, run: &RangeInclusive<u64>) -> Result<(), StoreError> {
        // Removals of what is below the first message are dropped, so where that is has to be durable first.
        self.note_state()?;
        let Some(rewritten) = self.rewrite(run)? else {
            return Ok(());
        };
        let number = *run.end();
        let sealed: Vec<Sealed> = self
            .log
            .sealed()
            .range(run.clone())
            .map(|(_, sealed)| *sealed)
            .collect();
        let generation = 1 + sealed.iter().map(|sealed| sealed.generation).max().unwrap_or(0);
        let first_lsn = sealed.first().map_or(0, |sealed| sealed.first_lsn);
        let size = put_in_place(&self.log, number, first_lsn, generation, &rewritten)?;
        // From here on the new one is what a reader finds, whether or not the rest succeeds.
        self.log.forget_reader(number);
        let after = Sealed {
            size,
            first_lsn,
            generation,
            is_damaged: false,
        };
        self.log.sealed_mut().insert(number, after);
        self.index.relocate(run, &rewritten.moved);
        self.scrub.restart_within(run);
        let folder = self.log.folder();
        folder.sync().map_err(StoreError::io("sync", folder.path("")))?;
        let merged: Vec<u64> = self
            .log
            .sealed()
            .range(*run.start()..number)
            .map(|(&number, _)| number)
            .collect();
        merged
            .into_iter()
            .try_for_each(|number| self.log.remove_segment(number))
    }

    /// `None` if damage was found, which is noted and stays where it is.
    fn rewrite(&mut self, run: &RangeInclusive<u64>) -> Result<Option<Rewritten>, StoreError> {
        let mut rewritten = Rewritten {
            bytes: Vec::new(),
            summary: Builder::default(),
            moved: BTreeMap::new(),
        };
        let mut oldest = None;
        let sealed: Vec<(u64, Sealed)> = self
            .log
            .sealed()
            .range(run.clone())
            .map(|(&number, &sealed)| (number, sealed))
            .collect();
        for (number, sealed) in sealed {
            let bytes = folder::read(&**self.log.folder(), &folder::segment_name(number))?;
            for found in Scan::new(&bytes, segment::frames_start(&bytes), sealed.first_lsn) {
                match found {
                    Found::Record {
                        offset,
                        lsn,
                        kind,
                        body,
                    } => match Record::decode(kind, body) {
                        Some(Record::Message(message)) => {
                            oldest.get_or_insert(message.seq);
                            let entry = self.index.get(message.seq);
                            let is_here = entry.is_some_and(|entry| {
                                let at = entry.position();
                                (at.segment, at.offset) == (number, offset as u64)
                            });
                            if is_here {
                                // What is here of a batch counts; the rest may be dead.
                                let alone = StoredMessage {
                                    part: None,
                                    ..message
                                };
                                let position = rewritten.push(&Record::Message(alone), lsn, *run.end());
                                rewritten.moved.insert(message.seq, position);
                            }
                        }
                        Some(Record::Removed(mut seqs)) => {
                            // What is gone from older segments has to stay gone; in these it is gone for good.
                            let first = self.index.first_seq();
                            seqs.retain(|&seq| seq >= first && oldest.is_none_or(|oldest| seq < oldest));
                            if !seqs.is_empty() {
                                rewritten.push(&Record::Removed(seqs), lsn, *run.end());
                            }
                        }
                        // All else is superseded by what the next segment opens with.
                        _ => {}
                    },
                    Found::Damaged { offset, len } => {
                        self.note_damage(number, offset as u64, len as u64);
                        return Ok(None);
                    }
                    Found::Torn { offset } => {
                        self.note_damage(number, offset as u64, (bytes.len() - offset) as u64);
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some(rewritten))
    }
}

impl Rewritten {
    fn push(&mut self, record: &Record<'_>, lsn: frame::Lsn, segment: u64) -> Position {
        let offset = (FILE_HEADER_LEN + self.bytes.len()) as u64;
        let len = frame::encode(&mut self.bytes, lsn, record.kind(), |out| record.encode(out));
        let position = Position { segment, offset, len };
        self.summary.push(record, position);
        position
    }
}

/// The size of the new segment, which is in place but not durably so.
fn put_in_place(
    log: &Log,
    number: u64,
    first_lsn: frame::Lsn,
    generation: u64,
    rewritten: &Rewritten,
) -> Result<u64, StoreError> {
    let folder = &**log.folder();
    let name = folder::segment_name(number);
    let staged = format!("{name}{STAGED_SUFFIX}");
    let write = || {
        let file: Box<dyn StoredFile> = segment::create_anew(folder, &staged)?;
        file.write_at(&segment::encode_header(number, first_lsn, generation), 0)?;
        file.write_at(&rewritten.bytes, FILE_HEADER_LEN as u64)?;
        file.sync()?;
        folder.rename(&staged, &name)
    };
    write().map_err(StoreError::io("compact", folder.path(&name)))?;
    let segment_bytes = (FILE_HEADER_LEN + rewritten.bytes.len()) as u64;
    if log.has_summaries() {
        let of = summary::Subject {
            number,
            segment_bytes,
            generation,
        };
        // Where the next segment starts is told by itself.
        rewritten.summary.write(folder, of, 0);
    }
    Ok(segment_bytes)
}
