//! One delivery, step by step: open, claim, gate, attempt, and then [`settle`](crate::settle).
//!
//! A broker's ack is no fence, since brokers take stale acks; the ledger row is. So nothing here trusts a delivery count,
//! and an ack is only sent for what the ledger says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use metrics::{counter, histogram};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, answer};
use crate::bus::Incoming;
use crate::cx::Cx;
use crate::delivery::Delivery;
use crate::explain::panic_text;
use crate::handler::{AnyHandler, Decoded, Opened};
use crate::headers;
use crate::heartbeat::{Heartbeat, LEASE, Pulse};
use crate::key::Key;
use crate::layer::Layers;
use crate::names;
use crate::outcome::{Ambiguous, Failure, Reconciled, Verdict};
use crate::pause::Valve;
use crate::settle::abandon;
use crate::slot::Slot;
use crate::state::States;
use crate::store::dead_letters::Reason;
use crate::store::deliveries::{Ask, Claim, Granted};
use crate::store::openings::Opening;
use crate::store::{Claiming, Store, StoreError};
use crate::trace::{self, Traced};

/// A message that took its process down so often is not given another one.
pub(crate) const MAX_CRASHES: i64 = 3;
/// How long a message waits when the database is away.
const STORE_AWAY: Duration = Duration::from_secs(2);
/// Asked for a little late, so that the database's clock agrees that it is due.
const MARGIN: Duration = Duration::from_millis(20);

/// Runs the deliveries of one handler.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) layers: Layers,
    pub(crate) store: Store,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) valve: Valve,
    /// The place of the delivery at hand.
    pub(crate) slot: Slot,
    /// Cancelled when draining takes too long: what still runs is put back, its attempt not counted.
    pub(crate) abort: CancellationToken,
}

/// How an attempt ended.
pub(crate) enum Ended {
    Succeeded,
    Failed(Failure),
    /// Nobody can tell whether the effect of an earlier attempt has happened.
    Unresolved(Failure),
    /// The lease was lost, or could not be renewed in time: somebody else may be at it.
    Lost,
    /// The process is stopping.
    Interrupted,
}

impl Executor {
    /// Takes the delivery to its end. Errors end here: in the ledger where it can be reached, in the log where not.
    pub(crate) async fn execute(&self, incoming: Incoming, opened: Option<Opened>) {
        let delivery = Traced::of(self.handler.policy().id, &incoming);
        // Boxed, since each wrapping would move it once more.
        delivery.around(Box::pin(self.deliver(incoming, opened))).await;
    }

    async fn deliver(&self, incoming: Incoming, opened: Option<Opened>) {
        let handler = self.handler.policy().id;
        counter!(names::CONSUMED, "handler" => handler).increment(1);
        edge!(Received);
        let Opened {
            key,
            fingerprint,
            message,
            reading,
            ..
        } = match opened {
            Some(opened) => opened,
            None => self.open(&incoming).await,
        };
        let replay = incoming.headers.get(headers::REPLAY);
        // What nobody reads any more stays written down until its letter is, should this process die as well.
        let was_read = !matches!(message, Err((Reason::Poison, _)));
        let (read, _unread) = if was_read {
            (reading, None)
        } else {
            (None, reading)
        };
        let opening = read.as_ref().map(|reading| reading.opening().clone());
        let (claim, asked_at) = match self.claim(key.clone(), &fingerprint, replay, opening).await {
            Ok(claimed) => claimed,
            Err(error) => return self.wait_for_the_store(&incoming, &error).await,
        };
        if let Some(reading) = read {
            reading.claimed();
        }
        match claim {
            Some(Claim::Granted(granted)) => self.run(&incoming, message, granted, asked_at).await,
            Some(Claim::Done { result }) => {
                counter!(names::DUPLICATES, "handler" => handler).increment(1);
                answer(&incoming, handler, Answer::Done(result.as_deref())).await;
                self.confirm_ack(&incoming).await;
            }
            Some(Claim::Dead) => {
                answer(&incoming, handler, Answer::Dead("it failed before")).await;
                self.confirm_ack(&incoming).await;
            }
            None => self.confirm_ack(&incoming).await,
            Some(Claim::Later(wait)) => incoming.receipt.nak(wait + MARGIN).await,
            Some(Claim::KeyReused) => self.key_reused(&incoming, &key, &fingerprint).await,
        }
    }

    async fn wait_for_the_store(&self, incoming: &Incoming, error: &StoreError) {
        tracing::warn!(handler = self.handler.policy().id, %error, "a message waits, since it could not be claimed");
        incoming.receipt.nak(STORE_AWAY).await;
    }

