//! Work by the clock: a schedule, the messages that its fires become, and what is done about fires that were missed.

mod run;
mod timetable;

use jiff::Zoned;
use jiff::tz::TimeZone;

pub(crate) use run::{Job, prepare, run};
use timetable::Timetable;

use crate::store::StoreError;

/// A schedule id is part of message ids and log lines.
const MAX_ID_LEN: usize = 64;
/// More messages at once than this are no catching up but a flood.
const MAX_CATCH_UP: u32 = 1000;

/// When to fire: a cron expression in a time zone.
///
/// ```
/// use postroom::{Cron, Missed};
///
/// let digest = Cron::new("nightly-digest", "0 7 * * MON-FRI", "Europe/Berlin").missed(Missed::Skip);
/// assert!(digest.check().is_ok());
/// ```
///
/// The expression has five fields (minute, hour, day of month, month, day of week), or six with seconds in front; names,
/// lists, ranges, steps, `L`, `W` and `#` as in other crons. The zone is a name of the IANA database, or `UTC`.
///
/// When clocks go forward, a time that is left out fires at the next minute that there is; when they go back, a time that
/// comes twice fires the first time. Expressions with a wildcard in minutes or hours go by elapsed time instead: what is
/// left out does not fire, and what comes twice fires twice.
///
/// Of many processes with the same schedule, one fires, whichever comes first; the database says which. Of a schedule that
/// changes, the process that was started last decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    id: String,
    expression: String,
    zone: String,
    missed: Missed,
}

/// What becomes of fires that are more than a minute late, since no process was running, or the database was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They are given up.
    Skip,
    /// All of them become one: the fire after them if that is due, too, or else the last of them.
    #[default]
    Coalesce,
    /// The last so many of them are made up for, each with a message of its own; at most 1000.
    CatchUp(u32),
}

/// A schedule has come to one of its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fire {
    /// The schedule's id.
    pub schedule: String,
    /// The time that was planned, in the schedule's zone.
    pub at: Zoned,
    /// How many earlier fires this one stands for: see [`Missed::Coalesce`]. Counted up to 1000.
    pub missed: u64,
}

/// A schedule that can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    /// The id can't be part of a message id.
    #[error("schedule id `{0}`: use 1 to {MAX_ID_LEN} letters, digits, `-` and `_`")]
    Id(String),
    /// Two schedules share an id, and so a row.
    #[error("two schedules have the id `{0}`: each needs its own, since the database tells them apart by it")]
    Duplicate(String),
    /// A field can't be used.
    #[error("schedule `{id}`: {field} is `{value}`: {wrong}; {right}")]
    Field {
        /// The schedule.
        id: String,
        /// The field: `expression`, `zone` or `missed`.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        wrong: String,
        /// What would be right.
        right: &'static str,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cron {
    /// The schedule `id` with its cron expression and time zone. Fires that were missed are coalesced.
    ///
    /// The id names the schedule in the database: it must not change while fires may be missed.
    #[must_use]
    pub fn new(id: impl Into<String>, expression: impl Into<String>, zone: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            expression: expression.into(),
            zone: zone.into(),
            missed: Missed::default(),
        }
    }

    /// What becomes of fires that were missed.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Whether the schedule can be kept; asked at the start of an app, too.
    ///
    /// # Errors
    /// Names the field, its value, and what would be right.
    pub fn check(&self) -> Result<(), CronError> {
        self.timetable().map(drop)
    }

    fn timetable(&self) -> Result<Timetable, CronError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.id.is_empty() || self.id.len() > MAX_ID_LEN || !self.id.chars().all(fits) {
            return Err(CronError::Id(self.id.clone()));
        }
        let field = |field, value: &str, wrong: String, right| CronError::Field {
            id: self.id.clone(),
            field,
            value: value.to_owned(),
            wrong,
            right,
        };
        let expression: croner::Cron =
            self.expression
                .parse()
                .map_err(|error: croner::errors::CronError| {
                    let right =
                        "give minute, hour, day of month, month and day of week, such as `0 7 * * MON-FRI`";
                    field("expression", &self.expression, error.to_string(), right)
                })?;
        let zone = TimeZone::get(&self.zone).map_err(|error| {
            let right = "give a name such as `Europe/Berlin`, or `UTC`";
            field("zone", &self.zone, error.to_string(), right)
        })?;
        if let Missed::CatchUp(fires) = self.missed
            && !(1..=MAX_CATCH_UP).contains(&fires)
        {
            let right = "give 1 to 1000 fires to catch up with, or `Missed::Skip`";
            let wrong = "it is out of range".to_owned();
            return Err(field("missed", &format!("CatchUp({fires})"), wrong, right));
        }
        let timetable = Timetable::new(self, expression, zone);
        if timetable.next_after(jiff::Timestamp::now()).is_none() {
            let right = "give a time that comes, such as `0 7 * * MON-FRI`";
            return Err(field(
                "expression",
                &self.expression,
                "it never fires".to_owned(),
                right,
            ));
        }
        Ok(timetable)
    }
}
