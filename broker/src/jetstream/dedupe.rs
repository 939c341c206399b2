//! Message ids seen within the duplicate window. Pure: `now` is a parameter.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use crate::store::{Nanos, Seq};

#[derive(Debug, Default)]
pub struct Dedupe {
    /// The newest message of each id.
    seen: HashMap<Box<[u8]>, Seq>,
    /// In the order of their times, so that expiry is a matter of the front. An id that came again after its window is
    /// in here twice until it is expired.
    order: VecDeque<Seen>,
    last_id: Option<Box<[u8]>>,
}

#[derive(Debug, Clone)]
pub struct Seen {
    pub id: Box<[u8]>,
    pub seq: Seq,
    pub time: Nanos,
    /// The log segment that remembers this id.
    pub segment: u64,
}

impl Dedupe {
    /// The message that came with this id, if it is within the window.
    pub fn find(&self, id: &[u8]) -> Option<Seq> {
        self.seen.get(id).copied()
    }

    pub fn last_id(&self) -> Option<&[u8]> {
        self.last_id.as_deref()
    }

    pub fn set_last_id(&mut self, id: Option<&[u8]>) {
        self.last_id = id.map(Into::into);
    }

    pub fn insert(&mut self, id: &[u8], seq: Seq, time: Nanos, segment: u64) {
        if self.seen.insert(id.into(), seq) != Some(seq) {
            self.order.push_back(Seen {
                id: id.into(),
                seq,
                time,
                segment,
            });
        }
    }

    /// Forgets the ids of messages after `seq`, which were not stored after all.
    pub fn forget_after(&mut self, seq: Seq) {
        while let Some(newest) = self.order.back()
            && newest.seq > seq
        {
            let (id, seq) = (newest.id.clone(), newest.seq);
            self.forget(&id, seq);
            self.order.pop_back();
        }
    }

    /// Forgets ids older than `horizon`.
    pub fn expire(&mut self, horizon: Nanos) {
        while let Some(oldest) = self.order.front()
            && oldest.time < horizon
        {
            let (id, seq) = (oldest.id.clone(), oldest.seq);
            self.forget(&id, seq);
            self.order.pop_front();
        }
    }

    /// Forgets the id, unless a later message came with it.
    fn forget(&mut self, id: &[u8], seq: Seq) {
        if self.seen.get(id) == Some(&seq) {
            self.seen.remove(id);
        }
    }

    /// What was gathered from a log is not in the order of its times: ids outlive the segments of their messages.
    pub fn sort(&mut self) {
        self.order
            .make_contiguous()
            .sort_by_key(|seen| (seen.time, seen.seq));
    }

    /// The ids remembered only in the segments of `from`; from now on `new_home` remembers them.
    pub fn rehome(&mut self, from: &RangeInclusive<u64>, new_home: u64) -> Vec<Seen> {
        let stale = self.order.iter_mut().filter(|seen| from.contains(&seen.segment));
        stale
            .map(|seen| {
                seen.segment = new_home;
                seen.clone()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a log tells it: all of it, and old ids after those of newer messages.
    #[test]
    fn gathered_from_a_log() {
        let mut dedupe = Dedupe::default();
        dedupe.insert(b"a", 1, 100, 1);
        dedupe.insert(b"b", 3, 300, 1);
        dedupe.insert(b"a", 4, 400, 1);
        dedupe.insert(b"c", 2, 200, 2);
        dedupe.insert(b"c", 2, 200, 3);
        dedupe.sort();
        dedupe.expire(250);
        assert_eq!((dedupe.find(b"a"), dedupe.find(b"b")), (Some(4), Some(3)));
        assert_eq!(dedupe.find(b"c"), None);
        dedupe.expire(500);
        assert_eq!((dedupe.find(b"a"), dedupe.find(b"b")), (None, None));
    }

    #[test]
    fn window_and_homes() {
        let mut dedupe = Dedupe::default();
        dedupe.insert(b"a", 1, 100, 1);
        dedupe.insert(b"b", 2, 200, 2);
        assert_eq!((dedupe.find(b"a"), dedupe.find(b"c")), (Some(1), None));
        let moved: Vec<Seq> = dedupe.rehome(&(0..=1), 5).iter().map(|seen| seen.seq).collect();
        assert_eq!(moved, [1]);
        assert!(dedupe.rehome(&(0..=1), 5).is_empty());
        dedupe.expire(150);
        assert_eq!((dedupe.find(b"a"), dedupe.find(b"b")), (None, Some(2)));
        dedupe.insert(b"a", 3, 300, 5);
        assert_eq!(dedupe.find(b"a"), Some(3));
        dedupe.forget_after(2);
        assert_eq!((dedupe.find(b"a"), dedupe.find(b"b")), (None, Some(2)));
    }
}
