//! Cron patterns of six fields, seconds first, with nats-server's grammar. Pure.

use jiff::tz::TimeZone;
use jiff::{RoundMode, Timestamp, ToSpan, Unit, Zoned, ZonedRound};

use crate::store::Nanos;

/// Steps taken to the next time at most: past that there is none. Five years of days, and some more.
const STEPS_MAX: usize = 3000;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

#[derive(Debug)]
pub(super) struct Cron {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The values that a field may have.
#[derive(Debug, Clone, Copy)]
struct Field {
    allowed: u64,
    /// Whatever it may be: of two fields for the day, one that is so leaves it to the other.
    is_any: bool,
}

impl Cron {
    pub(super) fn parse(text: &str) -> Option<Cron> {
        let text = match text {
            "@yearly" | "@annually" => "0 0 0 1 1 *",
            "@monthly" => "0 0 0 1 * *",
            "@weekly" => "0 0 0 * * 0",
            "@daily" | "@midnight" => "0 0 0 * * *",
            "@hourly" => "0 0 * * * *",
            text => text,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [second, minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        Some(Cron {
            second: Field::parse(second, 0, 59, &[])?,
            minute: Field::parse(minute, 0, 59, &[])?,
            hour: Field::parse(hour, 0, 23, &[])?,
            day: Field::parse(day, 1, 31, &[])?,
            month: Field::parse(month, 1, 12, &MONTHS)?,
            weekday: Field::parse(weekday, 0, 6, &DAYS)?,
        })
    }

    /// The first time after `after`.
    pub(super) fn next(&self, after: Nanos, zone: &TimeZone) -> Option<Nanos> {
        let after = Timestamp::from_nanosecond(i128::from(after))
            .ok()?
            .to_zoned(zone.clone());
        let mut time = floor(&after, Unit::Second)?.checked_add(1.second()).ok()?;
        for _ in 0..STEPS_MAX {
            time = match self.first_mismatch(&time) {
                None => return Nanos::try_from(time.timestamp().as_nanosecond()).ok(),
                Some(Unit::Month) => time
                    .first_of_month()
                    .ok()?
                    .checked_add(1.month())
                    .ok()?
                    .start_of_day()
                    .ok()?,
                Some(Unit::Day) => time.tomorrow().ok()?.start_of_day().ok()?,
                Some(Unit::Hour) => floor(&time, Unit::Hour)?.checked_add(1.hour()).ok()?,
                Some(Unit::Minute) => floor(&time, Unit::Minute)?.checked_add(1.minute()).ok()?,
                Some(_) => time.checked_add(1.second()).ok()?,
            };
        }
        None
    }

    /// The largest unit in which `time` is none of this schedule's.
    fn first_mismatch(&self, time: &Zoned) -> Option<Unit> {
        let allows = |field: Field, value: i8| field.allowed & (1 << value) != 0;
        let by_month = allows(self.day, time.day());
        let by_week = allows(self.weekday, time.weekday().to_sunday_zero_offset());
        let is_day = if self.day.is_any || self.weekday.is_any {
            by_month && by_week
        } else {
            by_month || by_week
        };
        [
            (allows(self.month, time.month()), Unit::Month),
            (is_day, Unit::Day),
            (allows(self.hour, time.hour()), Unit::Hour),
            (allows(self.minute, time.minute()), Unit::Minute),
            (allows(self.second, time.second()), Unit::Second),
        ]
        .into_iter()
        .find_map(|(matches, unit)| (!matches).then_some(unit))
    }
}

fn floor(time: &Zoned, unit: Unit) -> Option<Zoned> {
    time.round(ZonedRound::new().smallest(unit).mode(RoundMode::Trunc))
        .ok()
}

impl Field {
    /// `*`, `?`, `5`, `1-5`, `*/15`, `5/15`, `1-10/2`, names, and lists of these.
    fn parse(text: &str, min: u32, max: u32, names: &[&str]) -> Option<Field> {
        let mut field = Field {
            allowed: 0,
            is_any: false,
        };
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(number(step)?)),
                None => (part, None),
            };
            let value = |text: &str| {
                let text = text.to_ascii_lowercase();
                let named = names.iter().position(|name| *name == text);
                let value = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + min);
                value
                    .or_else(|| number(&text))
                    .filter(|value| (min..=max).contains(value))
            };
            let (first, last) = match range {
                "*" | "?" => {
                    field.is_any |= step.is_none_or(|step| step == 1);
                    (min, max)
                }
                range => match range.split_once('-') {
                    Some((first, last)) => (value(first)?, value(last)?),
                    // With a step it goes on to the end.
                    None if step.is_some() => (value(range)?, max),
                    None => (value(range)?, value(range)?),
                },
            };
            let step = usize::try_from(step.unwrap_or(1)).ok().filter(|&step| step > 0)?;
            if first > last {
                return None;
            }
            (first..=last)
                .step_by(step)
                .for_each(|value| field.allowed |= 1 << value);
        }
        Some(field)
    }
}

fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::json;

    fn check(pattern: &str, zone: &str, after: &str, expect: &[&str]) {
        let cron = Cron::parse(pattern).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let mut time = json::parse_time(after).unwrap();
        for expect in expect {
            time = cron.next(time, &zone).unwrap();
            assert_eq!(json::time(time), *expect, "{pattern}");
        }
    }

    #[test]
    fn times_in_order() {
        let start = "2026-02-27T23:59:58.5Z";
        let both = ["2026-02-27T23:59:59Z", "2026-02-28T00:00:00Z"];
        check("* * * * * *", "UTC", start, &both);
        check(
            "0 30 14 1,15 * *",
            "UTC",
            start,
            &["2026-03-01T14:30:00Z", "2026-03-15T14:30:00Z"],
        );
        check(
            "0 0 12 * * MON-FRI",
            "UTC",
            start,
            &["2026-03-02T12:00:00Z", "2026-03-03T12:00:00Z"],
        );
        check("0 0 0 29 FEB ?", "UTC", start, &["2028-02-29T00:00:00Z"]);
        check(
            "5/20 59 23 * * *",
            "UTC",
            start,
            &["2026-02-28T23:59:05Z", "2026-02-28T23:59:25Z"],
        );
        check(
            "1-10/4 0 0 * * *",
            "UTC",
            start,
            &["2026-02-28T00:00:01Z", "2026-02-28T00:00:05Z"],
        );
        // Both say something of the day: either will do.
        check(
            "0 0 0 13 * FRI",
            "UTC",
            start,
            &[
                "2026-03-06T00:00:00Z",
                "2026-03-13T00:00:00Z",
                "2026-03-20T00:00:00Z",
            ],
        );
        check("@weekly", "UTC", start, &["2026-03-01T00:00:00Z"]);
        check("@yearly", "UTC", start, &["2027-01-01T00:00:00Z"]);
    }

    #[test]
    fn clocks_that_are_set() {
        // Half past two is not on that day; the hour after one is there twice.
        let spring = "2026-03-28T12:00:00Z";
        check("0 30 2 * * *", "Europe/Berlin", spring, &["2026-03-30T00:30:00Z"]);
        let autumn = "2026-10-24T23:45:00Z";
        let twice = [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z",
        ];
        check("0 30 * * * *", "Europe/Berlin", autumn, &twice);
    }

    #[test]
    fn refusals() {
        for bad in [
            "",
            "* * * * *",
            "* * * * * * *",
            "60 * * * * *",
            "0 0 0 0 * *",
            "0 0 0 * 13 *",
            "0 0 12 * * 7",
            "0 0 10-5 * * *",
            "0 0 12 * * FRI-MON",
            "0 0 0 L * *",
            "*/0 * * * * *",
            "-1 * * * * *",
            "+1 * * * * *",
            "1- * * * * *",
            "1,,2 * * * * *",
            "@bogus",
        ] {
            assert!(Cron::parse(bad).is_none(), "{bad}");
        }
    }
}
