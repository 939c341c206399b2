//! Which fires are due. Pure: `now` comes from outside.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Cron, Fire, MAX_CATCH_UP, Missed};

/// A fire that is later than this was missed. A restart takes less.
const PUNCTUAL: SignedDuration = SignedDuration::from_secs(60);

/// A schedule that was read and can be kept.
#[derive(Debug, Clone)]
pub(crate) struct Timetable {
    pub(super) id: String,
    /// As written, to be compared with what the database has.
    pub(super) expression: String,
    pub(super) zone_name: String,
    cron: croner::Cron,
    zone: TimeZone,
    missed: Missed,
}

/// What is due, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) fires: Vec<Fire>,
    /// The newest planned time that is settled by them.
    pub(crate) until: Timestamp,
    /// How many fires were missed and are given up, counted up to 1000.
    pub(crate) given_up: usize,
}

impl Timetable {
    pub(super) fn new(cron: &Cron, expression: croner::Cron, zone: TimeZone) -> Self {
        Self {
            id: cron.id.clone(),
            expression: cron.expression.clone(),
            zone_name: cron.zone.clone(),
            cron: expression,
            zone,
            missed: cron.missed,
        }
    }

    /// The first planned time after `time`; `None` when there is none any more.
    pub(crate) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.zoned(time), false).ok()?;
        Some(next.timestamp())
    }

    /// The time from `now` to the next planned one.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let next = self.next_after(now)?;
        Duration::try_from(next.duration_since(now)).ok()
    }

    /// What was planned after `last` and until `now`; `None` when nothing was.
    pub(crate) fn due(&self, last: Timestamp, now: Timestamp) -> Option<Due> {
        let punctual_after = last.max(now.saturating_sub(PUNCTUAL).unwrap_or(last));
        let missed = self.missed_between(last, punctual_after);
        let punctual = self.punctual_between(punctual_after, now);
        let until = punctual.last().or(missed.last())?.timestamp();
        let stands_for = |missed: usize| u64::try_from(missed).unwrap_or(u64::MAX);
        let mut given_up = 0;
        let mut fires: Vec<Fire> = punctual.into_iter().map(|at| self.fire(at, 0)).collect();
        match self.missed {
            Missed::Skip => given_up = missed.len(),
            Missed::Coalesce => match (fires.first_mut(), missed.last()) {
                (Some(first), _) => first.missed = stands_for(missed.len()),
                (None, Some(at)) => fires.push(self.fire(at.clone(), stands_for(missed.len() - 1))),
                (None, None) => {}
            },
            Missed::CatchUp(most) => {
                given_up = missed
                    .len()
                    .saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
                let made_up = missed.into_iter().skip(given_up).map(|at| self.fire(at, 0));
                fires = made_up.chain(fires).collect();
            }
        }
        Some(Due {
            fires,
            until,
            given_up,
        })
    }

    /// After `from`, up to and with `to`: the newest thousand, oldest first. Backwards, so that a schedule of every second
    /// that was away for a year costs no more than one of every day.
    fn missed_between(&self, from: Timestamp, to: Timestamp) -> Vec<Zoned> {
        let mut missed = Vec::new();
        let mut edge = self.zoned(to);
        let mut inclusive = true;
        while missed.len() < MAX_CATCH_UP as usize {
            let Ok(at) = self.cron.find_previous_occurrence(&edge, inclusive) else {
                break;
            };
            if at.timestamp() <= from {
                break;
            }
            edge = at.clone();
            inclusive = false;
            missed.push(at);
        }
        missed.reverse();
        missed
    }

    /// After `from`, up to and with `to`: no more than there are seconds between.
    fn punctual_between(&self, from: Timestamp, to: Timestamp) -> Vec<Zoned> {
        self.cron
            .iter_after(self.zoned(from))
            .take_while(|at| at.timestamp() <= to)
            .collect()
    }

    fn fire(&self, at: Zoned, missed: u64) -> Fire {
        Fire {
            schedule: self.id.clone(),
            at,
            missed,
        }
    }

    fn zoned(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable(expression: &str, zone: &str, missed: Missed) -> Timetable {
        let cron = Cron::new("test", expression, zone).missed(missed);
        cron.timetable().expect("a schedule")
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// The local times of the first planned `count` after `from`.
    fn next(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let timetable = timetable(expression, zone, Missed::Skip);
        let mut at = time(from);
        let mut times = Vec::new();
        for _ in 0..count {
            at = timetable.next_after(at).expect("a next time");
            times.push(timetable.zoned(at).strftime("%d %H:%M %:z").to_string());
        }
        times
    }

    #[test]
    fn a_time_is_one_of_its_zone() {
        let berlin = next("0 7 * * MON-FRI", "Europe/Berlin", "2026-11-26T12:00:00Z", 2);
        assert_eq!(berlin, ["27 07:00 +01:00", "30 07:00 +01:00"]);
        let summer = next("0 7 * * *", "Europe/Berlin", "2026-07-01T05:00:00Z", 1);
        assert_eq!(summer, ["02 07:00 +02:00"]);
        assert_eq!(
            next("30 5 * * *", "UTC", "2026-07-01T05:30:00Z", 1),
            ["02 05:30 +00:00"]
        );
    }

    // In Berlin, clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 back to 02:00 on 2026-10-25.

    #[test]
    fn a_time_that_is_left_out_fires_at_the_next_that_there_is() {
        let fixed = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(fixed, ["29 03:00 +02:00", "30 02:30 +02:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_fires_once() {
        let fixed = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(fixed, ["25 02:30 +02:00", "26 02:30 +01:00"]);
    }

    #[test]
    fn what_goes_by_elapsed_time_does_so_when_clocks_change() {
        let forward = next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 2);
        assert_eq!(forward, ["29 03:00 +02:00", "29 03:30 +02:00"]);
        let back = next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", 3);
        assert_eq!(back, ["25 02:00 +01:00", "25 02:30 +01:00", "25 03:00 +01:00"]);
    }

    /// The planned UTC times of what is due, with what each stands for; and how many are given up.
    fn due(missed: Missed, last: &str, now: &str) -> (Vec<(String, u64)>, usize) {
        let due = timetable("0 * * * *", "UTC", missed).due(time(last), time(now));
        let Some(due) = due else { return (Vec::new(), 0) };
        let hour = |fire: &Fire| (fire.at.strftime("%H:%M").to_string(), fire.missed);
        (due.fires.iter().map(hour).collect(), due.given_up)
    }

    fn at(times: &[(&str, u64)]) -> Vec<(String, u64)> {
        times
            .iter()
            .map(|(time, missed)| ((*time).to_owned(), *missed))
            .collect()
    }

    #[test]
    fn nothing_is_due_before_its_time_nor_twice() {
        let check = |last, now, fires: &[(&str, u64)]| {
            for missed in [Missed::Skip, Missed::Coalesce, Missed::CatchUp(1)] {
                assert_eq!(due(missed, last, now), (at(fires), 0), "{last} {now}");
            }
        };
        check("2026-11-24T06:00:00Z", "2026-11-24T06:59:59.999Z", &[]);
        check("2026-11-24T06:00:00Z", "2026-11-24T07:00:00Z", &[("07:00", 0)]);
        check("2026-11-24T06:00:00Z", "2026-11-24T07:00:59Z", &[("07:00", 0)]);
        check("2026-11-24T07:00:00Z", "2026-11-24T07:00:00Z", &[]);
        check("2026-11-24T07:00:00Z", "2026-11-24T07:00:59Z", &[]);
        // The clock was set back.
        check("2026-11-24T07:00:00Z", "2026-11-24T05:00:00Z", &[]);
    }

    #[test]
    fn a_fire_is_missed_from_a_minute_on() {
        let (last, late) = ("2026-11-24T06:30:00Z", "2026-11-24T07:01:00Z");
        assert_eq!(due(Missed::Skip, last, late), (at(&[]), 1));
        assert_eq!(due(Missed::Coalesce, last, late), (at(&[("07:00", 0)]), 0));
        assert_eq!(due(Missed::CatchUp(1), last, late), (at(&[("07:00", 0)]), 0));
    }

    #[test]
    fn missed_fires_become_what_the_policy_says() {
        let last = "2026-11-24T01:00:00Z";
        // Five are missed: 02:00 to 06:00.
        let between = "2026-11-24T06:30:00Z";
        assert_eq!(due(Missed::Skip, last, between), (at(&[]), 5));
        assert_eq!(due(Missed::Coalesce, last, between), (at(&[("06:00", 4)]), 0));
        assert_eq!(
            due(Missed::CatchUp(2), last, between),
            (at(&[("05:00", 0), ("06:00", 0)]), 3)
        );
        let all = [
            ("02:00", 0),
            ("03:00", 0),
            ("04:00", 0),
            ("05:00", 0),
            ("06:00", 0),
        ];
        assert_eq!(due(Missed::CatchUp(9), last, between), (at(&all), 0));
        // The same, and 07:00 in time.
        let punctual = "2026-11-24T07:00:10Z";
        assert_eq!(due(Missed::Skip, last, punctual), (at(&[("07:00", 0)]), 5));
        assert_eq!(due(Missed::Coalesce, last, punctual), (at(&[("07:00", 5)]), 0));
        assert_eq!(
            due(Missed::CatchUp(1), last, punctual),
            (at(&[("06:00", 0), ("07:00", 0)]), 4)
        );
    }

    #[test]
    fn years_of_seconds_are_looked_back_on_in_no_time() {
        let timetable = timetable("* * * * * *", "Europe/Berlin", Missed::CatchUp(1000));
        let due = timetable
            .due(time("2001-01-01T00:00:00Z"), time("2026-11-24T06:00:00Z"))
            .expect("due");
        assert_eq!((due.fires.len(), due.given_up), (1060, 0));
        assert_eq!(due.until, time("2026-11-24T06:00:00Z"));
    }

    /// Backwards and forwards must agree, or a fire would come twice or never, depending on when one looks.
    #[test]
    fn looking_back_finds_what_looking_ahead_has_planned() {
        let (from, to) = (time("2026-01-01T00:00:00Z"), time("2026-12-31T00:00:00Z"));
        for expression in [
            "30 2 * * *",
            "15 2,3 * * *",
            "0 1-4 * * SUN",
            "*/40 */2 25 * *",
            "0 0 L * *",
            "5 3 * * 7#L",
        ] {
            for zone in ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "UTC"] {
                let timetable = timetable(expression, zone, Missed::Skip);
                let ahead = timetable.punctual_between(from, to);
                let back = timetable.missed_between(from, to);
                let ahead_end = &ahead[ahead.len().saturating_sub(MAX_CATCH_UP as usize)..];
                assert_eq!(ahead_end, back, "{expression} in {zone}");
            }
        }
    }

    #[test]
    fn what_cannot_be_kept_names_field_value_and_what_would_be_right() {
        let check = |cron: Cron, expect: &[&str]| {
            let error = cron.check().expect_err("refused").to_string();
            assert!(expect.iter().all(|part| error.contains(part)), "{error}");
        };
        check(
            Cron::new("a b", "0 7 * * *", "UTC"),
            &["schedule id `a b`", "1 to 64 letters"],
        );
        check(Cron::new("", "0 7 * * *", "UTC"), &["schedule id ``"]);
        check(Cron::new("x".repeat(65), "0 7 * * *", "UTC"), &["1 to 64"]);
        assert!(Cron::new("x".repeat(64), "0 7 * * *", "UTC").check().is_ok());
        check(
            Cron::new("a", "0 25 * * *", "UTC"),
            &["`a`: expression is `0 25 * * *`", "0 7 * * MON-FRI"],
        );
        check(
            Cron::new("a", "daily at seven", "UTC"),
            &["expression is `daily at seven`"],
        );
        check(
            Cron::new("a", "0 0 30 2 *", "UTC"),
            &["expression is `0 0 30 2 *`: it never fires"],
        );
        check(
            Cron::new("a", "0 7 * * *", "Europe/Berlim"),
            &["zone is `Europe/Berlim`", "`Europe/Berlin`"],
        );
        check(Cron::new("a", "0 7 * * *", ""), &["zone is ``"]);
        let catch_up = |fires| Cron::new("a", "0 7 * * *", "UTC").missed(Missed::CatchUp(fires));
        check(catch_up(0), &["missed is `CatchUp(0)`"]);
        check(catch_up(1001), &["missed is `CatchUp(1001)`", "1 to 1000"]);
        assert!(catch_up(1).check().is_ok() && catch_up(1000).check().is_ok());
    }
}
