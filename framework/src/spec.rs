//! What a handler promises to be: its id, its key, its patience. The derive writes these; so can you.

use std::fmt;
use std::iter;
use std::marker::PhantomData;
use std::time::Duration;

use crate::handler::{Ask, Reconcile, ask};
use crate::key::Key;
use crate::message::Message;
use crate::outcome::Ambiguous;
use crate::per_key::PerKey;
use crate::rate::Rate;
use crate::retry::Backoff;

/// Longer than the default retries by far, and than the weekend after which somebody replays a dead letter.
const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A handler that takes longer says so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages of one handler at a time in one process.
const DEFAULT_CONCURRENCY: u16 = 8;
/// A handler id names a durable consumer and a ledger scope.
const MAX_ID_LEN: usize = 64;
/// Each message of a batch is a delivery under way, with its lease.
const MOST_IN_A_BATCH: u16 = 1000;

/// How messages of type `M` are handled: everything that `#[handler(…)]` can say.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, postroom::Message)]
/// # #[message(subject = "orders.created", id = "orders.created.v1")]
/// # struct OrderCreated { order: String }
/// use postroom::{Ambiguous, Key, Spec};
/// use std::time::Duration;
///
/// let spec = Spec::new("bill-order")
///     .idempotent(|order: &OrderCreated| Key::of(&[&order.order]), Duration::from_secs(7 * 86_400))
///     .retry(8, Duration::from_secs(2), Duration::from_secs(900))
///     .timeout(Duration::from_secs(30))
///     .concurrency(8)
///     .ambiguous(Ambiguous::Hold);
/// assert!(spec.check().is_ok());
/// ```
pub struct Spec<M> {
    pub(crate) policy: Policy,
    pub(crate) key: Option<fn(&M) -> Key>,
    pub(crate) lane: Option<fn(&M) -> Key>,
    pub(crate) reconcile: Option<Ask<M>>,
    message: PhantomData<fn(M)>,
}

/// The part of a [`Spec`] that does not depend on the message's type.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) id: &'static str,
    /// What it was called before.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) ttl: Duration,
    pub(crate) retry: Backoff,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: u16,
    /// What holds among those that share a lane.
    pub(crate) per_key: Option<PerKey>,
    pub(crate) rate: Option<Rate>,
    pub(crate) ambiguous: Option<Ambiguous>,
    pub(crate) batch: Option<Batching>,
}

/// So many messages at a time, or what has come in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batching {
    pub(crate) size: u16,
    pub(crate) within: Duration,
}

/// A [`Spec`] that can't hold what it promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The id can't name a consumer.
    #[error(
        "handler id `{0}`: use 1 to {MAX_ID_LEN} letters, digits, `-` and `_`, since it names a durable consumer"
    )]
    Id(&'static str),
    /// The policy is to ask, and there is nobody to ask.
    #[error(
        "handler `{0}`: `Ambiguous::Reconcile` doesn't say whom to ask; use `.reconcile::<YourHandler>()` in its place"
    )]
    NobodyToAsk(&'static str),
    /// It takes batches, and is registered as if it did not.
    #[error(
        "handler `{0}` says `batch`, and is registered to take one message at a time; use `App::batch_handler`"
    )]
    Batch(&'static str),
    /// It takes one message at a time, and is registered as if it did not.
    #[error(
        "handler `{0}` is registered to take batches, and doesn't say how large; add `batch(50, within = \"200ms\")`, or use \
         `App::handler`"
    )]
    NoBatch(&'static str),
    /// A duplicate could arrive after its ledger row is forgotten.
    #[error(
        "handler `{id}`: the dedupe ttl of {} is shorter than its retries can take, {}; \
         raise the ttl above that, or lower retry max, backoff or timeout",
        humantime::format_duration(*ttl), humantime::format_duration(*horizon)
    )]
    Ttl {
        /// The handler.
        id: &'static str,
        /// Its ttl.
        ttl: Duration,
        /// What all attempts can take.
        horizon: Duration,
    },
    /// A number is out of range.
    #[error("handler `{id}`: {field} is {value}; {right}")]
    Number {
        /// The handler.
        id: &'static str,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What would be right.
        right: &'static str,
    },
}

impl<M: Message> Spec<M> {
    /// The spec of the handler `id`, with the defaults: each stored message is handled once, 8 attempts with a backoff of
    /// 2 s to 15 min, a timeout of 30 s, 8 at a time.
    ///
    /// The id names the durable consumer and the ledger scope: it must not change while messages are under way.
    #[must_use]
    pub const fn new(id: &'static str) -> Self {
        Self {
            policy: Policy {
                id,
                aliases: &[],
                ttl: DEFAULT_TTL,
                retry: Backoff::DEFAULT,
                timeout: DEFAULT_TIMEOUT,
                concurrency: DEFAULT_CONCURRENCY,
                per_key: None,
                rate: None,
                ambiguous: None,
                batch: None,
            },
            key: None,
            lane: None,
            reconcile: None,
            message: PhantomData,
        }
    }

