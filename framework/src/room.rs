//! The waiting room of one handler in one process: what has been pulled and not begun. Pure.
//!
//! A message waits here for a slot or for its key, unclaimed, so that no attempt is spent on waiting. What waits for a
//! busy key is passed by; and when it takes more than its share of the room it is sent away, so that it can't fill it.
//!
//! Where keys are ordered, the room also remembers what it has sent away and what is to be tried again: nothing that
//! stands behind it in the stream is begun before that has come back and is settled, or others have settled it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use crate::key::Key;
use crate::per_key::PerKey;

/// Messages that wait for busy keys, all together. What is beyond goes back to the broker for a while.
const ROOM: usize = 512;
/// Those of one key.
const SHARE: usize = 64;

pub(crate) struct Room<T> {
    /// So many of one key at a time.
    limit: usize,
    ordered: bool,
    waiting: VecDeque<Waiting<T>>,
    lanes: HashMap<Key, Lane>,
}

/// A message's place among those that share its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// What they share.
    pub(crate) lane: Key,
    /// Its sequence in the stream.
    pub(crate) seq: i64,
    /// Its own, in the ledger.
    pub(crate) key: Key,
    /// It was delivered before.
    pub(crate) again: bool,
}

/// One that has no place in the room.
#[derive(Debug)]
pub(crate) struct SentAway<T> {
    pub(crate) item: T,
    /// So many of its key are before it; `None` where the key stands still.
    pub(crate) ahead: Option<usize>,
}

struct Waiting<T> {
    item: T,
    ticket: Option<Ticket>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    /// By sequence. A message may be there twice, when the broker has lost patience.
    waiting: BTreeMap<i64, usize>,
    /// Unsettled, and not here: to come again. Where keys are ordered.
    away: BTreeMap<i64, Away>,
    /// Where they are not: about so many are to come again.
    sent: usize,
    /// Its bucket has no token before.
    dry_until: Option<Instant>,
}

struct Away {
    key: Key,
    since: Instant,
}

impl<T> Room<T> {
    pub(crate) fn new(per_key: Option<PerKey>) -> Self {
        Self {
            limit: per_key.map_or(usize::MAX, PerKey::at_a_time),
            ordered: per_key.is_some_and(|per_key| per_key.ordered),
            waiting: VecDeque::new(),
            lanes: HashMap::new(),
        }
    }

    /// Lets it wait. When its key is busy and has its share of the room, one of the key is given back: the last.
    pub(crate) fn admit(&mut self, item: T, ticket: Option<Ticket>, now: Instant) -> Option<SentAway<T>> {
        let Some(place) = &ticket else {
            self.waiting.push_back(Waiting { item, ticket });
            return None;
        };
        let full = self.waiting.len() >= ROOM;
        let lane = self.lanes.entry(place.lane.clone()).or_default();
        lane.away.remove(&place.seq);
        lane.sent = lane.sent.saturating_sub(usize::from(place.again));
        let count = lane.count();
        let ahead = lane.ahead(self.limit, now);
        let busy = lane.running + count >= self.limit || lane.is_dry(now);
        if !(busy && (full || count >= SHARE)) {
            self.seat(item, ticket);
            return None;
        }
        let later = lane
            .waiting
            .last_key_value()
            .is_some_and(|(last, _)| *last > place.seq);
        if !(self.ordered && later) {
            lane.send_away(place, self.ordered, now);
            return Some(SentAway { item, ahead });
        }
        let last = |waiting: &Waiting<T>| {
            waiting
                .ticket
                .as_ref()
                .is_some_and(|other| other.lane == place.lane)
        };
        // The queue is in order within a lane.
        let evicted = self
            .waiting
            .iter()
            .rposition(last)
            .and_then(|at| self.waiting.remove(at));
        self.seat(item, ticket);
        let Waiting { item, ticket } = evicted?;
        if let Some(ticket) = &ticket
            && let Some(lane) = self.lanes.get_mut(&ticket.lane)
        {
            lane.left(ticket.seq);
            lane.send_away(ticket, true, now);
        }
        Some(SentAway { item, ahead })
    }