    /// `None`: the delivery is a replay that is not meant for this handler, or is over. The time is from when the lease
    /// counts at the latest.
    async fn claim(
        &self,
        key: Key,
        fingerprint: &str,
        replay: Option<&str>,
        opening: Option<Opening>,
    ) -> Result<(Option<Claim>, Instant), StoreError> {
        let policy = self.handler.policy();
        let ask = Ask {
            scope: policy.id.to_owned(),
            key,
            fingerprint: fingerprint.to_owned(),
            lease: LEASE,
            ttl: policy.ttl,
        };
        let claiming = Claiming {
            ask,
            aliases: policy.aliases,
            replay: replay.map(str::to_owned),
            opening,
        };
        self.store.claim(claiming).await
    }

    async fn run(
        &self,
        incoming: &Incoming,
        message: Result<Decoded, (Reason, Failure)>,
        mut claim: Granted,
        granted_at: Instant,
    ) {
        trace::attempt_is(claim.attempts);
        let policy = self.handler.policy();
        let pulse = self
            .heartbeat
            .keep(claim.lease.clone(), incoming.receipt.clone(), granted_at);
        edge!(AfterClaim);
        let message = match self.gate(incoming, message, &claim) {
            Ok(message) => message,
            Err((reason, failure)) => return self.dead_letter(incoming, &claim, reason, &failure).await,
        };
        if claim.unresolved_effect.is_some() && policy.ambiguous == Some(Ambiguous::Reconcile) {
            let mut cx = Cx::new(&self.store, incoming, &claim);
            match self.uncut(&pulse, self.reconcile(&message, &mut cx)).await {
                Ok(Some(ended)) | Err(ended) => return self.settle(incoming, &claim, cx, ended).await,
                Ok(None) => abandon(cx).await,
            }
            claim.unresolved_effect = None;
        }
        if let Some((reason, failure)) = self.used_up(&claim) {
            return self.dead_letter(incoming, &claim, reason, &failure).await;
        }
        // What this task has woken so far, such as the one that returns a connection to its pool, may wait for this very
        // thread: let it run before a handler can block the thread.
        tokio::task::yield_now().await;
        let mut cx = Cx::new(&self.store, incoming, &claim);
        let started = Instant::now();
        let attempt = self.uncut(&pulse, self.attempt(message, &mut cx)).await;
        let ended = attempt.unwrap_or_else(|cut_off| cut_off);
        histogram!(names::HANDLER_SECONDS, "handler" => policy.id).record(started.elapsed().as_secs_f64());
        edge!(AfterHandler);
        self.settle(incoming, &claim, cx, ended).await;
    }

    /// Lets the handler work, unless the lease is lost or the process stops meanwhile.
    async fn uncut<T>(&self, pulse: &Pulse, work: impl Future<Output = T>) -> Result<T, Ended> {
        self.slot.arm(self.handler.policy().timeout, pulse.abandon());
        let done = tokio::select! {
            biased;
            () = pulse.lost() => Err(Ended::Lost),
            () = self.abort.cancelled() => Err(Ended::Interrupted),
            done = work => Ok(done),
        };
        self.slot.disarm();
        done
    }

    /// What must be dead-lettered without running it, and why.
    fn gate(
        &self,
        incoming: &Incoming,
        message: Result<Decoded, (Reason, Failure)>,
        claim: &Granted,
    ) -> Result<Decoded, (Reason, Failure)> {
        let policy = self.handler.policy();
        let message = message?;
        // The broker has delivered it before, and the ledger has no row of it: it was never claimed, or it was done so long
        // ago that its row is gone. Who would handle it again can replay it.
        let age = incoming.age(SystemTime::now());
        if claim.lease.fence == 1 && incoming.delivered > 1 && age > policy.ttl {
            let error = format!(
                "it was delivered before and is {} old, and the ledger remembers for {}: it may have been handled",
                humantime::format_duration(Duration::from_secs(age.as_secs())),
                humantime::format_duration(policy.ttl)
            );
            return Err((Reason::Forgotten, Failure::dead("forgotten", error)));
        }
        if claim.crashes >= MAX_CRASHES {
            let error = format!("{} attempts ended with the death of their process", claim.crashes);
            return Err((Reason::Poison, Failure::dead("crash", error)));
        }
        if let Some(effect) = &claim.unresolved_effect
            && matches!(policy.ambiguous, None | Some(Ambiguous::Hold))
        {
            return Err((Reason::UnknownEffect, lost(effect)));
        }
        Ok(message)
    }

