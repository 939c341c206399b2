//! IDLE (RFC 2177): wait for new mail without asking.
//!
//! EXISTS may come with any command, even between `IDLE` and the `+`. The connection notes it wherever it comes, and
//! waiting ends at once when the note is there, so no announcement is lost between two commands.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Connection, accepted, unexpected};
use super::error::ImapError;
use super::line::Line;

/// RFC 2177 allows 29 minutes, but NAT tables forget an idle connection after 10 and less.
pub const MAX_IDLE: Duration = Duration::from_secs(9 * 60);
/// For the `+`, and for the tagged line after DONE.
const TURN_DEADLINE: Duration = Duration::from_secs(30);

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleEnd {
    /// The server announced something: search again.
    Changed,
    /// Time to re-issue.
    Expired,
    /// The caller wants to stop.
    Stopped,
}

impl Connection {
    /// Waits until the server announces a change, `limit` has passed, or `stop` is done. A server that refuses is
    /// [`ImapError::Refused`], and the connection stays usable for polling.
    pub async fn idle(
        &mut self,
        limit: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<IdleEnd, ImapError> {
        const IDLE: &str = "IDLE";
        if self.is_changed() {
            return Ok(IdleEnd::Changed);
        }
        let tag = self.start(IDLE)?;
        let begun = timeout(TURN_DEADLINE, self.begin_idle(&tag)).await;
        let begun = begun.unwrap_or(Err(ImapError::Timeout {
            command: IDLE,
            after: TURN_DEADLINE,
        }));
        if begun.as_ref().is_err_and(ImapError::is_refusal) {
            self.mark_sound();
        }
        begun?;
        let end = self.watch(limit.min(MAX_IDLE), stop).await?;
        timeout(TURN_DEADLINE, self.end_idle(&tag))
            .await
            .unwrap_or(Err(ImapError::Timeout {
                command: "DONE",
                after: TURN_DEADLINE,
            }))?;
        self.mark_sound();
        // News may have come together with the answer to DONE.
        Ok(if end == IdleEnd::Expired && self.is_changed() {
            IdleEnd::Changed
        } else {
            end
        })
    }

    async fn begin_idle(&mut self, tag: &str) -> Result<(), ImapError> {
        const IDLE: &str = "IDLE";
        self.write(IDLE, format!("{tag} IDLE\r\n").as_bytes()).await?;
        // What is told before the go-ahead is noted as news by the reading itself; the lines are of no further use.
        self.await_go_ahead(IDLE, tag, &mut Vec::new()).await
    }

    async fn watch(&mut self, limit: Duration, stop: impl Future<Output = ()>) -> Result<IdleEnd, ImapError> {
        const IDLE: &str = "IDLE";
        let until = Instant::now() + limit;
        let mut stop = std::pin::pin!(stop);
        while !self.is_changed() {
            let line = tokio::select! {
                biased;
                () = &mut stop => return Ok(IdleEnd::Stopped),
                // Dropping a read loses nothing: what has arrived waits in the connection's buffer.
                read = timeout_at(until, self.read(IDLE)) => match read {
                    Ok(line) => line?,
                    Err(_) => return Ok(IdleEnd::Expired),
                },
            };
            if let Line::Tagged { .. } = line {
                return Err(unexpected(IDLE, &line));
            }
        }
        Ok(IdleEnd::Changed)
    }

    async fn end_idle(&mut self, tag: &str) -> Result<(), ImapError> {
        const DONE: &str = "DONE";
        self.write(DONE, b"DONE\r\n").await?;
        loop {
            match self.read(DONE).await? {
                Line::Tagged {
                    tag: done,
                    status,
                    state,
                } if done == tag => {
                    return accepted(DONE, status, state).map(drop);
                }
                line @ Line::Tagged { .. } => return Err(unexpected(DONE, &line)),
                _ => {}
            }
        }
    }
}
