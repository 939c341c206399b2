//! Which message is due when. Pure: times are nanoseconds of a clock that never jumps.

use std::collections::{BTreeSet, HashMap};

use crate::store::Seq;

#[derive(Debug, Default)]
pub struct Deadlines {
    by_time: BTreeSet<(u64, Seq)>,
    of: HashMap<Seq, u64>,
}

impl Deadlines {
    /// Sets or moves the deadline of `seq`.
    pub fn set(&mut self, seq: Seq, at: u64) {
        if let Some(before) = self.of.insert(seq, at) {
            self.by_time.remove(&(before, seq));
        }
        self.by_time.insert((at, seq));
    }

    pub fn clear(&mut self, seq: Seq) {
        if let Some(at) = self.of.remove(&seq) {
            self.by_time.remove(&(at, seq));
        }
    }

    pub fn next(&self) -> Option<u64> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest one whose time has come.
    pub fn pop_due(&mut self, now: u64) -> Option<Seq> {
        let &(at, seq) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, seq));
        self.of.remove(&seq);
        Some(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_in_order_and_moved() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1, 30);
        deadlines.set(2, 10);
        deadlines.set(3, 20);
        deadlines.set(2, 40);
        deadlines.clear(3);
        assert_eq!(deadlines.next(), Some(30));
        assert_eq!(deadlines.pop_due(29), None);
        assert_eq!(deadlines.pop_due(50), Some(1));
        assert_eq!(deadlines.pop_due(50), Some(2));
        assert_eq!((deadlines.pop_due(50), deadlines.next()), (None, None));
    }
}
