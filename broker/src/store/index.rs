//! Where each live message of a stream lies, and which subjects it has. In memory, rebuilt from the log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;

use super::accounting::Accounting;
pub use super::entry::Entry;
use super::frame;
use super::log::Position;
use super::{Nanos, Seq, StoredMessage};
use crate::subject::Filter;

/// Gaps are kept in place until they outnumber the living by this many.
const GAPS_TOLERATED: usize = 1024;

#[derive(Debug, Default)]
pub struct Index {
    accounting: Accounting,
    /// Ascending by `seq`.
    entries: VecDeque<Entry>,
    gaps: usize,
    bytes: u64,
    last_seq: Seq,
    last_time: Nanos,
    subjects: Vec<Subject>,
    by_name: HashMap<Arc<[u8]>, u32>,
    free: Vec<u32>,
    /// Bytes of live messages in each segment.
    live: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Subject {
    name: Arc<[u8]>,
    seqs: VecDeque<Seq>,
}

impl Index {
    pub fn new(accounting: Accounting) -> Index {
        Index {
            accounting,
            ..Index::default()
        }
    }

    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    pub fn messages(&self) -> u64 {
        (self.entries.len() - self.gaps) as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    pub fn last_time(&self) -> Nanos {
        self.last_time
    }

    /// The sequence of the oldest live message, or the one that the next message would be the first with.
    pub fn first_seq(&self) -> Seq {
        self.first().map_or(self.last_seq + 1, |entry| entry.seq)
    }

    pub fn first(&self) -> Option<&Entry> {
        // The front is never a gap: removal pops gaps off it.
        self.entries.front()
    }

    /// Sequences up to `last_seq` count as given, whether or not a message is there.
    pub fn skip_to(&mut self, last_seq: Seq) {
        self.last_seq = self.last_seq.max(last_seq);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "segments stay far below 4 GiB and 2^32 in number"
    )]
    pub fn insert(&mut self, message: &StoredMessage<'_>, position: Position) {
        // Not from the payload, which is not there when this comes out of a summary.
        let envelope = frame::HEADER_LEN + message.envelope_len();
        let accounted = self.accounting.bytes(
            message.subject.len(),
            message.headers.len(),
            position.len.saturating_sub(envelope),
        );
        let subject = self.intern(message.subject);
        self.subjects[subject as usize].seqs.push_back(message.seq);
        self.entries.push_back(Entry {
            seq: message.seq,
            time: message.time,
            segment: position.segment as u32,
            offset: position.offset as u32,
            len: position.len as u32,
            accounted: accounted as u32,
            subject,
        });
        self.bytes += accounted;
        *self.live.entry(position.segment as u32).or_default() += position.len as u64;
        self.last_seq = message.seq;
        self.last_time = message.time;
    }

    pub fn get(&self, seq: Seq) -> Option<&Entry> {
        self.slot(seq).map(|at| &self.entries[at])
    }

    /// The first live message at or after `seq`.
    pub fn next(&self, seq: Seq) -> Option<&Entry> {
        self.entries
            .range(self.lower_bound(seq)..)
            .find(|entry| entry.is_live())
    }

    /// The first live message at or after `seq` that one of `filters` matches; none means all.
    pub fn next_matching(&self, seq: Seq, filters: &[Filter]) -> Option<&Entry> {
        if let Some(subjects) = self.literal_subjects(filters) {
            let next = subjects.into_iter().filter_map(|id| {
                let seqs = &self.subjects[id as usize].seqs;
                seqs.get(seqs.partition_point(|&other| other < seq)).copied()
            });
            return self.get(next.min()?);
        }
        let matches = |entry: &&Entry| {
            entry.is_live()
                && (filters.is_empty()
                    || filters
                        .iter()
                        .any(|filter| filter.matches(self.subject_of(entry))))
        };
        self.entries.range(self.lower_bound(seq)..).find(matches)
    }