    fn seat(&mut self, item: T, ticket: Option<Ticket>) {
        let mut at = self.waiting.len();
        if let Some(ticket) = &ticket {
            let lane = self.lanes.entry(ticket.lane.clone()).or_default();
            let behind = self.ordered && lane.waiting.range(ticket.seq + 1..).next().is_some();
            *lane.waiting.entry(ticket.seq).or_default() += 1;
            let follows = |waiting: &Waiting<T>| {
                let other = waiting.ticket.as_ref();
                other.is_some_and(|other| other.lane == ticket.lane && other.seq > ticket.seq)
            };
            if behind && let Some(found) = self.waiting.iter().position(follows) {
                at = found;
            }
        }
        self.waiting.insert(at, Waiting { item, ticket });
    }

    /// Where the first stands whose key is free.
    pub(crate) fn next(&self, now: Instant) -> Option<usize> {
        let may_run = |waiting: &Waiting<T>| {
            let lane = waiting
                .ticket
                .as_ref()
                .and_then(|ticket| self.lanes.get(&ticket.lane));
            lane.is_none_or(|lane| lane.allows(self.limit, now) > 0)
        };
        self.waiting.iter().position(may_run)
    }

    /// The one that stands there, and its key.
    pub(crate) fn at(&mut self, at: usize) -> Option<(&mut T, Option<&Key>)> {
        let waiting = self.waiting.get_mut(at)?;
        Some((
            &mut waiting.item,
            waiting.ticket.as_ref().map(|ticket| &ticket.lane),
        ))
    }

    /// The key of the one that stands there has no token before `until`.
    pub(crate) fn is_dry(&mut self, at: usize, until: Instant) {
        let ticket = self.waiting.get(at).and_then(|waiting| waiting.ticket.as_ref());
        if let Some(lane) = ticket.and_then(|ticket| self.lanes.get_mut(&ticket.lane)) {
            lane.dry_until = Some(until);
        }
    }

    /// When the next key that messages wait for has a token again.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let waited_for = self.lanes.values().filter(|lane| !lane.waiting.is_empty());
        waited_for
            .filter_map(|lane| lane.dry_until)
            .filter(|due| *due > now)
            .min()
    }

    /// Takes the one that stands there; its ticket is to be given to [`ended`](Self::ended).
    pub(crate) fn take(&mut self, at: usize) -> Option<(T, Option<Ticket>)> {
        let Waiting { item, ticket } = self.waiting.remove(at)?;
        if let Some(ticket) = &ticket
            && let Some(lane) = self.lanes.get_mut(&ticket.lane)
        {
            lane.left(ticket.seq);
            lane.running += 1;
        }
        Some((item, ticket))
    }

    /// It has ended: settled, or to come again.
    pub(crate) fn ended(&mut self, ticket: Option<&Ticket>, settled: bool, now: Instant) {
        let Some(ticket) = ticket else { return };
        if let Some(lane) = self.lanes.get_mut(&ticket.lane) {
            lane.running = lane.running.saturating_sub(1);
            // A second copy of it may be here already.
            if !settled && !lane.waiting.contains_key(&ticket.seq) {
                lane.send_away(ticket, self.ordered, now);
            }
            self.forget_if_idle(&ticket.lane);
        }
    }

    fn forget_if_idle(&mut self, lane: &Key) {
        let idle = |lane: &Lane| lane.running == 0 && lane.waiting.is_empty() && lane.away.is_empty();
        if self.lanes.get(lane).is_some_and(idle) {
            self.lanes.remove(lane);
        }
    }

    /// How many wait for nothing but a slot.
    pub(crate) fn ready(&self, now: Instant) -> usize {
        let for_keys = |lane: &Lane| lane.count().saturating_sub(lane.allows(self.limit, now));
        self.waiting.len() - self.lanes.values().map(for_keys).sum::<usize>()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.item)
    }

    /// Empties the room.
    pub(crate) fn clear(&mut self, now: Instant) -> Vec<T> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut items = Vec::with_capacity(waiting.len());
        for Waiting { item, ticket } in waiting {
            items.push(item);
            if let Some(ticket) = ticket
                && let Some(lane) = self.lanes.get_mut(&ticket.lane)
            {
                lane.left(ticket.seq);
                lane.send_away(&ticket, self.ordered, now);
                self.forget_if_idle(&ticket.lane);
            }
        }
        items
    }

    /// Of each key that waits for one that is away, that one, and since when; after the first `skip` keys, `limit` at most.
    pub(crate) fn away(&self, skip: usize, limit: usize) -> Vec<(Ticket, Instant)> {
        let first = |(lane, found): (&Key, &Lane)| {
            let (seq, Away { key, since }) = found.away.first_key_value()?;
            let (lane, key) = (lane.clone(), key.clone());
            let ticket = Ticket {
                lane,
                seq: *seq,
                key,
                again: true,
            };
            Some((ticket, *since))
        };
        self.lanes
            .iter()
            .filter_map(first)
            .skip(skip)
            .take(limit)
            .collect()
    }

    /// Others have settled it.
    pub(crate) fn settled_elsewhere(&mut self, ticket: &Ticket) {
        if let Some(lane) = self.lanes.get_mut(&ticket.lane) {
            lane.away.remove(&ticket.seq);
            self.forget_if_idle(&ticket.lane);
        }
    }
}

