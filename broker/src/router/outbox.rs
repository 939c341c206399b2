//! The bytes on their way to one client: written by anyone, drained by that connection's writer.
//!
//! Small payloads are copied into one growing tail, so that hundreds of messages leave in one write; large ones are
//! shared between all who receive them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::protocol::ClientError;

/// From here on sharing a payload (two atomic counts and a separate I/O slice) is cheaper than copying it.
const SHARED_PAYLOAD_MIN: usize = 16 * 1024;

/// What waits for all clients together. Past the limit, those with more than the average are cut off as they get more.
#[derive(Debug)]
pub struct Pending {
    bytes: AtomicUsize,
    /// Clients that something waits for.
    clients: AtomicUsize,
    max: usize,
}

impl Pending {
    pub fn new(max: usize) -> Pending {
        Pending {
            bytes: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
            max,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// One client's share went from `before` to `after`; whether that is more than there is room for.
    fn change(&self, before: usize, after: usize) -> bool {
        match (before, after) {
            (0, 1..) => self.clients.fetch_add(1, Ordering::Relaxed),
            (1.., 0) => self.clients.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        let total = if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed) + (after - before)
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed) - (before - after)
        };
        total > self.max && after >= total / self.clients.load(Ordering::Relaxed).max(1)
    }
}

#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    max_pending: usize,
    all: Arc<Pending>,
    /// Told when there is something to write or the connection is to close.
    readable: Notify,
    /// Told when the writer has taken what was pending.
    drained: Notify,
    /// Told when more waits than is allowed.
    overflow: Notify,
}

#[derive(Debug, Default)]
struct State {
    sealed: Vec<Bytes>,
    tail: BytesMut,
    /// Bytes queued plus bytes that the writer took and has not yet handed to the socket.
    pending: usize,
    /// Somebody has queued bytes and owes the writer a wake-up, or has already given it.
    wake_owed: bool,
    closing: Option<ClientError>,
}

/// What the writer finds.
#[derive(Debug)]
pub struct Batch {
    pub chunks: Vec<Bytes>,
    pub bytes: usize,
    /// The reason to close once the chunks are written.
    pub closing: Option<ClientError>,
}

/// Whether the caller has to wake the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    WakeOwed,
    AlreadyAwake,
    /// Queued, but more than three quarters of `max_pending` wait: whoever feeds this client should pause.
    Congested,
    Closed,
}

impl Outbox {
    pub fn new(max_pending: usize, all: Arc<Pending>) -> Outbox {
        Outbox {
            state: Mutex::default(),
            max_pending,
            all,
            readable: Notify::new(),
            drained: Notify::new(),
            overflow: Notify::new(),
        }
    }

    /// Queues what `write_head` appends, then `body` and a line end. A body inside `backing` may be shared.
    ///
    /// Past `max_pending` the connection is closed instead: a consumer this slow would take the server's memory.
    pub fn queue(&self, write_head: impl FnOnce(&mut BytesMut), body: &[u8], backing: &Bytes) -> Queued {
        let mut state = self.lock();
        if state.closing.is_some() {
            return Queued::Closed;
        }
        let (before, pending_before) = (state.tail.len(), state.pending);
        write_head(&mut state.tail);
        if body.len() >= SHARED_PAYLOAD_MIN {
            let head = state.tail.split().freeze();
            state.pending += head.len() - before + body.len();
            state.sealed.push(head);
            state.sealed.push(backing.slice_ref(body));
            state.tail.extend_from_slice(b"\r\n");
            state.pending += 2;
        } else {
            state.tail.extend_from_slice(body);
            state.tail.extend_from_slice(b"\r\n");
            state.pending += state.tail.len() - before;
        }
        self.after_queueing(state, pending_before)
    }

    /// Queues whole protocol lines such as PONG, INFO or -ERR.
    pub fn queue_line(&self, write: impl FnOnce(&mut BytesMut)) -> Queued {
        let mut state = self.lock();
        if state.closing.is_some() {
            return Queued::Closed;
        }
        let (before, pending_before) = (state.tail.len(), state.pending);
        write(&mut state.tail);
        state.pending += state.tail.len() - before;
        self.after_queueing(state, pending_before)
    }

    fn after_queueing(&self, mut state: MutexGuard<'_, State>, pending_before: usize) -> Queued {
        let is_over_all = self.all.change(pending_before, state.pending);
        if state.pending > self.max_pending || is_over_all {
            state.closing = Some(ClientError::SlowConsumer);
            state.sealed = Vec::new();
            state.tail = BytesMut::new();
            self.all.change(state.pending, 0);
            state.pending = 0;
            drop(state);
            self.overflow.notify_one();
            self.wake();
            return Queued::Closed;
        }
        let congested = state.pending > self.max_pending / 4 * 3;
        if !std::mem::replace(&mut state.wake_owed, true) {
            return Queued::WakeOwed;
        }
        if congested {
            Queued::Congested
        } else {
            Queued::AlreadyAwake
        }
    }