    /// Messages with equal keys are one piece of work, for `ttl` after it was last touched.
    #[must_use]
    pub const fn idempotent(mut self, key: fn(&M) -> Key, ttl: Duration) -> Self {
        self.key = Some(key);
        self.policy.ttl = ttl;
        self
    }

    /// At most `max` attempts, with waits from `first` up to `cap` between them.
    #[must_use]
    pub const fn retry(mut self, max: u32, first: Duration, cap: Duration) -> Self {
        self.policy.retry = Backoff {
            max_attempts: max,
            first,
            cap,
        };
        self
    }

    /// An attempt is cut off after this, and counts as failed.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// So many messages at a time in one process.
    #[must_use]
    pub const fn concurrency(mut self, concurrency: u16) -> Self {
        self.policy.concurrency = concurrency;
        self
    }

    /// What holds among messages with an equal key, such as a recipient's domain: so many at a time, in order, so many in a
    /// time.
    #[must_use]
    pub const fn per_key(mut self, key: fn(&M) -> Key, holds: PerKey) -> Self {
        self.lane = Some(key);
        self.policy.per_key = Some(holds);
        self
    }

    /// No more than so many messages are begun in so long, in one process; with several, give each its part.
    #[must_use]
    pub const fn rate(mut self, rate: Rate) -> Self {
        self.policy.rate = Some(rate);
        self
    }

    /// The handler is a [`HandleBatch`](crate::HandleBatch), and takes up to `size` messages at a time, or what has come
    /// `within` so long of the first of them. Up to [`concurrency`](Self::concurrency) batches are under way at a time.
    #[must_use]
    pub const fn batch(mut self, size: u16, within: Duration) -> Self {
        self.policy.batch = Some(Batching { size, within });
        self
    }

    /// What to do about an effect outside SQL whose outcome was lost. Without it, such messages are held. For
    /// [`Ambiguous::Reconcile`], use [`reconcile`](Self::reconcile).
    #[must_use]
    pub const fn ambiguous(mut self, policy: Ambiguous) -> Self {
        self.policy.ambiguous = Some(policy);
        self
    }

    /// Asks the handler itself, which is an `H`, whether an effect whose outcome was lost has happened.
    #[must_use]
    pub const fn reconcile<H: Reconcile<M>>(mut self) -> Self {
        self.policy.ambiguous = Some(Ambiguous::Reconcile);
        self.reconcile = Some(ask::<M, H>);
        self
    }

    /// The ids that the handler had before. What is under way for them is this handler's: it goes on with their durable
    /// consumer if there is one, and finds their ledger rows and dead letters.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.policy.aliases = aliases;
        self
    }

    /// Whether the spec can hold what it promises.
    ///
    /// # Errors
    /// Names the field, its value, and what would be right.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.policy.ambiguous == Some(Ambiguous::Reconcile) && self.reconcile.is_none() {
            return Err(SpecError::NobodyToAsk(self.policy.id));
        }
        self.policy.check()
    }
}

impl Policy {
    /// The id, then those it had before.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        iter::once(self.id).chain(self.aliases.iter().copied())
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let id = self.id;
        let wrong = |field, value: String, right| {
            Err(SpecError::Number {
                id,
                field,
                value,
                right,
            })
        };
        for name in self.names() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > MAX_ID_LEN || !name.chars().all(allowed) {
                return Err(SpecError::Id(name));
            }
        }
        if self.retry.max_attempts == 0 {
            return wrong(
                "retry max",
                "0".to_owned(),
                "the first attempt counts: use 1 or more",
            );
        }
        if self.retry.first > self.retry.cap {
            let range = format!(
                "{}..{}",
                humantime::format_duration(self.retry.first),
                humantime::format_duration(self.retry.cap)
            );
            return wrong(
                "backoff",
                range,
                "the first wait must not be longer than the last",
            );
        }
        if self.timeout.is_zero() {
            return wrong("timeout", "0s".to_owned(), "give the handler some time");
        }
        if self.concurrency == 0 {
            return wrong("concurrency", "0".to_owned(), "use 1 or more");
        }
        if self.per_key.is_some_and(|per_key| per_key.at_a_time() == 0) {
            return wrong("per_key", "0".to_owned(), "use 1 or more");
        }
        let of_each_key = self.per_key.and_then(|per_key| per_key.rate);
        for (field, rate) in [("rate", self.rate), ("per_key's rate", of_each_key)] {
            if let Some(rate) = rate
                && rate.refill().is_zero()
            {
                let value = format!("{} in {}", rate.count, humantime::format_duration(rate.per));
                return wrong(
                    field,
                    value,
                    "use 1 message or more, and no more than a thousand million a second",
                );
            }
        }
        self.check_batch()?;
        let horizon = self.retry.horizon(self.timeout);
        if self.ttl < horizon {
            return Err(SpecError::Ttl {
                id,
                ttl: self.ttl,
                horizon,
            });
        }
        Ok(())
    }
}

