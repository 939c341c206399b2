//! Batches count as wholes: which of those that a segment holds do. Pure.
//!
//! The messages of a batch lie one after the other in one segment. A batch counts if all of them are sound, or if the
//! segment says further on (`WholeBatches`) that they all were on disk: then what is missing was damaged since. That word
//! is written after a sync and needs none itself, so a batch takes no second sync, and no half-written one ever counts.

use std::collections::{BTreeMap, HashSet};

use super::frame::Lsn;
use super::scan::{Found, Scan};
use super::{Record, Seq};

#[derive(Debug, Default)]
pub struct Batches {
    /// How many messages of each are sound, of how many.
    seen: BTreeMap<Seq, (u16, u16)>,
    whole: HashSet<Seq>,
}

impl Batches {
    /// Looks through what follows `start`, which is where the first batch begins.
    pub fn scan(bytes: &[u8], start: usize, expected: Lsn) -> Batches {
        let mut batches = Batches::default();
        for found in Scan::new(bytes, start, expected) {
            let Found::Record { kind, body, .. } = found else {
                continue;
            };
            match Record::decode(kind, body) {
                Some(Record::Message(message)) => {
                    if let Some((first, of)) = message.batch() {
                        batches.seen.entry(first).or_insert((0, of)).0 += 1;
                    }
                }
                Some(Record::WholeBatches(firsts)) => batches.whole.extend(firsts),
                _ => {}
            }
        }
        batches
    }

    pub fn counts(&self, first: Seq) -> bool {
        self.whole.contains(&first) || self.seen.get(&first).is_some_and(|(sound, of)| sound == of)
    }

    /// Those that count, and of which that was not said yet.
    pub fn unsaid(&self) -> Vec<Seq> {
        let known = self.seen.keys().copied();
        known
            .filter(|first| self.counts(*first) && !self.whole.contains(first))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use tempfile::TempDir;

    use crate::store::accounting::Accounting;
    use crate::store::folder::{self, OsFolder};
    use crate::store::record::Part;
    use crate::store::{Seq, StreamStore};

    const SIZE: u16 = 3;
    const BODIES: [&[u8]; 6] = [b"before", b"part 0", b"part 1", b"part 2", b"after", b"new"];

    fn open(directory: &Path) -> StreamStore {
        let folder = Arc::new(OsFolder::new(directory));
        let (store, _) = StreamStore::open(folder, Accounting::File, &mut |_, _| {}).unwrap();
        store
    }

    fn there(store: &mut StreamStore) -> Vec<Seq> {
        let last = store.index().last_seq();
        let mut found = Vec::new();
        for seq in 1..=last {
            if let Ok(Some(message)) = store.load(seq) {
                assert!(BODIES.contains(&&message.body[..]), "{seq}: {:?}", message.body);
                found.push(seq);
            }
        }
        found
    }

    fn publish_batch(store: &mut StreamStore) {
        for at in 0..SIZE {
            let part = Some(Part { at, of: SIZE });
            store
                .append_part(part, 7, b"a.b", b"", format!("part {at}").as_bytes())
                .unwrap();
        }
    }

    /// The bytes of a segment with one message and a batch after it, and where each of the batch's records begins and
    /// the last one ends. Further on, if `is_said`, is the word that all of it is on disk, and another message.
    fn sample(is_said: bool) -> (Vec<u8>, Vec<usize>) {
        let directory = TempDir::new().unwrap();
        let mut store = open(directory.path());
        store.append_message(7, b"a.b", b"", b"before").unwrap();
        store.sync().unwrap();
        publish_batch(&mut store);
        let mut places = (2..2 + Seq::from(SIZE)).map(|seq| store.index().get(seq).unwrap().position());
        let mut bounds: Vec<usize> = places
            .clone()
            .map(|at| usize::try_from(at.offset).unwrap())
            .collect();
        bounds.push(bounds[bounds.len() - 1] + places.next_back().unwrap().len);
        if is_said {
            store.sync().unwrap();
            store.append_message(7, b"a.b", b"", b"after").unwrap();
        }
        store.flush().unwrap();
        (
            fs::read(directory.path().join(folder::segment_name(1))).unwrap(),
            bounds,
        )
    }

    /// What a store with this segment has; it goes on from there, and does so again.
    fn reopened(bytes: &[u8]) -> Vec<Seq> {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join(folder::segment_name(1)), bytes).unwrap();
        let mut store = open(directory.path());
        let found = there(&mut store);
        let new = store.append_message(7, b"a.b", b"", b"new").unwrap();
        publish_batch(&mut store);
        store.roll(&[]).unwrap();
        drop(store);
        // With its summary, and without.
        for name in ["", &folder::summary_name(1)] {
            let _ = fs::remove_file(directory.path().join(name));
            let mut store = open(directory.path());
            let all = there(&mut store);
            let expect: Vec<Seq> = found.iter().copied().chain(new..=new + Seq::from(SIZE)).collect();
            assert_eq!(all, expect, "after {found:?}");
        }
        found
    }

    #[test]
    fn cut_anywhere_it_is_there_as_a_whole_or_not_at_all() {
        let (bytes, bounds) = sample(false);
        for cut in bounds[0]..=bounds[3] {
            let expect: &[Seq] = if cut == bounds[3] { &[1, 2, 3, 4] } else { &[1] };
            assert_eq!(reopened(&bytes[..cut]), expect, "cut {cut}");
        }
    }

    #[test]
    fn its_messages_count_for_as_much_as_others() {
        let directory = TempDir::new().unwrap();
        let mut store = open(directory.path());
        publish_batch(&mut store);
        let bytes = u64::from(SIZE) * Accounting::File.bytes(3, 0, 6);
        assert_eq!(store.index().bytes(), bytes);
        store.roll(&[]).unwrap();
        drop(store);
        assert_eq!(open(directory.path()).index().bytes(), bytes);
    }

    /// Of an unsynced write a power loss may leave any part.
    #[test]
    fn nor_does_it_count_without_its_beginning_or_middle() {
        let (whole, bounds) = sample(false);
        for lost in 0..usize::from(SIZE) {
            let mut bytes = whole.clone();
            bytes[bounds[lost]..bounds[lost + 1]].fill(0);
            assert_eq!(reopened(&bytes), [1], "without {lost}");
        }
    }

    #[test]
    fn once_on_disk_a_flipped_bit_costs_one_message_of_it() {
        let (whole, bounds) = sample(true);
        for bit in (bounds[0] * 8..whole.len() * 8).step_by(29) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let hit = bounds.iter().filter(|&&bound| bound <= bit / 8).count() as Seq;
            // After the batch there are the word and the last message.
            let found = reopened(&bytes);
            let lost: Vec<Seq> = (1..=5).filter(|seq| !found.contains(seq)).collect();
            if hit <= Seq::from(SIZE) {
                assert_eq!(lost, [hit + 1], "bit {bit}");
            } else {
                assert!(lost.is_empty() || lost == [5], "bit {bit}: {lost:?}");
            }
        }
    }
}