    /// The first live message not older than `time`.
    pub fn first_since(&self, time: Nanos) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.time < time);
        self.entries.range(at..).find(|entry| entry.is_live())
    }

    /// How many live messages at or after `seq` match.
    pub fn count_matching(&self, seq: Seq, filters: &[Filter]) -> u64 {
        if filters.is_empty() && seq <= self.first_seq() {
            return self.messages();
        }
        let since =
            |subject: &Subject| subject.seqs.len() - subject.seqs.partition_point(|&other| other < seq);
        self.matching_subjects(filters).map(since).sum::<usize>() as u64
    }

    /// The newest live sequence up to `until` that matches.
    pub fn last_matching(&self, until: Seq, filters: &[Filter]) -> Option<Seq> {
        self.last_per_subject(until, filters).into_iter().max()
    }

    /// The newest live sequence up to `until` of each subject that matches, in no order.
    pub fn last_per_subject(&self, until: Seq, filters: &[Filter]) -> Vec<Seq> {
        self.matching_subjects(filters)
            .filter_map(|subject| {
                let count = subject.seqs.partition_point(|&seq| seq <= until);
                subject.seqs.get(count.checked_sub(1)?).copied()
            })
            .collect()
    }

    pub fn last_of_subject(&self, subject: &[u8]) -> Option<Seq> {
        self.seqs_of(subject)?.back().copied()
    }

    /// The live sequences of one literal subject, ascending.
    pub fn seqs_of(&self, subject: &[u8]) -> Option<&VecDeque<Seq>> {
        let id = *self.by_name.get(subject)?;
        Some(&self.subjects[id as usize].seqs)
    }

    pub fn num_subjects(&self) -> usize {
        self.by_name.len()
    }

    /// Subjects with their message counts, by name.
    pub fn subjects<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = (&'a [u8], usize)> {
        self.matching_subjects(std::slice::from_ref(filter))
            // Some are known by name only, from when they had any.
            .filter(|subject| !subject.seqs.is_empty())
            .map(|subject| (&*subject.name, subject.seqs.len()))
    }

    /// The sequences after `last_seq` are given to nothing any more.
    pub fn back_to(&mut self, last_seq: Seq) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.seq > last_seq && !entry.is_live())
        {
            self.entries.pop_back();
            self.gaps -= 1;
        }
        self.last_seq = last_seq;
    }

    pub fn subject_names(&self) -> impl Iterator<Item = Bytes> {
        self.by_name.keys().map(|name| Bytes::copy_from_slice(name))
    }

    pub fn subject_of(&self, entry: &Entry) -> &[u8] {
        &self.subjects[entry.subject as usize].name
    }

    /// The live sequences in `range` that match `filters`, oldest first.
    pub fn matching_within(&self, range: Range<Seq>, filters: &[Filter]) -> Vec<Seq> {
        let mut found = Vec::new();
        let mut next = range.start;
        while let Some(entry) = self
            .next_matching(next, filters)
            .filter(|entry| entry.seq < range.end)
        {
            found.push(entry.seq);
            next = entry.seq + 1;
        }
        found
    }

    /// The live sequences below `seq` that match `filters`, oldest first.
    pub fn matching_below(&self, seq: Seq, filters: &[Filter]) -> Vec<Seq> {
        let mut found: Vec<Seq> = self
            .matching_subjects(filters)
            .flat_map(|subject| subject.seqs.iter().copied().take_while(|&other| other < seq))
            .collect();
        found.sort_unstable();
        found
    }

    /// Takes a message out; its subject, if it was there.
    pub fn remove(&mut self, seq: Seq) -> Option<Arc<[u8]>> {
        let at = self.slot(seq)?;
        let entry = self.entries[at];
        self.entries[at].len = 0;
        self.gaps += 1;
        self.bytes -= u64::from(entry.accounted);
        if let Some(live) = self.live.get_mut(&entry.segment) {
            *live -= u64::from(entry.len);
            if *live == 0 {
                self.live.remove(&entry.segment);
            }
        }
        let name = self.forget_subject(entry.subject, seq);
        while self.entries.front().is_some_and(|front| !front.is_live()) {
            self.entries.pop_front();
            self.gaps -= 1;
        }
        if self.gaps > self.entries.len() / 2 + GAPS_TOLERATED {
            self.entries.retain(Entry::is_live);
            self.gaps = 0;
        }
        Some(name)
    }

    /// How much of a segment is live messages.
    pub fn live_bytes_in(&self, segment: u64) -> u64 {
        let segment = u32::try_from(segment).unwrap_or(u32::MAX);
        self.live.get(&segment).copied().unwrap_or(0)
    }

    /// The live messages of one segment.
    pub fn in_segment(&self, segment: u64) -> impl Iterator<Item = &Entry> {
        let first = self
            .entries
            .partition_point(|entry| u64::from(entry.segment) < segment);
        self.entries
            .range(first..)
            .take_while(move |entry| u64::from(entry.segment) == segment)
            .filter(|entry| entry.is_live())
    }

    /// The live messages of the segments in `run` are now in the last of them, where `moved` says.
    #[expect(clippy::cast_possible_truncation, reason = "as in insert")]
    pub fn relocate(&mut self, run: &RangeInclusive<u64>, moved: &BTreeMap<Seq, Position>) {
        let first = self
            .entries
            .partition_point(|entry| u64::from(entry.segment) < *run.start());
        let mut live = 0;
        for entry in self.entries.range_mut(first..) {
            if u64::from(entry.segment) > *run.end() {
                break;
            }
            entry.segment = *run.end() as u32;
            if let Some(position) = moved.get(&entry.seq).filter(|_| entry.is_live()) {
                entry.offset = position.offset as u32;
                // Of a batch's message it is less than it was.
                entry.len = position.len as u32;
                live += u64::from(entry.len);
            }
        }
        self.live.retain(|&segment, _| !run.contains(&u64::from(segment)));
        if live > 0 {
            self.live.insert(*run.end() as u32, live);
        }
    }

    fn matching_subjects<'a>(&'a self, filters: &'a [Filter]) -> impl Iterator<Item = &'a Subject> {
        let literal = self.literal_subjects(filters);
        let all = literal.is_none().then_some(&self.subjects);
        let matching = all.into_iter().flatten().filter(move |subject| {
            filters.is_empty() || filters.iter().any(|filter| filter.matches(&subject.name))
        });
        let named = literal.into_iter().flatten();
        named.map(|id| &self.subjects[id as usize]).chain(matching)
    }

    /// The subjects that filters without wildcards name, found without looking at the others.
    fn literal_subjects(&self, filters: &[Filter]) -> Option<Vec<u32>> {
        let names: Option<Vec<&[u8]>> = filters.iter().map(Filter::literal).collect();
        let names = names.filter(|names| !names.is_empty())?;
        let mut ids: Vec<u32> = names
            .iter()
            .filter_map(|&name| self.by_name.get(name).copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    fn intern(&mut self, name: &[u8]) -> u32 {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let name: Arc<[u8]> = name.into();
        let subject = Subject {
            name: Arc::clone(&name),
            seqs: VecDeque::new(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.subjects[id as usize] = subject;
                id
            }
            None => {
                self.subjects.push(subject);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "4 billion subjects do not fit in memory"
                )]
                let id = (self.subjects.len() - 1) as u32;
                id
            }
        };
        self.by_name.insert(name, id);
        id
    }

    fn forget_subject(&mut self, id: u32, seq: Seq) -> Arc<[u8]> {
        let subject = &mut self.subjects[id as usize];
        if let Ok(at) = subject.seqs.binary_search(&seq) {
            subject.seqs.remove(at);
        }
        let name = Arc::clone(&subject.name);
        if subject.seqs.is_empty() {
            self.by_name.remove(&name);
            self.free.push(id);
        }
        name
    }

    fn slot(&self, seq: Seq) -> Option<usize> {
        let at = self.lower_bound(seq);
        let entry = self.entries.get(at)?;
        (entry.seq == seq && entry.is_live()).then_some(at)
    }

    /// The first slot whose sequence is not below `seq`. Without gaps it is where arithmetic says.
    fn lower_bound(&self, seq: Seq) -> usize {
        let Some(front) = self.entries.front() else {
            return 0;
        };
        let guess = usize::try_from(seq.saturating_sub(front.seq)).unwrap_or(usize::MAX);
        match self.entries.get(guess) {
            Some(entry) if entry.seq == seq => guess,
            _ => self.entries.partition_point(|entry| entry.seq < seq),
        }
    }
}
