//! Message schedules, as of ADR-51: when a message that waits is published, and under which subject. Pure.

mod cron;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::api_error::{self, ApiError};
use super::{go_duration, json};
use crate::protocol::headers;
use crate::store::Nanos;
use crate::subject;
use cron::Cron;

pub const SCHEDULE: &[u8] = b"Nats-Schedule";
const TARGET: &[u8] = b"Nats-Schedule-Target";
const SOURCE: &[u8] = b"Nats-Schedule-Source";
const TTL: &[u8] = b"Nats-Schedule-TTL";
const TIME_ZONE: &[u8] = b"Nats-Schedule-Time-Zone";
const ROLL_UP: &[u8] = b"Nats-Schedule-Rollup";
/// On what a schedule brought forth: the subject of the schedule, and when it does so next, or `purge`.
pub const SCHEDULER: &[u8] = b"Nats-Scheduler";
pub const NEXT: &[u8] = b"Nats-Schedule-Next";
pub const PURGE: &[u8] = b"purge";

const SECOND: Nanos = 1_000_000_000;
/// Headers that are for the schedule, not for what it brings forth.
const OWN: [&[u8]; 7] = [
    b"Nats-Schedule",
    b"Nats-Expected-",
    b"Nats-TTL",
    b"Nats-Msg-Id",
    b"Nats-Rollup",
    b"Nats-Batch-",
    b"Nats-Required-",
];

/// What a message's headers say about when it is published, and how.
#[derive(Debug)]
pub struct Schedule {
    when: When,
    pub target: Vec<u8>,
    pub source: Option<Vec<u8>>,
    pub ttl: Option<Vec<u8>>,
    rolls_up: bool,
}

#[derive(Debug)]
enum When {
    At(Nanos),
    Every(Nanos),
    Cron(Box<Cron>, TimeZone),
}

impl Schedule {
    /// The schedule in a header block; `None` without one.
    pub fn of(block: &[u8]) -> Result<Option<Schedule>, ApiError> {
        let Some(pattern) = headers::value(block, SCHEDULE).filter(|pattern| !pattern.is_empty()) else {
            return Ok(None);
        };
        let when = When::parse(pattern, headers::value(block, TIME_ZONE))?;
        let rolls_up = match headers::value(block, ROLL_UP) {
            None | Some(b"") => false,
            Some(b"sub") => true,
            Some(_) => return Err(api_error::SCHEDULE_ROLL_UP),
        };
        let own = |name: &[u8]| {
            headers::value(block, name)
                .filter(|value| !value.is_empty())
                .map(<[u8]>::to_vec)
        };
        Ok(Some(Schedule {
            when,
            target: own(TARGET).ok_or(api_error::SCHEDULE_TARGET)?,
            source: own(SOURCE),
            ttl: own(TTL),
            rolls_up,
        }))
    }

    /// The first time for a schedule that was stored at `stored`. Of what repeats nothing is made up for.
    pub fn first(&self, stored: Nanos, now: Nanos) -> Option<Nanos> {
        match &self.when {
            When::At(at) => Some(*at),
            When::Every(interval) => {
                let next = rounded(stored).saturating_add(*interval);
                Some(if next < now {
                    rounded(now).saturating_add(*interval)
                } else {
                    next
                })
            }
            When::Cron(cron, zone) => cron.next(now, zone),
        }
    }

    /// The time after one that has come; `None` when it was the only one.
    pub fn next(&self, now: Nanos) -> Option<Nanos> {
        match &self.when {
            When::At(_) => None,
            _ => self.first(now, now),
        }
    }

    /// The headers of what is published: those of `block` that are not the schedule's own, and where it came from.
    pub fn produced(&self, block: &[u8], scheduler: &[u8], next: Option<Nanos>) -> Vec<u8> {
        let next = next.map_or_else(|| String::from_utf8_lossy(PURGE).into_owned(), json::time);
        let scheduler = String::from_utf8_lossy(scheduler);
        let mut lines = format!("Nats-Scheduler: {scheduler}\r\nNats-Schedule-Next: {next}\r\n");
        if let Some(ttl) = &self.ttl {
            lines.push_str(&format!("Nats-TTL: {}\r\n", String::from_utf8_lossy(ttl)));
        }
        if self.rolls_up {
            lines.push_str("Nats-Rollup: sub\r\n");
        }
        headers::with_lines(&headers::without(block, &OWN), &lines)
    }

    /// What is produced is published under a literal subject that is not the schedule's, nor is its source.
    pub fn check_subjects(&self, own: &[u8], is_stored: impl Fn(&[u8]) -> bool) -> Result<(), ApiError> {
        let is_good = |subject: &[u8]| subject::is_literal(subject) && subject != own && is_stored(subject);
        if !is_good(&self.target) {
            return Err(api_error::SCHEDULE_TARGET);
        }
        match &self.source {
            Some(source) if !is_good(source) || *source == self.target => Err(api_error::SCHEDULE_SOURCE),
            _ => Ok(()),
        }
    }
}

