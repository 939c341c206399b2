//! The named moments of a delivery at which a process can die, the database refuse, or a word to the broker get lost.
//!
//! `edge!` and `lost!` stand at these moments in the code. Built without the feature `testing` they are nothing at all;
//! with it, the [test kit](crate::testing) decides what happens there.

/// Passes the edge; with `?`, the database may refuse there. Needs an async function, in the second form one that gives
/// `Result<_, StoreError>`.
macro_rules! edge {
    ($edge:ident) => {
        #[cfg(feature = "testing")]
        {
            // Where no database is asked, none can refuse.
            let _ = crate::edge::pass(crate::edge::Edge::$edge).await;
        }
    };
    ($edge:ident ?) => {
        #[cfg(feature = "testing")]
        crate::edge::pass(crate::edge::Edge::$edge).await?;
    };
}

/// Whether what would be said to the broker here, or what it answered, is lost.
macro_rules! lost {
    ($edge:ident) => {{
        #[cfg(feature = "testing")]
        let lost = crate::edge::is_lost(crate::edge::Edge::$edge).await;
        #[cfg(not(feature = "testing"))]
        let lost = false;
        lost
    }};
}

#[cfg(feature = "testing")]
pub use striking::Edge;
#[cfg(feature = "testing")]
pub(crate) use striking::{Fault, Faults, enter, is_lost, is_simulated, pass};

/// Whether this thread is a process of the test kit, whose clock is not that of the database.
#[cfg(not(feature = "testing"))]
pub(crate) const fn is_simulated() -> bool {
    false
}

#[cfg(feature = "testing")]
mod striking {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use tokio::sync::Notify;

    use crate::store::StoreError;