impl Lane {
    fn count(&self) -> usize {
        self.waiting.values().sum()
    }

    fn is_dry(&self, now: Instant) -> bool {
        self.dry_until.is_some_and(|due| due > now)
    }

    /// So many more may begin.
    fn allows(&self, limit: usize, now: Instant) -> usize {
        let first_is_away = match (self.away.first_key_value(), self.waiting.first_key_value()) {
            (Some((away, _)), Some((waiting, _))) => away < waiting,
            _ => false,
        };
        if first_is_away || self.is_dry(now) {
            return 0;
        }
        limit.saturating_sub(self.running)
    }

    /// How many are before one that comes now; `None` where nothing goes on.
    fn ahead(&self, limit: usize, now: Instant) -> Option<usize> {
        let moves = self.running > 0 || self.allows(limit, now) > 0;
        moves.then(|| self.running + self.count() + self.away.len() + self.sent)
    }

    fn left(&mut self, seq: i64) {
        if let Some(copies) = self.waiting.get_mut(&seq) {
            *copies -= 1;
            if *copies == 0 {
                self.waiting.remove(&seq);
            }
        }
    }

    fn send_away(&mut self, ticket: &Ticket, ordered: bool, now: Instant) {
        if ordered {
            let (key, since) = (ticket.key.clone(), now);
            self.away.insert(ticket.seq, Away { key, since });
        } else {
            self.sent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rate::Rate;

    fn key(name: &str) -> Key {
        Key::of(&[&name])
    }

    /// The message number `seq`, of the lane `name`.
    fn ticket(name: &str, seq: i64) -> Option<Ticket> {
        let lane = key(name);
        let key = key(&seq.to_string());
        Some(Ticket {
            lane,
            seq,
            key,
            again: false,
        })
    }

    fn at_most(limit: u16) -> Room<i64> {
        Room::new(Some(PerKey::at_most(limit)))
    }

    fn begin(room: &mut Room<i64>, now: Instant) -> Option<i64> {
        let at = room.next(now)?;
        room.take(at).map(|(item, _)| item)
    }

    fn admit(room: &mut Room<i64>, item: i64, ticket: Option<Ticket>, now: Instant) -> Option<i64> {
        room.admit(item, ticket, now).map(|sent| sent.item)
    }

    #[test]
    fn who_is_sent_away_is_told_how_many_are_before_it() {
        for ordered in [false, true] {
            let (mut room, now) = (if ordered { in_order() } else { at_most(1) }, Instant::now());
            assert_eq!(admit(&mut room, 0, ticket("a", 0), now), None);
            begin(&mut room, now);
            let share = i64::try_from(SHARE).expect("a small number");
            for item in 1..=share {
                assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
            }
            let mut ahead = |item| {
                room.admit(item, ticket("a", item), now)
                    .and_then(|sent| sent.ahead)
            };
            assert_eq!(ahead(share + 1), Some(SHARE + 1));
            assert_eq!(ahead(share + 2), Some(SHARE + 2));
            assert_eq!(ahead(share + 3), Some(SHARE + 3));
            room.ended(ticket("a", 0).as_ref(), !ordered, now);
            let stands = room.admit(99, ticket("a", 99), now).map(|sent| sent.ahead);
            // The first one is to be tried again, or, without an order, any other may go on.
            assert_eq!(stands.flatten().is_none(), ordered);
        }
    }

    #[test]
    fn a_busy_key_is_passed_by_and_goes_on_when_it_is_free() {
        let (mut room, now) = (at_most(2), Instant::now());
        for item in 0..4 {
            assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
        }
        assert_eq!(admit(&mut room, 4, ticket("b", 4), now), None);
        assert_eq!(admit(&mut room, 5, None, now), None);
        assert_eq!(room.ready(now), 4);
        let begun: Vec<_> = std::iter::from_fn(|| begin(&mut room, now)).collect();
        assert_eq!((begun, room.ready(now)), (vec![0, 1, 4, 5], 0));
        room.ended(ticket("a", 0).as_ref(), false, now);
        assert_eq!((room.ready(now), begin(&mut room, now)), (1, Some(2)));
        assert_eq!(room.clear(now), [3]);
    }

    #[test]
    fn a_busy_key_has_a_share_of_the_room_and_no_more() {
        let (mut room, now) = (at_most(1), Instant::now());
        assert_eq!(admit(&mut room, 0, ticket("a", 0), now), None);
        begin(&mut room, now);
        let share = i64::try_from(SHARE).expect("a small number");
        for item in 1..=share {
            assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
        }
        assert_eq!(
            admit(&mut room, 99, ticket("a", 99), now),
            Some(99),
            "one past its share"
        );
        assert_eq!(admit(&mut room, 100, ticket("b", 100), now), None);
        assert_eq!(begin(&mut room, now), Some(100));
    }

    #[test]
    fn a_full_room_takes_only_what_can_begin() {
        let (mut room, now) = (at_most(1), Instant::now());
        let lanes = i64::try_from(ROOM).expect("a small number");
        let own = |lane: i64| ticket(&lane.to_string(), lane);
        for lane in 0..lanes {
            assert_eq!(admit(&mut room, lane, own(lane), now), None);
        }
        while begin(&mut room, now).is_some() {}
        for lane in 0..lanes {
            assert_eq!(admit(&mut room, lane, own(lane), now), None);
        }
        assert_eq!(admit(&mut room, 0, own(1), now), Some(0), "one past the room");
        assert_eq!(admit(&mut room, 7, ticket("new", 7), now), None);
        assert_eq!(begin(&mut room, now), Some(7));
    }

    #[test]
    fn a_key_without_a_token_waits_and_others_pass_it_by() {
        let now = Instant::now();
        let rate = Rate::new(1, Duration::from_secs(10));
        let mut room: Room<i64> = Room::new(Some(PerKey::rate(rate)));
        for item in 0..3 {
            assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
        }
        assert_eq!(admit(&mut room, 3, ticket("b", 3), now), None);
        let due = now + Duration::from_secs(10);
        room.is_dry(0, due);
        assert_eq!((room.ready(now), room.due(now)), (1, Some(due)));
        assert_eq!((begin(&mut room, now), room.next(now)), (Some(3), None));
        assert_eq!((room.ready(due), room.due(due)), (3, None));
        assert_eq!(begin(&mut room, due), Some(0));
    }

    fn in_order() -> Room<i64> {
        Room::new(Some(PerKey::in_order()))
    }

    #[test]
    fn an_ordered_key_goes_one_by_one_whatever_order_they_come_in() {
        let (mut room, now) = (in_order(), Instant::now());
        for item in [5, 3, 9] {
            assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
        }
        assert_eq!(admit(&mut room, 4, ticket("b", 4), now), None);
        assert_eq!(room.ready(now), 2);
        assert_eq!((begin(&mut room, now), begin(&mut room, now)), (Some(3), Some(4)));
        assert_eq!(begin(&mut room, now), None);
        room.ended(ticket("a", 3).as_ref(), true, now);
        assert_eq!((begin(&mut room, now), begin(&mut room, now)), (Some(5), None));
    }

    #[test]
    fn what_is_to_come_again_holds_up_its_ordered_key_and_no_other() {
        let (mut room, now) = (in_order(), Instant::now());
        for item in 1..=2 {
            admit(&mut room, item, ticket("a", item), now);
        }
        assert_eq!(begin(&mut room, now), Some(1));
        room.ended(ticket("a", 1).as_ref(), false, now);
        assert_eq!((room.ready(now), begin(&mut room, now)), (0, None));
        admit(&mut room, 3, ticket("b", 3), now);
        assert_eq!(begin(&mut room, now), Some(3));
        let away: Vec<_> = room
            .away(0, 9)
            .into_iter()
            .map(|(ticket, _)| (ticket.lane, ticket.seq))
            .collect();
        assert_eq!(away, [(key("a"), 1)]);
        // It comes back, and goes first.
        admit(&mut room, 1, ticket("a", 1), now);
        assert_eq!(begin(&mut room, now), Some(1));
        room.ended(ticket("a", 1).as_ref(), false, now);
        // Another process has settled it.
        room.settled_elsewhere(&ticket("a", 1).expect("a ticket"));
        assert_eq!(begin(&mut room, now), Some(2));
        room.ended(ticket("a", 2).as_ref(), true, now);
        room.ended(ticket("b", 3).as_ref(), true, now);
        assert!(room.lanes.is_empty(), "nothing is remembered of what is over");
    }

    #[test]
    fn one_that_was_sent_away_is_waited_for_and_always_let_in() {
        let (mut room, now) = (in_order(), Instant::now());
        let share = i64::try_from(SHARE).expect("a small number");
        for item in 10..10 + share {
            assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
        }
        let next = 10 + share;
        assert_eq!(
            admit(&mut room, next, ticket("a", next), now),
            Some(next),
            "the last is sent away"
        );
        assert_eq!(
            admit(&mut room, 1, ticket("a", 1), now),
            Some(next - 1),
            "for an earlier one, the last makes room"
        );
        assert_eq!(begin(&mut room, now), Some(1));
        room.ended(ticket("a", 1).as_ref(), true, now);
        for item in 10..next - 1 {
            assert_eq!(begin(&mut room, now), Some(item));
            room.ended(ticket("a", item).as_ref(), true, now);
        }
        // One that is new to the room stands behind both that were sent away.
        assert_eq!(admit(&mut room, next + 1, ticket("a", next + 1), now), None);
        assert_eq!(begin(&mut room, now), None);
        for item in [next, next - 1] {
            assert_eq!(admit(&mut room, item, ticket("a", item), now), None);
        }
        for item in [next - 1, next, next + 1] {
            assert_eq!(begin(&mut room, now), Some(item));
            room.ended(ticket("a", item).as_ref(), true, now);
        }
    }

    #[test]
    fn what_is_handed_back_is_waited_for_where_keys_are_ordered() {
        let (mut room, now) = (in_order(), Instant::now());
        admit(&mut room, 1, ticket("a", 1), now);
        admit(&mut room, 2, ticket("a", 2), now);
        assert_eq!(room.clear(now), [1, 2]);
        admit(&mut room, 3, ticket("a", 3), now);
        assert_eq!(begin(&mut room, now), None);
        admit(&mut room, 2, ticket("a", 2), now);
        assert_eq!(begin(&mut room, now), None, "the first is still away");
        admit(&mut room, 1, ticket("a", 1), now);
        assert_eq!(begin(&mut room, now), Some(1));
    }
}
