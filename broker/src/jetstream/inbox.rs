//! The queue in front of a thread: everyone pushes, one takes all that is there at once.
//!
//! Taking everything in one go is what makes group commit: whatever arrives during one sync shares the next.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Bytes waiting from which on publishers are asked to pause.
const CONGESTED_BYTES: usize = 32 * 1024 * 1024;
/// What an entry costs besides its payload.
const ENTRY_COST: usize = 256;

#[derive(Debug)]
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    room: Notify,
}

#[derive(Debug)]
struct State<T> {
    queue: Vec<T>,
    bytes: usize,
    is_parked: bool,
    is_closed: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Inbox<T> {
        let state = State {
            queue: Vec::new(),
            bytes: 0,
            is_parked: false,
            is_closed: false,
        };
        Inbox {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            room: Notify::new(),
        }
    }
}

impl<T> Inbox<T> {
    /// Queues `item`, which weighs about `bytes`. False once the inbox is closed.
    pub fn push(&self, item: T, bytes: usize) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        state.queue.push(item);
        state.bytes += bytes + ENTRY_COST;
        let is_parked = std::mem::replace(&mut state.is_parked, false);
        drop(state);
        if is_parked {
            self.arrived.notify_one();
        }
        true
    }

    /// Nothing more comes in; what is there is still taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
        self.room.notify_waiters();
    }

    /// Nobody will take anything any more: what waits is dropped, and with it what others wait for.
    pub fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.lock().queue);
        drop(waiting);
    }

    pub fn is_congested(&self) -> bool {
        let state = self.lock();
        !state.is_closed && state.bytes > CONGESTED_BYTES
    }

    pub async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            if !self.is_congested() {
                return;
            }
            room.await;
        }
    }

    /// Moves all that waits into `batch`, waiting for something until `deadline`. False when closed and empty.
    pub fn take(&self, batch: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.queue.is_empty() && !state.is_closed {
            state.is_parked = true;
            state = match deadline {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let Some(left) = deadline
                        .checked_duration_since(Instant::now())
                        .filter(|d| !d.is_zero())
                    else {
                        break;
                    };
                    self.arrived
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        state.is_parked = false;
        std::mem::swap(&mut state.queue, batch);
        state.bytes = 0;
        let goes_on = !(state.is_closed && batch.is_empty());
        drop(state);
        self.room.notify_waiters();
        goes_on
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn takes_all_then_ends_when_closed() {
        let inbox = Inbox::default();
        assert!(inbox.push(1, 0) && inbox.push(2, 0));
        let mut batch = Vec::new();
        assert!(inbox.take(&mut batch, None));
        assert_eq!(batch, [1, 2]);
        batch.clear();
        assert!(inbox.take(&mut batch, Some(Instant::now() + Duration::from_millis(1))));
        assert!(batch.is_empty());
        assert!(inbox.push(3, 0));
        inbox.close();
        assert!(!inbox.push(4, 0));
        assert!(inbox.take(&mut batch, None));
        assert_eq!(batch, [3]);
        batch.clear();
        assert!(!inbox.take(&mut batch, None));
    }

    #[test]
    fn congestion_is_over_once_taken() {
        let inbox = Inbox::default();
        inbox.push((), CONGESTED_BYTES);
        assert!(inbox.is_congested());
        inbox.take(&mut Vec::new(), None);
        assert!(!inbox.is_congested());
    }
}
