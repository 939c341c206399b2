//! The demo from the first mail to the summary.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postroom::store::deliveries;
use postroom::{App, Running, Settings, Store, StoreError, stop_signal};

use super::report::Report;
use super::stage::{Stage, StageError};
use crate::pipeline::{with_ingest, with_reply, with_send};
use crate::progress::Progress;
use crate::send::{Press, SendMail};
use crate::store::mails;

/// So that a mail refused twice is through within seconds.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(2));
/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The demo takes seconds; when nothing has moved for so long, something is wrong, and waiting does not mend it.
const STUCK: Duration = Duration::from_secs(60);

/// How the demo is to run.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Somebody else's broker instead of an own one.
    pub nats_url: Option<String>,
    /// Somebody else's database instead of SQLite in `data`.
    pub database_url: Option<String>,
    /// Go on running when the mailbox is empty of work, on the ports where people expect these things.
    pub keep: bool,
    /// So many ordinary mails instead of the awkward ones.
    pub mails: Option<usize>,
    /// The summary as JSON.
    pub json: bool,
}

/// Why the demo ended without its summary.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// It could not begin.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Nor could the workers.
    #[error(transparent)]
    Postroom(#[from] postroom::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output is closed.
    #[error("the summary could not be written: {0}")]
    Output(#[from] io::Error),
    /// Nothing moves.
    #[error("nothing has moved for {} s, with work left; the log above says why", STUCK.as_secs())]
    Stuck,
    /// Something is missing.
    #[error(
        "the numbers do not add up: a mail or a dead letter is missing; please report this with the data folder"
    )]
    DoesNotAddUp,
}

/// Runs the demo; writes its summary to `out`.
///
/// # Errors
/// When it can't begin, gets stuck, or does not add up.
pub async fn run(options: DemoOptions, out: &mut (impl Write + Send)) -> Result<(), DemoError> {
    let began = Instant::now();
    let stage = Stage::set(
        &options.data,
        options.nats_url.is_none(),
        options.keep,
        options.mails,
    )
    .await?;
    let database_url = options
        .database_url
        .clone()
        .unwrap_or_else(|| format!("sqlite:{}", options.data.join("postroom.db").display()));
    let nats_url = match &stage.broker {
        Some(broker) => broker.client_url(),
        None => options.nats_url.clone().unwrap_or_default(),
    };
    let app = App::connect(Settings {
        nats_url,
        database_url: database_url.clone(),
        ..Settings::default()
    })
    .await?;
    let store = app.store().clone();
    let accounts = [stage.account.clone()];
    let app = with_send(
        with_reply(with_ingest(app, &accounts, &stage.blobs), &accounts),
        &accounts,
        Press::new(stage.blobs.clone()),
        SendMail::spec_with_backoff(BACKOFF.0, BACKOFF.1),
    );
    let running = app.start().await?;
    let ended = tokio::select! {
        worked = work(&stage, &running, &store) => worked,
        () = stop_signal() => Ok(()),
    };
    let report = match ended {
        Ok(()) => summarize(&running, &store, began.elapsed()).await,
        Err(error) => Err(error),
    };
    if let Ok(report) = &report {
        write(report, &options, &database_url, out)?;
        if options.keep {
            keep(&stage, out).await?;
        }
    }
    running.drain().await;
    stage.strike().await;
    if report?.adds_up() {
        Ok(())
    } else {
        Err(DemoError::DoesNotAddUp)
    }
}

/// Returns when every mail in the mailbox is settled, and everything that came of it.
async fn work(stage: &Stage, running: &Running, store: &Store) -> Result<(), DemoError> {
    let mut progress = Progress::new(stage.mails, "mails read");
    let mut ticks = tokio::time::interval(LOOK);
    let mut moved = (Instant::now(), String::new());
    loop {
        ticks.tick().await;
        let (settled, line) = look(store).await?;
        progress.show(settled, line.clone());
        if settled >= stage.mails as u64 && running.is_idle().await? {
            progress.finish();
            return Ok(());
        }
        if line != moved.1 {
            moved = (Instant::now(), line);
        } else if moved.0.elapsed() > STUCK {
            progress.finish();
            return Err(DemoError::Stuck);
        }
    }
}

/// How many mails are through ingest, and the rest in words.
async fn look(store: &Store) -> Result<(u64, String), StoreError> {
    let mut tx = store.read().await?;
    let mails = mails::count(&mut tx).await?;
    let tally = deliveries::tally(&mut tx).await?;
    tx.rollback().await?;
    let settled: i64 = mails
        .iter()
        .filter(|(state, _)| *state != "discovered")
        .map(|(_, count)| count)
        .sum();
    let sum = |scope: &str, state: &str| -> i64 {
        tally
            .iter()
            .filter(|t| (scope.is_empty() || t.scope == scope) && t.state == state)
            .map(|t| t.deliveries)
            .sum()
    };
    let retries: i64 = tally.iter().map(|t| t.retries).sum();
    let dead = sum("", "dead") + mails.get("dead").copied().unwrap_or(0);
    let line = format!(
        "{} replies sent, {retries} retries, {dead} dead letters",
        sum("send", "done")
    );
    Ok((u64::try_from(settled).unwrap_or(0), line))
}

async fn summarize(running: &Running, store: &Store, took: Duration) -> Result<Report, DemoError> {
    let on_stream = running
        .bus()
        .messages_in("DLQ")
        .await
        .map_err(postroom::Error::from)?;
    Ok(Report::read(store, on_stream, took).await?)
}

fn write(report: &Report, options: &DemoOptions, database: &str, out: &mut impl Write) -> io::Result<()> {
    if options.json {
        return writeln!(out, "{}", serde_json::json!(report));
    }
    report.print(database, out)
}

async fn keep(stage: &Stage, out: &mut impl Write) -> io::Result<()> {
    if let Some(broker) = &stage.broker {
        writeln!(
            out,
            "\nRunning on, until Ctrl-C: broker at {}",
            broker.client_url()
        )?;
    }
    writeln!(
        out,
        "IMAP at {}, SMTP at {}",
        stage.devmail.imap_addr(),
        stage.devmail.smtp_addr()
    )?;
    out.flush()?;
    stop_signal().await;
    Ok(())
}
