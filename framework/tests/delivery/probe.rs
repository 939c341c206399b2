//! A handler that does what its message tells it to, and reports every run.

use std::time::Duration;

use postroom::store::dead_letters::Letter;
use postroom::{Cx, CxError, Handle, Handler, HandlerError, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tests.ping", id = "tests.ping.v1")]
pub(crate) struct Ping {
    pub(crate) id: u32,
    pub(crate) outcome: Outcome,
    #[message(incidental)]
    pub(crate) sent_at: String,
}

/// Published by each run that succeeds.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.pong", id = "tests.pong.v1")]
pub(crate) struct Pong {
    pub(crate) id: u32,
    pub(crate) outcome: Outcome,
    pub(crate) sent_at: String,
}

impl Pong {
    pub(crate) fn of(ping: &Ping) -> Self {
        Self {
            id: ping.id,
            outcome: ping.outcome,
            sent_at: String::new(),
        }
    }
}

/// Published by the probe's last words.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.mourned", id = "tests.mourned.v1")]
pub(crate) struct Mourned {
    pub(crate) id: u32,
    pub(crate) outcome: Outcome,
    pub(crate) sent_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Succeed,
    /// Fails in the first so many attempts, having published and written before.
    FailFirst(i64),
    /// Fails for good, until the probe is told to relent.
    Permanent,
    Panic,
    Hang,
    /// Snoozes until told to relent.
    Snooze,
    Discard,
    /// Begins an effect and loses its outcome in the first attempt.
    LoseEffect,
    /// Runs until the process is gone.
    Stay,
}

#[derive(Debug, thiserror::Error, HandlerError)]
pub(crate) enum ProbeError {
    #[error("not yet")]
    #[on(retry)]
    NotYet,
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error("in a moment")]
    #[on(snooze = "10ms")]
    Moment,
    #[error("nobody wants it")]
    #[on(discard)]
    Unwanted,
    #[error("the line went dead")]
    #[on(ambiguous)]
    LineDead,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
    #[error(transparent)]
    #[on(retry)]
    Sql(#[from] sqlx::Error),
}

/// What one run saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: u32,
    pub(crate) attempt: i64,
    pub(crate) unresolved_effect: Option<String>,
}

#[derive(Handler)]
#[handler(
    on = Ping,
    id = "probe",
    idempotent(key = [id], ttl = "1d"),
    retry(max = 4, backoff = "5ms..20ms"),
    timeout = "500ms",
    concurrency = 4,
    ambiguous = Resend,
)]
pub(crate) struct Probe {
    pub(crate) runs: mpsc::UnboundedSender<Run>,
    pub(crate) relents: bool,
}

impl Probe {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Run>) {
        let (runs, seen) = mpsc::unbounded_channel();
        (Self { runs, relents: false }, seen)
    }

    pub(crate) fn relenting() -> (Self, mpsc::UnboundedReceiver<Run>) {
        let (probe, seen) = Self::new();
        (
            Self {
                relents: true,
                ..probe
            },
            seen,
        )
    }
}

impl Handle<Ping> for Probe {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let run = Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: cx.unresolved_effect().map(str::to_owned),
        };
        tracing::info!(attempt = run.attempt, "a run for ann@shop.test");
        // The test may have ended.
        let _ = self.runs.send(run);
        if ping.outcome == Outcome::LoseEffect && cx.attempt() == 1 {
            cx.begin_effect("the-effect").await?;
            return Err(ProbeError::LineDead);
        }
        write(cx, ping.id).await?;
        match ping.outcome {
            Outcome::FailFirst(attempts) if cx.attempt() <= attempts => return Err(ProbeError::NotYet),
            Outcome::Permanent if !self.relents => return Err(ProbeError::Never),
            Outcome::Snooze if !self.relents => return Err(ProbeError::Moment),
            Outcome::Discard => return Err(ProbeError::Unwanted),
            Outcome::Panic => panic!("as told"),
            Outcome::Hang if !self.relents => std::future::pending().await,
            Outcome::Stay if !self.relents => std::future::pending().await,
            _ => {}
        }
        Ok(())
    }

    async fn on_dead_letter(&self, ping: &Ping, _: &Letter, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let mourned = Mourned {
            id: ping.id,
            outcome: ping.outcome,
            sent_at: ping.sent_at.clone(),
        };
        Ok(cx.publish(&mourned).await?)
    }
}

/// What every run does first: a row of its own and a message, both in the delivery's transaction.
async fn write(cx: &mut Cx<'_>, id: u32) -> Result<(), ProbeError> {
    let pong = Pong {
        id,
        outcome: Outcome::Succeed,
        sent_at: String::new(),
    };
    cx.publish(&pong).await?;
    Ok(())
}

/// A handler that writes SQL of its own, and fails after it in the first attempt.
#[derive(Handler)]
#[handler(on = Ping, id = "bookkeeper", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Hold)]
pub(crate) struct Bookkeeper;

impl Handle<Ping> for Bookkeeper {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let attempt = cx.attempt();
        let tx = cx.tx().await?;
        postroom::execute!(
            tx,
            "INSERT INTO ledger_test (id, attempt) VALUES ($1, $2)",
            i64::from(ping.id),
            attempt
        )?;
        cx.publish(&Pong {
            id: ping.id,
            outcome: ping.outcome,
            sent_at: String::new(),
        })
        .await?;
        if attempt == 1 {
            Err(ProbeError::NotYet)
        } else {
            Ok(())
        }
    }
}

/// A handler that holds what it can't be sure of.
#[derive(Handler)]
#[handler(on = Ping, id = "holder", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Hold)]
pub(crate) struct Holder;

impl Handle<Ping> for Holder {
    type Error = ProbeError;

    async fn handle(&self, _: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        cx.begin_effect("the-effect").await?;
        Err(ProbeError::LineDead)
    }
}

/// A handler whose effect happens.
pub(crate) struct Sure;

impl Handle<Ping> for Sure {
    type Error = ProbeError;

    async fn handle(&self, _: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        Ok(cx.begin_effect("the-effect").await?)
    }
}

/// A handler that works for longer than a claim holds without a heartbeat.
#[derive(Handler)]
#[handler(on = Ping, id = "slow", idempotent(key = [id], ttl = "1d"), retry(max = 4, backoff = "5ms..20ms"), ambiguous = Hold)]
pub(crate) struct Slow(pub(crate) mpsc::UnboundedSender<Run>);

impl Handle<Ping> for Slow {
    type Error = ProbeError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), ProbeError> {
        let _ = self.0.send(Run {
            id: ping.id,
            attempt: cx.attempt(),
            unresolved_effect: None,
        });
        tokio::time::sleep(Duration::from_secs(9)).await;
        write(cx, ping.id).await
    }
}

pub(crate) const PATIENT: Duration = Duration::from_secs(20);
