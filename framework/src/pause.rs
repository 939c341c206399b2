//! Handlers at rest. What counts is the table, in every process; a valve is what one process knows of it.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::names;
use crate::store::{Store, StoreError, pauses};

/// A pause or its end in another process is noticed within this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether one handler may take messages. A handle.
#[derive(Debug, Clone)]
pub(crate) struct Valve {
    pub(crate) handler: &'static str,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    rest: Option<Rest>,
    /// Raised by each change that this process made, so that a look at the table from before it doesn't undo it.
    changes: u64,
}

/// The longer is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    Until(Instant),
    UntilResumed,
}

impl Rest {
    /// For this long from now; `None`, or longer than a clock tells: until it is resumed.
    fn of(rest: Option<Duration>) -> Self {
        rest.and_then(|rest| Instant::now().checked_add(rest))
            .map_or(Self::UntilResumed, Self::Until)
    }
}

impl Valve {
    pub(crate) fn open(handler: &'static str) -> Self {
        let state = Arc::new(watch::Sender::new(State::default()));
        Self { handler, state }
    }

    /// Closes it now, since the table says so: for this long, or until further notice. As in the table, a longer rest wins.
    pub(crate) fn close(&self, rest: Option<Duration>) {
        let rest = Some(Rest::of(rest));
        self.change(|old| old.max(rest));
    }

    /// Opens it now, since the table says so.
    pub(crate) fn reopen(&self) {
        self.change(|_| None);
    }

    fn change(&self, to: impl FnOnce(Option<Rest>) -> Option<Rest>) {
        self.state.send_modify(|state| {
            state.rest = to(state.rest);
            state.changes += 1;
        });
    }

    /// Resolves when messages may be taken.
    pub(crate) async fn opened(&self) {
        let mut changed = self.state.subscribe();
        loop {
            let rest = changed.borrow_and_update().rest;
            let over = async {
                match rest {
                    None => {}
                    Some(Rest::Until(time)) => tokio::time::sleep_until(time).await,
                    Some(Rest::UntilResumed) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // The sender is in `self`, so it is there.
                _ = changed.changed() => {}
            }
        }
    }

    /// Resolves when no more messages may be taken.
    pub(crate) async fn closed(&self) {
        let resting = |state: &State| match state.rest {
            None => false,
            Some(Rest::Until(time)) => time > Instant::now(),
            Some(Rest::UntilResumed) => true,
        };
        let _ = self.state.subscribe().wait_for(resting).await;
    }

    fn changes(&self) -> u64 {
        self.state.borrow().changes
    }

    /// What the table said when this process had made so many changes.
    fn found(&self, rest: Option<Rest>, at: u64) {
        self.state.send_if_modified(|state| {
            let news = state.changes == at && state.rest.is_some() | rest.is_some();
            if news {
                state.rest = rest;
            }
            news
        });
    }
}

/// Keeps the valves as the table says, until `stop`.
pub(crate) async fn watch(store: Store, valves: Vec<Valve>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // With the database away, nothing can be claimed either; the valves stay as they are.
        if let Err(error) = look(&store, &valves).await {
            tracing::debug!(%error, "the paused handlers can't be read");
        }
    }
}

/// Reads the table once.
pub(crate) async fn look(store: &Store, valves: &[Valve]) -> Result<(), StoreError> {
    let before: Vec<_> = valves.iter().map(Valve::changes).collect();
    let mut tx = store.read().await?;
    let paused = pauses::list(&mut tx).await?;
    tx.rollback().await?;
    for (valve, at) in valves.iter().zip(before) {
        let row = paused.iter().find(|row| row.handler == valve.handler);
        valve.found(row.map(|row| Rest::of(row.remaining)), at);
        gauge!(names::PAUSED, "handler" => valve.handler).set(if row.is_some() { 1.0 } else { 0.0 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_rest_ends_by_itself_and_a_pause_when_it_is_resumed() {
        let valve = Valve::open("h");
        assert!(valve.opened().now_or_never().is_some() && valve.closed().now_or_never().is_none());
        let (begun, rest) = (Instant::now(), Duration::from_millis(200));
        valve.close(Some(rest));
        assert!(valve.opened().now_or_never().is_none() && valve.closed().now_or_never().is_some());
        valve.opened().await;
        assert!(begun.elapsed() >= rest);
        assert!(valve.closed().now_or_never().is_none());

        valve.close(None);
        valve.close(Some(Duration::ZERO));
        assert!(
            valve.opened().now_or_never().is_none(),
            "a shorter rest cut the longer one short"
        );
        valve.reopen();
        assert!(valve.opened().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_look_from_before_a_change_does_not_undo_it() {
        let valve = Valve::open("h");
        let before = valve.changes();
        valve.close(None);
        valve.found(None, before);
        assert!(valve.opened().now_or_never().is_none());
        valve.found(None, valve.changes());
        assert!(valve.opened().now_or_never().is_some());
    }
}
