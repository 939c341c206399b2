//! Messages whose turn has come again, in the order in which it came. Pure.

use std::collections::{HashSet, VecDeque};

use crate::store::Seq;

#[derive(Debug, Default)]
pub struct Redeliveries {
    /// May still name messages that were removed; `members` decides.
    order: VecDeque<Seq>,
    members: HashSet<Seq>,
}

impl Redeliveries {
    /// Puts `seq` at the end, unless it waits already.
    pub fn push(&mut self, seq: Seq) {
        if self.members.insert(seq) {
            self.order.push_back(seq);
        }
    }

    pub fn first(&mut self) -> Option<Seq> {
        while let Some(seq) = self.order.front() {
            if self.members.contains(seq) {
                return Some(*seq);
            }
            self.order.pop_front();
        }
        None
    }

    pub fn remove(&mut self, seq: Seq) {
        self.members.remove(&seq);
        if self.order.front() == Some(&seq) {
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_once_each() {
        let mut redeliveries = Redeliveries::default();
        [3, 1, 3, 2].into_iter().for_each(|seq| redeliveries.push(seq));
        redeliveries.remove(1);
        assert_eq!(redeliveries.first(), Some(3));
        redeliveries.remove(3);
        assert_eq!(redeliveries.first(), Some(2));
        redeliveries.remove(2);
        assert_eq!(redeliveries.first(), None);
    }
}