impl When {
    fn parse(pattern: &[u8], zone: Option<&[u8]>) -> Result<When, ApiError> {
        let invalid = api_error::SCHEDULE_PATTERN;
        let text = std::str::from_utf8(pattern).map_err(|_| invalid.clone())?;
        let single = match text.split_once(' ') {
            Some(("@at", time)) => Some(json::parse_time(time).map(When::At)),
            Some(("@every", interval)) => {
                let interval =
                    go_duration::parse(interval).and_then(|it| Nanos::try_from(it.as_nanos()).ok());
                Some(interval.filter(|&interval| interval >= SECOND).map(When::Every))
            }
            _ => None,
        };
        if let Some(single) = single {
            // These are the same everywhere.
            return single.filter(|_| zone.is_none()).ok_or(invalid);
        }
        let zone = match zone {
            None => TimeZone::UTC,
            Some(b"Local") => TimeZone::system(),
            Some(name) => {
                let name = std::str::from_utf8(name).ok();
                let zone = name.and_then(|name| TimeZone::get(name).ok());
                zone.ok_or(api_error::SCHEDULE_TIME_ZONE)?
            }
        };
        let cron = Cron::parse(text).ok_or(invalid.clone())?;
        // One that never comes is a mistake.
        cron.next(0, &zone).ok_or(invalid)?;
        Ok(When::Cron(Box::new(cron), zone))
    }
}

/// To the next whole second, as Go rounds: half of one and more goes up.
fn rounded(time: Nanos) -> Nanos {
    time.saturating_add(SECOND / 2)
        .div_euclid(SECOND)
        .saturating_mul(SECOND)
}

/// The time that a header tells, if it tells one.
pub fn told(block: &[u8]) -> Option<Nanos> {
    let text = std::str::from_utf8(headers::value(block, NEXT)?).ok()?;
    let time: Timestamp = text.parse().ok()?;
    Nanos::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Result<Option<Schedule>, ApiError> {
        Schedule::of(format!("NATS/1.0\r\n{lines}\r\n\r\n").as_bytes())
    }

    #[test]
    fn patterns_and_their_times() {
        let noon = json::parse_time("2026-03-01T12:00:00.7Z").unwrap();
        let check = |pattern: &str, first: Option<&str>, next: Option<&str>| {
            let schedule = of(&format!("Nats-Schedule: {pattern}\r\nNats-Schedule-Target: t"));
            let Some(first) = first else {
                assert_eq!(schedule.unwrap_err().err_code, 10189, "{pattern}");
                return;
            };
            let schedule = schedule.unwrap().unwrap();
            assert_eq!(
                schedule.first(noon, noon).map(json::time).as_deref(),
                Some(first),
                "{pattern}"
            );
            assert_eq!(schedule.next(noon).map(json::time).as_deref(), next, "{pattern}");
        };
        let at = Some("2030-01-01T00:00:00Z");
        check("@at 2030-01-01T00:00:00Z", at, None);
        check("@at 2030-01-01T02:00:00+02:00", at, None);
        let in_a_minute = Some("2026-03-01T12:01:01Z");
        check("@every 1m", in_a_minute, in_a_minute);
        let at_one = Some("2026-03-01T13:00:00Z");
        check("@hourly", at_one, at_one);
        for bad in [
            "@at soon",
            "@at 2030-01-01",
            "@at  2030-01-01T00:00:00Z",
            "@AT 2030-01-01T00:00:00Z",
            "@every 999ms",
            "@every x",
            "@never",
            "* * * * *",
            "0 0 0 31 2 *",
        ] {
            check(bad, None, None);
        }
    }

    #[test]
    fn what_repeats_is_not_made_up_for() {
        let time = |text: &str| json::parse_time(text).unwrap();
        let schedule = of("Nats-Schedule: @every 5s\r\nNats-Schedule-Target: t")
            .unwrap()
            .unwrap();
        let first = schedule.first(time("2026-01-01T00:00:00.2Z"), time("2026-01-01T01:00:00.6Z"));
        assert_eq!(first, Some(time("2026-01-01T01:00:06Z")));
    }

    #[test]
    fn what_is_published() {
        let block = b"NATS/1.0\r\nNats-Schedule: @at 2030-01-01T00:00:00Z\r\nNats-Schedule-Target: t\r\nA: b\r\nNats-TTL: 2h\r\nNats-Schedule-TTL: 1h\r\nNats-Schedule-Rollup: sub\r\nNats-Msg-Id: 1\r\n\r\n";
        let schedule = Schedule::of(block).unwrap().unwrap();
        let produced = schedule.produced(block, b"s", None);
        let expect = "NATS/1.0\r\nA: b\r\nNats-Scheduler: s\r\nNats-Schedule-Next: purge\r\nNats-TTL: 1h\r\nNats-Rollup: sub\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&produced), expect);
        let again = schedule.produced(b"", b"s", Some(0));
        assert_eq!(told(&again), Some(0));
    }

    #[test]
    fn zones() {
        let zone = |name: &str, pattern: &str| {
            of(&format!(
                "Nats-Schedule: {pattern}\r\nNats-Schedule-Target: t\r\nNats-Schedule-Time-Zone: {name}"
            ))
        };
        let winter = json::parse_time("2026-01-01T00:00:00Z").unwrap();
        let noon = zone("Europe/Berlin", "0 0 12 * * *").unwrap().unwrap();
        assert_eq!(
            noon.next(winter).map(json::time).as_deref(),
            Some("2026-01-01T11:00:00Z")
        );
        for (name, pattern, err_code) in [
            ("Mars/North", "@daily", 10223),
            ("", "@daily", 10223),
            ("Europe/Berlin", "@every 5s", 10189),
        ] {
            assert_eq!(
                zone(name, pattern).unwrap_err().err_code,
                err_code,
                "{name} {pattern}"
            );
        }
    }
}
