//! Where the arguments of a function handler leave what is to commit with the delivery.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cx::CxError;
use crate::store::outbox::OutboxRow;
use crate::store::{Store, Tx};

/// A handle: clones are of the same desk.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    store: Store,
    papers: Arc<Mutex<Papers>>,
}

#[derive(Debug, Default)]
struct Papers {
    outbox: Vec<OutboxRow>,
    tx: Place,
    closed: bool,
}

/// Where the one transaction of the delivery is.
#[derive(Debug, Default)]
enum Place {
    #[default]
    NotBegun,
    /// An argument has it.
    Lent,
    Here(Tx),
}

impl Desk {
    pub(crate) fn new(store: Store) -> Self {
        let papers = Arc::default();
        Self { store, papers }
    }

    pub(crate) fn publish(&self, row: OutboxRow) -> Result<(), CxError> {
        let mut papers = self.papers();
        if papers.closed {
            return Err(CxError::Over);
        }
        papers.outbox.push(row);
        Ok(())
    }

    /// The transaction, to one borrower at a time.
    pub(crate) async fn borrow(&self) -> Result<Tx, CxError> {
        {
            let mut papers = self.papers();
            if papers.closed {
                return Err(CxError::Over);
            }
            match std::mem::replace(&mut papers.tx, Place::Lent) {
                Place::Here(tx) => return Ok(tx),
                Place::Lent => return Err(CxError::TxInUse),
                Place::NotBegun => {}
            }
        }
        let begun = self.store.begin().await;
        if begun.is_err() {
            self.papers().tx = Place::NotBegun;
        }
        Ok(begun?)
    }

    /// After the end, what comes back is rolled back.
    pub(crate) fn give_back(&self, tx: Tx) {
        let mut papers = self.papers();
        if !papers.closed {
            papers.tx = Place::Here(tx);
        }
    }

    /// The end: what is left here from now on is not wanted.
    pub(crate) fn close(&self) -> Result<(Vec<OutboxRow>, Option<Tx>), CxError> {
        let mut papers = self.papers();
        papers.closed = true;
        let rows = std::mem::take(&mut papers.outbox);
        match std::mem::take(&mut papers.tx) {
            Place::NotBegun => Ok((rows, None)),
            Place::Here(tx) => Ok((rows, Some(tx))),
            // In a task that outlives the handler: half of the work can't be committed.
            Place::Lent => Err(CxError::TxInUse),
        }
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        // A panic while holding the lock leaves papers that are still papers.
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
