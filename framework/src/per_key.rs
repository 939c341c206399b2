//! What messages with an equal key share: how many at a time, in which order, and how fast.

use crate::rate::Rate;

/// What holds among messages with an equal key, such as a recipient's domain; for [`Spec::per_key`](crate::Spec::per_key).
///
/// All of it holds within one process. A message that must wait for its key is not claimed yet, so no attempt is spent,
/// and those of other keys pass it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerKey {
    pub(crate) limit: Option<u16>,
    pub(crate) ordered: bool,
    pub(crate) rate: Option<Rate>,
}

impl PerKey {
    const NOTHING: Self = Self {
        limit: None,
        ordered: false,
        rate: None,
    };

    /// So many at a time. It makes no order.
    #[must_use]
    pub const fn at_most(limit: u16) -> Self {
        Self {
            limit: Some(limit),
            ..Self::NOTHING
        }
    }

    /// One at a time, in the order of the stream: of the messages that a process was given, none begins before those of its
    /// key that stand before it in the stream are settled, as done, discarded or dead. One that is to be tried again, or
    /// waits, holds up its key for as long, and no other; a dead letter lets its key go on, and its replay is a new message
    /// at the end of the stream. One that can't be read has no key, and holds up nothing.
    ///
    /// Processes know nothing of what others were given: where the order matters, run the handler in one process. Even
    /// there, after a crash, what the process had been given and not begun comes again some seconds later, and what was
    /// published meanwhile may be begun before it.
    #[must_use]
    pub const fn in_order() -> Self {
        Self {
            ordered: true,
            ..Self::NOTHING
        }
    }

    /// No more than so many are begun in so long, of each key. Up to 4096 keys are told apart within that time; a message
    /// of one more waits until one of them has been quiet for as long.
    #[must_use]
    pub const fn rate(rate: Rate) -> Self {
        Self::NOTHING.and_rate(rate)
    }

    /// As it is, and no more than so many are begun in so long; see [`rate`](Self::rate).
    #[must_use]
    pub const fn and_rate(self, rate: Rate) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }

    pub(crate) fn at_a_time(self) -> usize {
        match self.limit {
            _ if self.ordered => 1,
            Some(limit) => usize::from(limit),
            None => usize::MAX,
        }
    }
}