impl Policy {
    fn check_batch(&self) -> Result<(), SpecError> {
        let Some(Batching { size, within }) = self.batch else {
            return Ok(());
        };
        let wrong = |field, value: String, right| {
            let id = self.id;
            Err(SpecError::Number {
                id,
                field,
                value,
                right,
            })
        };
        if size == 0 || size > MOST_IN_A_BATCH {
            return wrong("batch", size.to_string(), "use 1 to 1000 messages");
        }
        if within.is_zero() {
            return wrong(
                "batch within",
                "0s".to_owned(),
                "give the batch some time to gather",
            );
        }
        if self.retry.max_attempts == 1 {
            let right = "what fails in a batch is tried again alone: use 2 or more";
            return wrong("retry max", "1".to_owned(), right);
        }
        if let Some(policy) = self.ambiguous {
            let right = "leave it out: a batch begins no effects outside SQL";
            return wrong("ambiguous", format!("{policy:?}"), right);
        }
        Ok(())
    }

    /// So many deliveries are under way at a time in one process.
    pub(crate) fn slots(&self) -> usize {
        let each = self.batch.map_or(1, |batch| batch.size);
        usize::from(self.concurrency) * usize::from(each)
    }
}

impl<M> fmt::Debug for Spec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("policy", &self.policy)
            .field("keyed", &self.key.is_some())
            .field("asks", &self.reconcile.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            id: "h",
            aliases: &[],
            ttl: DEFAULT_TTL,
            retry: Backoff::DEFAULT,
            timeout: DEFAULT_TIMEOUT,
            concurrency: 1,
            per_key: None,
            rate: None,
            ambiguous: None,
            batch: None,
        }
    }

    #[test]
    fn a_ttl_shorter_than_the_retries_is_refused_with_both_numbers() {
        let horizon = policy().retry.horizon(DEFAULT_TIMEOUT);
        assert_eq!(
            Policy {
                ttl: horizon,
                ..policy()
            }
            .check(),
            Ok(())
        );
        let short = Policy {
            ttl: horizon - Duration::from_millis(1),
            ..policy()
        };
        let error = short.check().expect_err("one millisecond too short").to_string();
        assert!(error.contains("raise the ttl"), "{error}");
    }

    fn check(policy: &Policy, words: &str) {
        let error = policy.check().expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn each_number_is_checked_by_name() {
        check(&Policy { id: "", ..policy() }, "handler id");
        check(
            &Policy {
                id: "a.b",
                ..policy()
            },
            "handler id `a.b`",
        );
        check(
            &Policy {
                concurrency: 0,
                ..policy()
            },
            "concurrency is 0",
        );
        check(
            &Policy {
                per_key: Some(PerKey::at_most(0)),
                ..policy()
            },
            "per_key is 0",
        );
        for (count, per, words) in [
            (0, Duration::from_secs(1), "rate is 0 in 1s"),
            (1, Duration::ZERO, "rate is 1 in 0s"),
            (u32::MAX, Duration::from_secs(1), "rate is 4294967295 in 1s"),
        ] {
            let rate = Some(Rate::new(count, per));
            check(&Policy { rate, ..policy() }, words);
            let per_key = rate.map(PerKey::rate);
            check(&Policy { per_key, ..policy() }, &format!("per_key's {words}"));
        }
        check(
            &Policy {
                timeout: Duration::ZERO,
                ..policy()
            },
            "timeout is 0s",
        );
        check(
            &Policy {
                retry: Backoff {
                    max_attempts: 0,
                    ..Backoff::DEFAULT
                },
                ..policy()
            },
            "retry max is 0",
        );
        let upside_down = Backoff {
            first: Duration::from_secs(9),
            cap: Duration::from_secs(3),
            max_attempts: 2,
        };
        check(
            &Policy {
                retry: upside_down,
                ..policy()
            },
            "backoff is 9s..3s",
        );
    }

    #[test]
    fn what_goes_with_a_batch_is_checked_by_name() {
        let batch = |size, millis| {
            let within = Duration::from_millis(millis);
            Some(Batching { size, within })
        };
        let largest = batch(MOST_IN_A_BATCH, 1);
        assert_eq!(
            Policy {
                batch: largest,
                ..policy()
            }
            .check(),
            Ok(())
        );
        for (batch, words) in [
            (batch(0, 1), "batch is 0"),
            (batch(MOST_IN_A_BATCH + 1, 1), "batch is 1001"),
            (batch(1, 0), "batch within is 0s"),
        ] {
            check(&Policy { batch, ..policy() }, words);
        }
        let once = Backoff {
            max_attempts: 1,
            ..Backoff::DEFAULT
        };
        check(
            &Policy {
                batch: largest,
                retry: once,
                ..policy()
            },
            "retry max is 1; what fails in a batch",
        );
        check(
            &Policy {
                batch: largest,
                ambiguous: Some(Ambiguous::Hold),
                ..policy()
            },
            "ambiguous is Hold",
        );
    }
}
