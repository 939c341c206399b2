//! The end of a delivery: one transaction with everything it decided, and only after that commit a word to the broker.

use std::time::Duration;

use metrics::counter;

use crate::answer::{Answer, answer};
use crate::attempt_log;
use crate::bus::Incoming;
use crate::cx::Cx;
use crate::execute::{Ended, Executor};
use crate::headers;
use crate::labels;
use crate::names;
use crate::outcome::{Ambiguous, Failure, Verdict};
use crate::redact::for_log;
use crate::store::dead_letters::{self, Reason};
use crate::store::deliveries::{Effect, FailedAttempt, Granted, Settlement};
use crate::store::{Ending, StoreError, Tx, pauses};

/// A message put back by a stopping process is taken up by the next one after this.
const HAND_BACK: Duration = Duration::from_millis(100);
/// Asked for a little late, so that the database's clock agrees that it is due.
const MARGIN: Duration = Duration::from_millis(20);

/// Who has paused a handler that fails with [`Verdict::Pause`].
const PAUSED_ITSELF: &str = "the handler itself";

const CUT_OFF: &str = "the handler was cut off, since its lease could not be renewed: the database was away or busy for \
    longer than a lease lasts, or, on SQLite, the handler itself kept a transaction open for so long";

/// What a settling transaction came to.
pub(crate) enum Settled {
    Committed,
    /// Another claim has raised the fence; everything was rolled back.
    Fenced,
}

impl Executor {
    /// Writes down how the attempt ended, then tells the broker.
    pub(crate) async fn settle(&self, incoming: &Incoming, claim: &Granted, cx: Cx<'_>, ended: Ended) {
        match ended {
            Ended::Succeeded => self.succeeded(incoming, claim, cx).await,
            Ended::Failed(failure) => {
                abandon(cx).await;
                self.failed(incoming, claim, &failure).await;
            }
            Ended::Unresolved(failure) => {
                abandon(cx).await;
                self.dead_letter(incoming, claim, Reason::UnknownEffect, &failure)
                    .await;
            }
            Ended::Lost => {
                // If the lease is somebody else's by now, the fence says so. If the database was only slow to renew it,
                // this is a failed attempt, and not the death of a process, of which three make a message poison.
                let failure = Failure::retryable("lease", CUT_OFF).ambiguous_if(cx.effect_begun);
                abandon(cx).await;
                self.failed(incoming, claim, &failure).await;
            }
            Ended::Interrupted => {
                let effect = if cx.effect_begun {
                    Effect::Unknown
                } else {
                    inherited(claim)
                };
                abandon(cx).await;
                self.put_back(
                    incoming,
                    claim,
                    Settlement::Released {
                        after: HAND_BACK,
                        effect,
                    },
                    HAND_BACK,
                    "released",
                )
                .await;
            }
        }
    }

    async fn succeeded(&self, incoming: &Incoming, claim: &Granted, mut cx: Cx<'_>) {
        let effect_begun = cx.effect_begun;
        let done = Settlement::Done {
            result: cx.result.clone(),
        };
        let ending = Ending {
            outbox: std::mem::take(&mut cx.outbox),
            replayed: incoming.headers.get(headers::REPLAY).map(str::to_owned),
            ..Ending::new(&claim.lease, done)
        };
        let finished = match cx.settled {
            true => Ok(Settled::Committed),
            false => self.finish(cx.tx.take(), ending).await,
        };
        match finished {
            Ok(Settled::Committed) => {
                self.count("done");
                answer(
                    incoming,
                    self.handler.policy().id,
                    Answer::Done(cx.result.as_deref()),
                )
                .await;
                self.confirm_ack(incoming).await;
            }
            Ok(Settled::Fenced) => self.fenced(claim),
            Err(error) => {
                let failure = Failure::retryable(
                    "store",
                    format!("what the handler did could not be committed: {error}"),
                );
                // The effect happened, and the row that says so was lost.
                let failure = failure.ambiguous_if(effect_begun);
                self.failed(incoming, claim, &failure).await;
            }
        }
    }

    async fn failed(&self, incoming: &Incoming, claim: &Granted, failure: &Failure) {
        let policy = self.handler.policy();
        let last = claim.attempts >= i64::from(policy.retry.max_attempts);
        match failure.verdict {
            Verdict::Retry { .. } if last => {
                let asked_in_vain =
                    policy.ambiguous == Some(Ambiguous::Reconcile) && claim.unresolved_effect.is_some();
                let reason = if asked_in_vain {
                    Reason::UnknownEffect
                } else {
                    Reason::Exhausted
                };
                self.dead_letter(incoming, claim, reason, failure).await;
            }
            Verdict::Retry { after } => {
                self.retry(incoming, claim, failure, after, inherited(claim))
                    .await;
            }
            Verdict::Snooze(after) => {
                tracing::info!(handler = policy.id, error = %for_log(&failure.error), "a message waits, no attempt spent");
                let released = Settlement::Released {
                    after,
                    effect: inherited(claim),
                };
                self.put_back(incoming, claim, released, after, "snooze").await;
            }
            Verdict::DeadLetter => {
                self.dead_letter(incoming, claim, Reason::Permanent, failure)
                    .await;
            }
            Verdict::Discard => self.discard(incoming, claim).await,
            Verdict::Pause(rest) => self.pause(incoming, claim, failure, rest).await,
            // The last attempt, too: what is asked before the next one is no attempt.
            Verdict::Ambiguous if policy.ambiguous == Some(Ambiguous::Reconcile) => {
                self.retry(incoming, claim, failure, None, Effect::Unknown).await;
            }
            Verdict::Ambiguous if policy.ambiguous == Some(Ambiguous::Resend) && !last => {
                self.retry(incoming, claim, failure, None, Effect::Unknown).await;
            }
            Verdict::Ambiguous => {
                self.dead_letter(incoming, claim, Reason::UnknownEffect, failure)
                    .await;
            }
        }
    }

