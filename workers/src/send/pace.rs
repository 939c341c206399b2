//! How fast an account sends: so many mails in a time, and, while it is warming up, so many a day.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, Unit, Zoned, tz::TimeZone};
use postroom::Rate;
use tokio::time::Instant;

/// Turns given out ahead. Whoever finds as many waiting asks again when the last of them has gone.
const MAX_TURNS: usize = 10_000;
/// A turn that nobody has taken for so long is nobody's.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// An account's rate, in this process. Each mail that comes too early is given a time, and comes back at that time, once.
#[derive(Clone)]
pub struct Pace(Arc<Inner>);

struct Inner {
    rate: Rate,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the bucket will be full again.
    full: Option<Instant>,
    turns: HashMap<String, Instant>,
}

impl Pace {
    /// As many as the rate's count may go at once when it was quiet before.
    pub fn new(rate: Rate) -> Self {
        Self(Arc::new(Inner {
            rate,
            state: Mutex::default(),
        }))
    }

    /// How long the mail of this id has to wait; `None`: it is its turn.
    pub(super) fn wait(&self, id: &str) -> Option<Duration> {
        let now = Instant::now();
        let Inner { rate, state } = &*self.0;
        // Every change is a plain assignment: after a panic the state is still a state.
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.turns.get(id) {
            Some(at) if *at > now => return Some(*at - now),
            Some(_) => {
                state.turns.remove(id);
                return None;
            }
            None => {}
        }
        let each = rate.per.checked_div(rate.count).unwrap_or_default();
        let full = state.full.unwrap_or(now).max(now) + each;
        let at = full.checked_sub(rate.per).unwrap_or(now);
        if at > now {
            if state.turns.len() >= MAX_TURNS {
                state.turns.retain(|_, turn| *turn + FORGOTTEN > now);
            }
            if state.turns.len() < MAX_TURNS {
                state.turns.insert(id.to_owned(), at);
                state.full = Some(full);
            }
            return Some(at - now);
        }
        state.full = Some(full);
        None
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pace").field(&self.0.rate).finish()
    }
}

/// A new account's schedule: so many mails on its first day, so many on the second. After the last of them there is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// The first day, in UTC.
    pub begins: Date,
    pub per_day: PerDay,
}

/// Mails of each day in turn; each at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerDay(Vec<i64>);

impl FromStr for PerDay {
    type Err = ();

    /// `50, 100, 200`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let days = text
            .split(',')
            .map(|day| day.trim().parse().ok().filter(|mails: &i64| *mails > 0));
        days.collect::<Option<Vec<_>>>().map(Self).ok_or(())
    }
}

/// A day on which so many may go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Today {
    /// As in the table.
    pub(super) day: String,
    pub(super) limit: i64,
    /// Until it is over.
    pub(super) rest: Duration,
}

impl WarmUp {
    /// What holds today; `None` once the schedule is over. Before it begins, its first day holds.
    pub(super) fn today(&self, now: Timestamp) -> Option<Today> {
        let now = Zoned::new(now, TimeZone::UTC);
        let day = now.date().since((Unit::Day, self.begins)).ok()?.get_days();
        let limit = *self.per_day.0.get(usize::try_from(day).unwrap_or(0))?;
        let tomorrow = now.end_of_day().ok()?;
        Some(Today {
            day: now.date().to_string(),
            limit,
            rest: Duration::try_from(tomorrow.duration_since(&now)).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_too_early_is_given_a_time() {
        let second = Duration::from_secs(1);
        let pace = Pace::new(Rate::new(2, 2 * second));
        assert_eq!([pace.wait("a"), pace.wait("b")], [None, None]);
        assert_eq!(pace.wait("c"), Some(second));
        assert_eq!(pace.wait("d"), Some(2 * second));
        assert_eq!(pace.wait("c"), Some(second), "it has its turn already");
        tokio::time::advance(second).await;
        assert_eq!(pace.wait("c"), None);
        assert_eq!(pace.wait("d"), Some(second));
        assert_eq!(pace.wait("e"), Some(2 * second));
        tokio::time::advance(10 * second).await;
        assert_eq!(
            [pace.wait("d"), pace.wait("e"), pace.wait("f"), pace.wait("g")],
            [None; 4]
        );
        assert_eq!(pace.wait("h"), Some(second), "what was not used is not saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_bounded() {
        let pace = Pace::new(Rate::new(1, Duration::from_secs(1)));
        let waits: Vec<_> = (0..=MAX_TURNS + 2).map(|n| pace.wait(&n.to_string())).collect();
        assert_eq!(waits[0], None);
        assert!(waits[MAX_TURNS] < waits[MAX_TURNS + 1]);
        assert_eq!(
            waits[MAX_TURNS + 1],
            waits[MAX_TURNS + 2],
            "these were given none"
        );
        tokio::time::advance(Duration::from_secs(20_000)).await;
        assert_eq!(pace.wait("later"), None);
    }

    #[test]
    fn an_account_is_warmed_up_day_by_day() {
        let warm_up = WarmUp {
            begins: "2026-11-24".parse().unwrap(),
            per_day: "50, 100,200".parse().unwrap(),
        };
        let check = |now: &str, expect: Option<(i64, u64)>| {
            let today = warm_up.today(now.parse().unwrap());
            assert_eq!(
                today.map(|today| (today.limit, today.rest.as_secs())),
                expect,
                "{now}"
            );
        };
        check("2026-11-20T12:00:00Z", Some((50, 43_199)));
        check("2026-11-24T00:00:00Z", Some((50, 86_399)));
        check("2026-11-25T23:59:00Z", Some((100, 59)));
        check("2026-11-26T00:00:00Z", Some((200, 86_399)));
        check("2026-11-27T00:00:00Z", None);
        for wrong in ["", "0", "50,", "50, -1", "many"] {
            assert_eq!(wrong.parse::<PerDay>(), Err(()), "{wrong}");
        }
    }
}