    pub fn wake(&self) {
        self.readable.notify_one();
    }

    /// Nothing more is queued; the writer flushes what is there and ends. The first reason stands.
    pub fn close(&self, reason: ClientError) {
        self.lock().closing.get_or_insert(reason);
        self.wake();
        self.drained.notify_waiters();
    }

    /// At most half of what is allowed waits, or nothing ever will again.
    pub fn has_room(&self) -> bool {
        let state = self.lock();
        state.closing.is_some() || state.pending <= self.max_pending / 2
    }

    pub fn pending(&self) -> usize {
        self.lock().pending
    }

    /// Resolves when the writer has made progress or the connection closes.
    pub async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Resolves when more waits than is allowed: the writer need not finish what it is at.
    pub async fn overflowed(&self) {
        self.overflow.notified().await;
    }

    /// Waits for something to write; the writer's side.
    pub async fn next_batch(&self) -> Batch {
        loop {
            {
                let mut state = self.lock();
                if state.pending > 0 || state.closing.is_some() {
                    return take(&mut state);
                }
                state.wake_owed = false;
            }
            self.readable.notified().await;
        }
    }

    /// The writer has handed `bytes` to the socket.
    pub fn written(&self, bytes: usize) {
        let mut state = self.lock();
        let before = state.pending;
        state.pending = before.saturating_sub(bytes);
        self.all.change(before, state.pending);
        drop(state);
        self.drained.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    /// What was never written waits no more.
    fn drop(&mut self) {
        let pending = self.lock().pending;
        self.all.change(pending, 0);
    }
}

fn take(state: &mut State) -> Batch {
    let mut chunks = std::mem::take(&mut state.sealed);
    if !state.tail.is_empty() {
        chunks.push(state.tail.split().freeze());
    }
    let bytes = chunks.iter().map(Bytes::len).sum();
    Batch {
        chunks,
        bytes,
        closing: state.closing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(outbox: &Outbox, body: &[u8]) -> Queued {
        let backing = Bytes::copy_from_slice(body);
        outbox.queue(|out| out.extend_from_slice(b"head\r\n"), &backing, &backing)
    }

    #[tokio::test]
    async fn small_messages_leave_in_one_chunk_and_large_ones_are_shared() {
        let outbox = Outbox::new(1 << 20, Arc::new(Pending::new(usize::MAX)));
        assert_eq!(queue(&outbox, b"a"), Queued::WakeOwed);
        assert_eq!(queue(&outbox, b"b"), Queued::AlreadyAwake);
        assert_eq!(
            queue(&outbox, &vec![b'x'; SHARED_PAYLOAD_MIN]),
            Queued::AlreadyAwake
        );
        let batch = outbox.next_batch().await;
        assert_eq!(batch.chunks.len(), 3);
        assert_eq!(batch.chunks[0], "head\r\na\r\nhead\r\nb\r\nhead\r\n");
        assert_eq!(batch.chunks[2], "\r\n");
        assert_eq!(batch.bytes, outbox.pending());
        outbox.written(batch.bytes);
        assert_eq!(outbox.pending(), 0);
    }

    #[tokio::test]
    async fn a_slow_consumer_is_cut_off() {
        let outbox = Outbox::new(20, Arc::new(Pending::new(usize::MAX)));
        assert_eq!(queue(&outbox, b"0123456789"), Queued::WakeOwed);
        assert_eq!(queue(&outbox, b"0123456789"), Queued::Closed);
        assert_eq!(outbox.next_batch().await.closing, Some(ClientError::SlowConsumer));
        assert_eq!(queue(&outbox, b""), Queued::Closed);
    }

    #[tokio::test]
    async fn all_together_have_a_limit_and_the_slowest_goes_first() {
        let all = Arc::new(Pending::new(100));
        let [slow, quick] = [(); 2].map(|()| Outbox::new(1 << 20, Arc::clone(&all)));
        // 8 bytes each besides the body.
        assert_eq!(queue(&slow, &[b'x'; 72]), Queued::WakeOwed);
        assert_eq!(queue(&quick, &[b'x'; 12]), Queued::WakeOwed, "exactly the limit");
        assert_eq!(all.bytes(), 100);
        assert_eq!(
            queue(&quick, b""),
            Queued::AlreadyAwake,
            "one past it, but another one is to blame"
        );
        assert_eq!(queue(&slow, b""), Queued::Closed);
        assert_eq!(all.bytes(), 28);
        drop(quick);
        assert_eq!(all.bytes(), 0);
    }
}