    macro_rules! edges {
        ($($(#[$doc:meta])* $edge:ident),+ $(,)?) => {
            /// A moment in the life of a delivery, or of a message on its way out, at which something can go wrong.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Edge { $($(#[$doc])* $edge),+ }

            impl Edge {
                /// All of them, in the order in which a delivery passes them. Those that a handler has no use for, such
                /// as the effect's when it begins none, it never passes.
                pub const ALL: &[Edge] = &[$(Edge::$edge),+];
            }
        };
    }

    edges![
        /// The message has arrived; the ledger has not been asked.
        Received,
        /// A message that was delivered before is written down as being opened; it has not been decoded.
        BeforeOpening,
        /// The claim is written and not committed.
        InsideClaim,
        /// The claim is committed; the handler has not begun.
        AfterClaim,
        /// "An effect begins" is written and not committed.
        InsideEffectBegun,
        /// "An effect begins" is committed; the effect itself has not begun.
        AfterEffectBegun,
        /// The handler has returned, or failed; nothing of what it did is committed.
        AfterHandler,
        /// The message is to be dead-lettered; the handler has not had its last words.
        BeforeLastWords,
        /// The dead letter is written, in table and outbox, and not committed.
        InsideBurial,
        /// Everything is written, the new state too, and not committed.
        InsideSettle,
        /// Everything is committed; the broker has been told nothing. A refusal here is a commit that happened and whose
        /// answer was lost.
        AfterCommitBeforeAck,
        /// The ack is about to be sent. Lost here, the broker never sees it.
        BeforeAck,
        /// The ack was sent and confirmed. Lost here, the worker never sees the confirmation.
        AfterAck,
        /// "Not now" is about to be sent.
        BeforeNak,
        /// "Never again" is about to be sent.
        BeforeTerm,
        /// Leases are about to be prolonged.
        BeforeRenewal,
        /// Leases are prolonged, and that is not committed.
        InsideRenewal,
        /// The relay has taken messages from the outbox and published none of them.
        BeforePublish,
        /// They are published and confirmed, and still in the outbox. Lost here, the confirmation never came.
        AfterPublishBeforeForget,
        /// They are deleted from the outbox, and that is not committed.
        InsideForget,
    ];

    impl Edge {
        /// Whether the database may refuse there, or its answer be lost.
        #[must_use]
        pub const fn asks_the_database(self) -> bool {
            self.is_inside_a_transaction() || matches!(self, Self::AfterCommitBeforeAck | Self::BeforeRenewal)
        }

        /// Whether a word to or from the broker may be lost there.
        #[must_use]
        pub const fn tells_the_broker(self) -> bool {
            matches!(
                self,
                Self::BeforeAck
                    | Self::AfterAck
                    | Self::BeforeNak
                    | Self::BeforeTerm
                    | Self::AfterPublishBeforeForget
            )
        }

        /// Whether a transaction with writes is open there. Who stands still in one can't be overtaken: the database has
        /// the others wait.
        #[must_use]
        pub const fn is_inside_a_transaction(self) -> bool {
            matches!(
                self,
                Self::InsideClaim
                    | Self::InsideEffectBegun
                    | Self::InsideBurial
                    | Self::InsideSettle
                    | Self::InsideRenewal
                    | Self::InsideForget
            )
        }
    }

    /// What goes wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// The process is gone, as after `kill -9`.
        Crash,
        /// The database refuses, or its answer is lost.
        Refuse,
        /// The word to or from the broker is lost.
        Lose,
        /// The process stands still, as after `SIGSTOP`, until it is let go on.
        Stall,
        /// The task stands still while another message is delivered; the process goes on.
        Hold,
    }

    /// What is to go wrong in one process, and what has.
    #[derive(Debug, Default)]
    pub(crate) struct Faults {
        state: Mutex<State>,
        moved: Condvar,
        /// Tells the process's own thread that it is dead.
        pub(crate) killed: Notify,
        released: Notify,
    }

    #[derive(Debug, Default)]
    struct State {
        planned: Vec<(Edge, Fault)>,
        passed: BTreeSet<Edge>,
        is_dead: bool,
        stalled: bool,
        held: bool,
        /// How much time has passed for everybody else while the process stood still.
        missed: Duration,
    }

    thread_local! {
        /// A simulated process is one thread with a runtime of its own, so its faults are the thread's.
        static CURRENT: RefCell<Option<Arc<Faults>>> = const { RefCell::new(None) };
    }

    /// Makes the current thread that of a process with these faults.
    pub(crate) fn enter(faults: Arc<Faults>) {
        CURRENT.set(Some(faults));
    }

    /// Whether this thread is a process of the test kit, whose clock is not that of the database.
    pub(crate) fn is_simulated() -> bool {
        CURRENT.with_borrow(Option::is_some)
    }

    pub(crate) async fn pass(edge: Edge) -> Result<(), StoreError> {
        let Some(faults) = CURRENT.with_borrow(Clone::clone) else {
            return Ok(());
        };
        match faults.strike(edge, |fault| fault != Fault::Lose) {
            None | Some(Fault::Lose) => Ok(()),
            Some(Fault::Refuse) => Err(StoreError::refusal()),
            Some(Fault::Crash) => std::future::pending().await,
            Some(Fault::Stall) => {
                let missed = faults.stand_still();
                tokio::time::advance(missed).await;
                Ok(())
            }
            Some(Fault::Hold) => {
                faults.released.notified().await;
                Ok(())
            }
        }
    }

    pub(crate) async fn is_lost(edge: Edge) -> bool {
        let _ = pass(edge).await;
        CURRENT
            .with_borrow(Clone::clone)
            .is_some_and(|faults| faults.strike(edge, |fault| fault == Fault::Lose).is_some())
    }

    impl Faults {
        pub(crate) fn plan(&self, edge: Edge, fault: Fault) {
            self.locked().planned.push((edge, fault));
        }

        /// What was planned and has not happened.
        pub(crate) fn pending(&self) -> usize {
            self.locked().planned.len()
        }

        /// Nothing planned is to happen any more; gives how much that was.
        pub(crate) fn forget(&self) -> usize {
            std::mem::take(&mut self.locked().planned).len()
        }

        pub(crate) fn passed(&self) -> BTreeSet<Edge> {
            self.locked().passed.clone()
        }

        pub(crate) fn is_dead(&self) -> bool {
            self.locked().is_dead
        }

        pub(crate) fn is_stalled(&self) -> bool {
            self.locked().stalled
        }

        pub(crate) fn kill(&self) {
            let mut state = self.locked();
            state.is_dead = true;
            state.stalled = false;
            drop(state);
            self.moved.notify_all();
            self.killed.notify_one();
        }

        pub(crate) fn is_held(&self) -> bool {
            self.locked().held
        }

        pub(crate) fn release(&self) {
            if std::mem::replace(&mut self.locked().held, false) {
                self.released.notify_one();
            }
        }

        pub(crate) fn miss(&self, time: Duration) {
            self.locked().missed += time;
        }

        /// What it has missed so far, if it stands still.
        pub(crate) fn missed(&self) -> Duration {
            self.locked().missed
        }

        pub(crate) fn go_on(&self) {
            self.locked().stalled = false;
            self.moved.notify_all();
        }

        fn strike(&self, edge: Edge, kind: impl Fn(Fault) -> bool) -> Option<Fault> {
            let mut state = self.locked();
            state.passed.insert(edge);
            // The dead pass nothing any more; their thread drops them in a moment.
            if state.is_dead {
                return Some(Fault::Crash);
            }
            let at = state
                .planned
                .iter()
                .position(|(planned, fault)| *planned == edge && kind(*fault))?;
            let (_, fault) = state.planned.remove(at);
            match fault {
                Fault::Crash => {
                    state.is_dead = true;
                    self.killed.notify_one();
                }
                Fault::Stall => state.stalled = true,
                Fault::Hold => state.held = true,
                Fault::Refuse | Fault::Lose => {}
            }
            Some(fault)
        }

        /// Blocks the thread, and with it every task of the process. Gives the time that it has missed.
        fn stand_still(&self) -> Duration {
            let mut state = self.locked();
            while state.stalled {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::take(&mut state.missed)
        }

        fn locked(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