    async fn retry(
        &self,
        incoming: &Incoming,
        claim: &Granted,
        failure: &Failure,
        after: Option<Duration>,
        effect: Effect,
    ) {
        let policy = self.handler.policy();
        let attempt = u32::try_from(claim.attempts).unwrap_or(u32::MAX);
        let after = after.unwrap_or_else(|| policy.retry.delay(attempt, rand::random()));
        let history = with_attempt(claim, failure);
        counter!(names::RETRIES, "handler" => policy.id, "class" => labels::class(policy.id, &failure.class).to_owned()).increment(1);
        tracing::info!(handler = policy.id, attempt, error = %for_log(&failure.error), ?after, "an attempt failed; it will be retried");
        self.put_back(
            incoming,
            claim,
            Settlement::Retry {
                after,
                history,
                effect,
            },
            after,
            "retry",
        )
        .await;
    }

    /// The message goes back as it came, and the handler rests in every process, by the same transaction.
    async fn pause(&self, incoming: &Incoming, claim: &Granted, failure: &Failure, rest: Duration) {
        let handler = self.handler.policy().id;
        let released = Settlement::Released {
            after: rest,
            effect: inherited(claim),
        };
        let committed = async {
            let mut tx = self.store.begin().await?;
            pauses::pause(&mut tx, handler, Some(rest), PAUSED_ITSELF, &failure.error).await?;
            self.finish(Some(tx), Ending::new(&claim.lease, released)).await
        };
        match committed.await {
            Ok(Settled::Committed) => {
                self.valve.close(Some(rest));
                self.count("pause");
                tracing::warn!(handler, ?rest, error = %for_log(&failure.error), "a handler has paused itself");
                incoming.receipt.nak(rest + MARGIN).await;
            }
            Ok(Settled::Fenced) => self.fenced(claim),
            Err(error) => self.unsettled(claim, &error),
        }
    }

    /// Back into the queue: the row says when it is due, the broker is told to bring it then.
    async fn put_back(
        &self,
        incoming: &Incoming,
        claim: &Granted,
        settlement: Settlement,
        after: Duration,
        outcome: &'static str,
    ) {
        match self.finish(None, Ending::new(&claim.lease, settlement)).await {
            Ok(Settled::Committed) => {
                self.count(outcome);
                incoming.receipt.nak(after + MARGIN).await;
            }
            Ok(Settled::Fenced) => self.fenced(claim),
            Err(error) => self.unsettled(claim, &error),
        }
    }

    async fn discard(&self, incoming: &Incoming, claim: &Granted) {
        let ending = Ending {
            replayed: incoming.headers.get(headers::REPLAY).map(str::to_owned),
            ..Ending::new(&claim.lease, Settlement::Discarded)
        };
        match self.finish(None, ending).await {
            Ok(Settled::Committed) => {
                self.count("discarded");
                answer(incoming, self.handler.policy().id, Answer::Discarded).await;
                self.confirm_ack(incoming).await;
            }
            Ok(Settled::Fenced) => self.fenced(claim),
            Err(error) => self.unsettled(claim, &error),
        }
    }

    /// Writes it down: in the handler's own transaction, if it has opened one, and else together with other deliveries.
    pub(crate) async fn finish(&self, tx: Option<Tx>, ending: Ending) -> Result<Settled, StoreError> {
        let held = match tx {
            // It may wait for whoever has its ordering key, and nobody else's work is to wait with it.
            None if ending.is_in_order() => {
                self.store
                    .settle_within(self.store.begin().await?, &ending)
                    .await?
            }
            Some(tx) => self.store.settle_within(tx, &ending).await?,
            None => self.store.settle(ending).await?,
        };
        if !held {
            return Ok(Settled::Fenced);
        }
        edge!(AfterCommitBeforeAck?);
        Ok(Settled::Committed)
    }

    pub(crate) fn count(&self, outcome: &'static str) {
        counter!(names::SETTLED, "handler" => self.handler.policy().id, "outcome" => outcome).increment(1);
    }

    pub(crate) fn fenced(&self, claim: &Granted) {
        self.heartbeat.survived(&claim.lease);
        let handler = self.handler.policy().id;
        counter!(names::FENCED, "handler" => handler).increment(1);
        tracing::warn!(handler, "a delivery lost its lease; what it did was rolled back");
    }

    /// The lease runs out, the broker redelivers, and the next claim takes it from there.
    pub(crate) fn unsettled(&self, claim: &Granted, error: &StoreError) {
        self.heartbeat.survived(&claim.lease);
        tracing::warn!(handler = self.handler.policy().id, %error, "a delivery could not be settled; it will run again");
    }
}

/// Rolls back now what the handler had begun.
pub(crate) async fn abandon(mut cx: Cx<'_>) {
    if let Some(tx) = cx.tx.take() {
        tx.abandon().await;
    }
}

/// An earlier attempt's lost effect stays lost until an attempt succeeds.
fn inherited(claim: &Granted) -> Effect {
    if claim.unresolved_effect.is_some() {
        Effect::Unknown
    } else {
        Effect::None
    }
}

pub(crate) fn with_attempt(claim: &Granted, failure: &Failure) -> Vec<FailedAttempt> {
    let mut history = claim.history.clone();
    history.push(FailedAttempt {
        attempt: claim.attempts,
        at: dead_letters::now_text(),
        class: failure.class.clone(),
        error: failure.error.clone(),
        log: attempt_log::gathered(),
    });
    attempt_log::trim(&mut history);
    history
}
