//! What an error means for its message.

use std::time::Duration;

use crate::explain::with_causes;

/// What becomes of a message whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again: after this, or, if `None`, by the handler's backoff.
    Retry {
        /// The delay that the error itself asks for.
        after: Option<Duration>,
    },
    /// Try again after this without spending an attempt: what stands in the way has nothing to do with the message.
    Snooze(Duration),
    /// No further attempt can help: dead letter.
    DeadLetter,
    /// The message needs no handling after all.
    Discard,
    /// An effect outside SQL may or may not have happened: the handler's `ambiguous` policy decides.
    Ambiguous,
    /// Nothing of this handler can succeed for now: put the message back without spending an attempt, and let the handler
    /// rest for this long, in every process.
    Pause(Duration),
}

/// What a handler does about an effect whose outcome was lost, in a crash or an [`Verdict::Ambiguous`] error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguous {
    /// Run the handler again; [`Cx::unresolved_effect`](crate::Cx::unresolved_effect) tells it. For effects that carry
    /// an id by which the other side, or a person, recognises the second copy.
    Resend,
    /// Leave it to a person: dead letter, reason `unknown_effect`.
    Hold,
    /// Ask the handler's [`Reconcile`](crate::Reconcile) whether it happened. Chosen by
    /// [`Spec::reconcile`](crate::Spec::reconcile), which knows whom to ask.
    Reconcile,
}

/// What [`Reconcile`](crate::Reconcile) has found out about an effect whose outcome was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// It happened: the message is done, and what was published while finding out commits with that.
    Happened,
    /// It did not: the handler runs again, as if it had never begun.
    DidNotHappen,
    /// Nobody can tell: dead letter, reason `unknown_effect`.
    Unknown,
}

/// An error that says what becomes of its message. Derive it on the enum:
///
/// ```
/// use postroom::{HandlerError, Verdict};
///
/// #[derive(Debug, thiserror::Error, HandlerError)]
/// enum SendError {
///     #[error("greylisted")]
///     #[on(retry(after = "5m"))]
///     Greylisted,
///     #[error("no such mailbox")]
///     #[on(dead_letter)]
///     NoMailbox,
///     #[error(transparent)]
///     #[on(retry)]
///     Postroom(#[from] postroom::CxError),
/// }
/// assert_eq!(SendError::NoMailbox.verdict(), Verdict::DeadLetter);
/// assert_eq!(SendError::NoMailbox.class(), "NoMailbox");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't say what becomes of a message that fails with it",
    note = "add `#[derive(HandlerError)]` and mark each variant `#[on(retry)]`, `#[on(dead_letter)]`, `#[on(discard)]`, …"
)]
pub trait HandlerError: std::error::Error + Send + Sync + 'static {
    /// Whether [`verdict`](Self::verdict) can be [`Verdict::Ambiguous`]; handlers with such errors must choose a policy.
    const CAN_BE_AMBIGUOUS: bool = false;

    /// What becomes of the message.
    fn verdict(&self) -> Verdict;

    /// A short stable name for metrics and for grouping dead letters.
    fn class(&self) -> &'static str;
}

/// For handlers that can't fail.
impl HandlerError for std::convert::Infallible {
    fn verdict(&self) -> Verdict {
        match *self {}
    }

    fn class(&self) -> &'static str {
        match *self {}
    }
}

/// An attempt that did not succeed, whatever the reason: the error's verdict, or that of a panic, a timeout, a payload
/// that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) verdict: Verdict,
    pub(crate) class: String,
    pub(crate) error: String,
}

impl Failure {
    pub(crate) fn of<E: HandlerError>(error: &E) -> Self {
        Self {
            verdict: error.verdict(),
            class: error.class().to_owned(),
            error: with_causes(error),
        }
    }

    pub(crate) fn dead(class: &str, error: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::DeadLetter,
            class: class.to_owned(),
            error: error.into(),
        }
    }

    pub(crate) fn retryable(class: &str, error: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Retry { after: None },
            class: class.to_owned(),
            error: error.into(),
        }
    }

    /// The same failure, but nobody knows whether the effect that had begun has happened.
    pub(crate) fn ambiguous_if(self, effect_begun: bool) -> Self {
        let verdict = if effect_begun {
            Verdict::Ambiguous
        } else {
            self.verdict
        };
        Self { verdict, ..self }
    }
}
