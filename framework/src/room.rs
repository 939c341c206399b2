//! The waiting room of one handler in one process: what has been pulled and not begun. Pure.
//!
//! A message waits here for a slot or for its key, unclaimed, so that no attempt is spent on waiting. What waits for a
//! busy key is passed by; and when it takes more than its share of the room it is sent away, so that it can't fill it.

use std::collections::{HashMap, VecDeque};

use crate::key::Key;

/// Messages that wait for busy keys, all together. What is beyond goes back to the broker for a while.
const ROOM: usize = 512;
/// Those of one key.
const SHARE: usize = 64;

pub(crate) struct Room<T> {
    /// So many of one key at a time.
    limit: usize,
    waiting: VecDeque<Waiting<T>>,
    lanes: HashMap<Key, Lane>,
}

struct Waiting<T> {
    item: T,
    lane: Option<Key>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: usize,
}

impl<T> Room<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: VecDeque::new(),
            lanes: HashMap::new(),
        }
    }

    /// Lets it wait, or gives it back when its key is busy and has its share of the room.
    pub(crate) fn admit(&mut self, item: T, lane: Option<Key>) -> Result<(), T> {
        if let Some(key) = &lane {
            let full = self.waiting.len() >= ROOM;
            let found = self.lanes.entry(key.clone()).or_default();
            if found.running + found.waiting >= self.limit && (full || found.waiting >= SHARE) {
                return Err(item);
            }
            found.waiting += 1;
        }
        self.waiting.push_back(Waiting { item, lane });
        Ok(())
    }

    fn may_run(&self, lane: Option<&Key>) -> bool {
        lane.and_then(|key| self.lanes.get(key))
            .is_none_or(|lane| lane.running < self.limit)
    }

    /// Whether [`next`](Self::next) would give one.
    pub(crate) fn has_next(&self) -> bool {
        self.waiting
            .iter()
            .any(|waiting| self.may_run(waiting.lane.as_ref()))
    }

    /// The first whose key is free, and its key, which is to be given to [`ended`](Self::ended).
    pub(crate) fn next(&mut self) -> Option<(T, Option<Key>)> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| self.may_run(waiting.lane.as_ref()))?;
        let Waiting { item, lane } = self.waiting.remove(at)?;
        if let Some(lane) = lane.as_ref().and_then(|key| self.lanes.get_mut(key)) {
            lane.waiting -= 1;
            lane.running += 1;
        }
        Some((item, lane))
    }

    /// One of this key has ended.
    pub(crate) fn ended(&mut self, lane: Option<&Key>) {
        let Some(key) = lane else { return };
        if let Some(found) = self.lanes.get_mut(key) {
            found.running = found.running.saturating_sub(1);
            if found.running + found.waiting == 0 {
                self.lanes.remove(key);
            }
        }
    }

    /// How many wait for nothing but a slot.
    pub(crate) fn ready(&self) -> usize {
        let for_keys: usize = self
            .lanes
            .values()
            .map(|lane| {
                lane.waiting
                    .saturating_sub(self.limit.saturating_sub(lane.running))
            })
            .sum();
        self.waiting.len() - for_keys
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.item)
    }

    /// Empties the room.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        self.lanes.retain(|_, lane| {
            lane.waiting = 0;
            lane.running > 0
        });
        self.waiting.drain(..).map(|waiting| waiting.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Option<Key> {
        Some(Key::of(&[&name]))
    }

    #[test]
    fn a_busy_key_is_passed_by_and_goes_on_when_it_is_free() {
        let mut room = Room::new(2);
        for item in 0..4 {
            assert_eq!(room.admit(item, key("a")), Ok(()));
        }
        assert_eq!(room.admit(4, key("b")), Ok(()));
        assert_eq!(room.admit(5, None), Ok(()));
        assert_eq!(room.ready(), 4);
        let mut begun = Vec::new();
        while let Some((item, _)) = room.next() {
            begun.push(item);
        }
        assert_eq!(
            (begun, room.ready(), room.has_next()),
            (vec![0, 1, 4, 5], 0, false)
        );
        room.ended(key("a").as_ref());
        assert_eq!((room.ready(), room.next().map(|(item, _)| item)), (1, Some(2)));
        assert_eq!(room.clear(), [3]);
    }

    #[test]
    fn a_busy_key_has_a_share_of_the_room_and_no_more() {
        let mut room = Room::new(1);
        assert_eq!(room.admit(0, key("a")), Ok(()));
        room.next();
        for item in 0..SHARE {
            assert_eq!(room.admit(item, key("a")), Ok(()));
        }
        assert_eq!(room.admit(99, key("a")), Err(99), "one past its share");
        assert_eq!(room.admit(100, key("b")), Ok(()));
        assert_eq!(room.next().map(|(item, _)| item), Some(100));
    }

    #[test]
    fn a_full_room_takes_only_what_can_begin() {
        let mut room = Room::new(1);
        for lane in 0..ROOM {
            let name = lane.to_string();
            assert_eq!(room.admit(lane, key(&name)), Ok(()));
        }
        while room.next().is_some() {}
        let mut waiting = 0;
        for lane in 0..ROOM {
            waiting += usize::from(room.admit(lane, key(&lane.to_string())).is_ok());
        }
        assert_eq!(waiting, ROOM);
        assert_eq!(room.admit(0, key("1")), Err(0), "one past the room");
        assert_eq!(room.admit(7, key("new")), Ok(()));
        assert_eq!(room.next().map(|(item, _)| item), Some(7));
    }
}
