//! The task that fires: sleeps until the next planned time, and puts messages into the outbox.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::timetable::Due;
use super::{Cron, CronError, Fire, Timetable};
use crate::explain::panic_text;
use crate::message::Message;
use crate::names;
use crate::store::outbox::OutboxRow;
use crate::store::{Store, StoreError, schedules};

/// The database's clock is looked at this often at least: clocks are set, and machines sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long to wait when the database is away, or a message could not be made.
const PAUSE: Duration = Duration::from_secs(5);

type MakeMessage = dyn Fn(&Fire) -> Result<OutboxRow, StoreError> + Send + Sync;

/// A schedule and the messages that its fires become.
pub(crate) struct Job {
    cron: Cron,
    pub(crate) subject: &'static str,
    message: Box<MakeMessage>,
}

impl Job {
    pub(crate) fn new<M: Message>(cron: Cron, message: impl Fn(&Fire) -> M + Send + Sync + 'static) -> Self {
        Self {
            cron,
            subject: M::SUBJECT,
            message: Box::new(move |fire| OutboxRow::of(&message(fire))),
        }
    }

    /// Its message for `fire`, under an id that is the same in every process.
    fn row(&self, fire: &Fire) -> Result<OutboxRow, FireError> {
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| (self.message)(fire)));
        let row = made.map_err(|panic| FireError::Panicked(panic_text(&*panic)))??;
        let id = format!("cron/{}/{}", fire.schedule, fire.at.timestamp());
        Ok(OutboxRow { id, ..row })
    }
}

/// Why a schedule did not fire; it is tried again.
#[derive(Debug, thiserror::Error)]
enum FireError {
    #[error("its message could not be made, since that panicked: {0}")]
    Panicked(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the schedules, and makes them known to the database.
pub(crate) async fn prepare(store: &Store, jobs: Vec<Job>) -> Result<Vec<(Job, Timetable)>, CronError> {
    let mut ids = HashSet::new();
    let mut prepared = Vec::with_capacity(jobs.len());
    for job in jobs {
        let timetable = job.cron.timetable()?;
        if !ids.insert(timetable.id.clone()) {
            return Err(CronError::Duplicate(timetable.id));
        }
        prepared.push((job, timetable));
    }
    for (
        _,
        Timetable {
            id,
            expression,
            zone_name,
            ..
        },
    ) in &prepared
    {
        let mut tx = store.begin().await?;
        let changed = schedules::register(&mut tx, id, expression, zone_name).await?;
        tx.commit().await?;
        if changed {
            tracing::info!(
                schedule = id,
                expression,
                zone = zone_name,
                "a schedule counts from now on"
            );
        }
    }
    Ok(prepared)
}

/// Fires until `stop`.
pub(crate) async fn run(store: Store, jobs: Vec<(Job, Timetable)>, stop: CancellationToken) {
    if jobs.is_empty() {
        return;
    }
    while !stop.is_cancelled() {
        let mut wait = LONGEST_WAIT;
        for (job, timetable) in &jobs {
            let next = match fire(&store, job, timetable).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(schedule = timetable.id, %error, "a schedule does not fire; it is tried again");
                    PAUSE
                }
            };
            wait = wait.min(next);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Fires what is due; gives the time to the next look.
async fn fire(store: &Store, job: &Job, timetable: &Timetable) -> Result<Duration, FireError> {
    let Timetable {
        id,
        expression,
        zone_name,
        ..
    } = timetable;
    let mut tx = store.read().await?;
    let standing = schedules::standing(&mut tx, id, expression, zone_name).await?;
    tx.rollback().await?;
    let Some(standing) = standing else {
        tracing::warn!(
            schedule = id,
            "a process that was started later has changed this schedule; this one leaves it alone"
        );
        return Ok(LONGEST_WAIT);
    };
    let wait = timetable.wait(standing.now).unwrap_or(LONGEST_WAIT);
    let Some(Due {
        fires,
        until,
        given_up,
    }) = timetable.due(standing.last_fire, standing.now)
    else {
        return Ok(wait);
    };
    let rows = fires
        .iter()
        .map(|fire| job.row(fire))
        .collect::<Result<Vec<_>, _>>()?;
    let mut tx = store.begin().await?;
    let settled = (standing.last_fire, until);
    if !schedules::advance(&mut tx, id, (expression, zone_name), settled, rows.len()).await? {
        tx.rollback().await?;
        return Ok(wait);
    }
    for row in &rows {
        tx.push(row).await?;
    }
    tx.commit().await?;
    counter!(names::FIRES, "schedule" => id.clone()).increment(rows.len() as u64);
    for fire in &fires {
        tracing::info!(schedule = id, at = %fire.at, missed = fire.missed, "a schedule has fired");
    }
    if given_up > 0 {
        tracing::warn!(
            schedule = id,
            given_up,
            "fires were missed, and are given up as the schedule says"
        );
    }
    Ok(wait)
}