    /// Every attempt was begun, and the last one has not come back.
    fn used_up(&self, claim: &Granted) -> Option<(Reason, Failure)> {
        (claim.attempts > i64::from(self.handler.policy().retry.max_attempts)).then(|| {
            let last = claim.history.last();
            let error = last.map_or("its attempts ended without a verdict", |last| &last.error);
            (Reason::Exhausted, Failure::dead("crash", error))
        })
    }

    /// Asks the handler about the effect of an earlier attempt. `None`: it did not happen, so the handler is to run.
    async fn reconcile(&self, message: &Decoded, cx: &mut Cx<'_>) -> Option<Ended> {
        let effect = cx.unresolved_effect().unwrap_or_default().to_owned();
        let timeout = self.handler.policy().timeout;
        let asked = AssertUnwindSafe(self.handler.reconcile(message, &effect, cx)).catch_unwind();
        Some(Ended::Failed(match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(Ok(Reconciled::Happened))) => return Some(Ended::Succeeded),
            Ok(Ok(Ok(Reconciled::DidNotHappen))) => return None,
            Ok(Ok(Ok(Reconciled::Unknown))) => return Some(Ended::Unresolved(lost(&effect))),
            Ok(Ok(Err(failure))) => failure,
            Ok(Err(panic)) => {
                Failure::retryable("panic", format!("reconcile panicked: {}", panic_text(&*panic)))
            }
            Err(_) => Failure::retryable("timeout", format!("reconcile took longer than {timeout:?}")),
        }))
    }

    /// Runs the handler inside its timeout, a panic contained.
    async fn attempt(&self, message: Decoded, cx: &mut Cx<'_>) -> Ended {
        let timeout = self.handler.policy().timeout;
        let delivery =
            (!self.layers.is_empty()).then(|| Delivery::of(self.handler.policy().id, cx, States::default()));
        let handled = self.layers.around(delivery, self.handler.handle(message, cx));
        let handled = AssertUnwindSafe(handled).catch_unwind();
        let failure = match tokio::time::timeout(timeout, handled).await {
            Ok(Ok(Ok(()))) => return Ended::Succeeded,
            Ok(Ok(Err(error))) => error.failure,
            Ok(Err(panic)) => {
                Failure::retryable("panic", format!("the handler panicked: {}", panic_text(&*panic)))
            }
            Err(_) => Failure::retryable("timeout", format!("the handler took longer than {timeout:?}")),
        };
        // An error after the start of the effect says nothing about the effect, unless the handler does.
        Ended::Failed(failure.ambiguous_if(cx.effect_begun))
    }

    /// The key belongs to another payload: this one dies under a key of its own, so that it dies once.
    async fn key_reused(&self, incoming: &Incoming, key: &Key, fingerprint: &str) {
        let key = Key::stored(format!("{key}!{fingerprint}"));
        let (claim, asked_at) = match self.claim(key, fingerprint, None, None).await {
            Ok(claimed) => claimed,
            Err(error) => return self.wait_for_the_store(incoming, &error).await,
        };
        match claim {
            Some(Claim::Granted(granted)) => {
                let _pulse = self
                    .heartbeat
                    .keep(granted.lease.clone(), incoming.receipt.clone(), asked_at);
                let error = "its idempotency key was used before, for another payload".to_owned();
                let failure = Failure::dead("key_reused", error);
                self.dead_letter(incoming, &granted, Reason::KeyReused, &failure)
                    .await;
            }
            Some(Claim::Later(wait)) => incoming.receipt.nak(wait + MARGIN).await,
            Some(Claim::Done { .. } | Claim::Dead | Claim::KeyReused) | None => {
                self.confirm_ack(incoming).await;
            }
        }
    }

    /// Acks what the ledger says is settled, and waits for the broker to confirm it.
    pub(crate) async fn confirm_ack(&self, incoming: &Incoming) {
        let handler = self.handler.policy().id;
        let asked = Instant::now();
        if incoming.receipt.ack().await {
            histogram!(names::ACK_SECONDS, "handler" => handler).record(asked.elapsed().as_secs_f64());
        } else {
            counter!(names::ACKS_UNCONFIRMED, "handler" => handler).increment(1);
            tracing::debug!(
                handler,
                "an ack was not confirmed; a redelivery will find the work done"
            );
        }
    }
}

fn lost(effect: &str) -> Failure {
    Failure {
        verdict: Verdict::Ambiguous,
        class: "unknown_effect".into(),
        error: format!(
            "the effect `{effect}` began and its outcome was lost; it may or may not have happened"
        ),
    }
}
