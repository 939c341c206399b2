//! Sequence sets (`1:4,7,*`) against what a mailbox holds.

use std::num::NonZeroU32;

use imap_next::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};

/// Whether `number` is in the set, where `*` stands for `last`.
///
/// `999:*` holds the last message even where it is below 999 (RFC 3501, seq-range).
pub(super) fn contains(set: &SequenceSet, number: NonZeroU32, last: NonZeroU32) -> bool {
    let resolve = |bound: &SeqOrUid| match bound {
        SeqOrUid::Value(value) => *value,
        SeqOrUid::Asterisk => last,
    };
    set.0.as_ref().iter().any(|sequence| match sequence {
        Sequence::Single(one) => resolve(one) == number,
        Sequence::Range(from, to) => {
            let (from, to) = (resolve(from), resolve(to));
            (from.min(to)..=from.max(to)).contains(&number)
        }
    })
}

/// Whether the set names a sequence number beyond `count`, which is an error; for UIDs it is none.
pub(super) fn exceeds(set: &SequenceSet, count: usize) -> bool {
    let beyond = |bound: &SeqOrUid| match bound {
        SeqOrUid::Value(value) => value.get() as usize > count,
        SeqOrUid::Asterisk => count == 0,
    };
    set.0.as_ref().iter().any(|sequence| match sequence {
        Sequence::Single(one) => beyond(one),
        Sequence::Range(from, to) => beyond(from) || beyond(to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(set: &str, numbers: &[u32]) -> Vec<u32> {
        let set: SequenceSet = set.parse().unwrap();
        let number = |n: u32| NonZeroU32::new(n).unwrap();
        let last = number(*numbers.last().unwrap());
        numbers
            .iter()
            .copied()
            .filter(|n| contains(&set, number(*n), last))
            .collect()
    }

    #[test]
    fn sets_pick_what_they_say() {
        let held = [1, 4, 7, 21];
        assert_eq!(picked("1:4,7", &held), [1, 4, 7]);
        assert_eq!(picked("4:*", &held), [4, 7, 21]);
        assert_eq!(picked("*", &held), [21]);
        assert_eq!(picked("999:*", &held), [21]);
        assert_eq!(picked("7:4", &held), [4, 7]);
        assert!(picked("2:3", &held).is_empty());
    }

    #[test]
    fn sequence_numbers_have_an_end() {
        let exceeds = |set: &str, count| exceeds(&set.parse().unwrap(), count);
        assert!(!exceeds("1:3", 3) && !exceeds("1:*", 3) && !exceeds("*", 1));
        assert!(exceeds("4", 3) && exceeds("1:4", 3) && exceeds("*", 0) && exceeds("1:*", 0));
    }
}
