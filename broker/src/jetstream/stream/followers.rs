//! Other streams copy from this one: they ask, and are answered as soon as there is something durable.

use super::{Command, Stream};
use crate::jetstream::handle::StreamHandle;
use crate::store::{Loaded, Nanos, Seq};
use crate::subject::Filter;

/// One answer is large enough to be worth a turn and small enough for others to get theirs.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;

/// Where copying goes on, or starts.
#[derive(Debug, Clone, Copy)]
pub enum From {
    After(Seq),
    Time(Nanos),
}

/// A question of another stream.
#[derive(Debug)]
pub struct FollowRequest {
    pub follower: StreamHandle,
    /// Which of its origins this stream is to it.
    pub key: String,
    pub from: From,
    pub filters: Vec<Filter>,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub(super) struct Follower {
    request: FollowRequest,
    next: Seq,
    /// It was told that there is nothing yet.
    knows: bool,
}

impl Stream {
    /// A newer question takes the place of the older one.
    pub(super) fn follow(&mut self, request: FollowRequest) {
        let index = self.store.index();
        let next = match request.from {
            From::After(seq) => seq + 1,
            From::Time(time) => index
                .first_since(time)
                .map_or(index.last_seq() + 1, |entry| entry.seq),
        };
        let is_same = |other: &Follower| {
            other.request.follower.name() == request.follower.name() && other.request.key == request.key
        };
        self.followers.retain(|other| !is_same(other));
        self.followers.push(Follower {
            request,
            next,
            knows: false,
        });
    }

    pub(super) fn answer_followers(&mut self) {
        let mut followers = std::mem::take(&mut self.followers);
        followers.retain_mut(|follower| !self.is_answered(follower));
        self.followers = followers;
    }

    fn is_answered(&mut self, follower: &mut Follower) -> bool {
        let request = &follower.request;
        let mut messages: Vec<Loaded> = Vec::new();
        let mut bytes = 0;
        while messages.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let found = self.store.index().next_matching(follower.next, &request.filters);
            let Some(seq) = found.map(|entry| entry.seq).filter(|&seq| seq <= self.visible) else {
                // What was looked at need not be looked at again.
                follower.next = follower.next.max(self.visible + 1);
                break;
            };
            follower.next = seq + 1;
            // What is damaged was reported and can not be copied.
            if let Ok(Some(message)) = self.store.load(seq) {
                bytes += message.body.len();
                messages.push(message);
            }
        }
        let is_answer = !messages.is_empty();
        if !is_answer && follower.knows {
            return false;
        }
        follower.knows = true;
        let command = Command::Followed {
            key: request.key.clone(),
            messages,
            left: self.store.index().count_matching(follower.next, &request.filters),
        };
        // A follower that is gone wants nothing any more.
        !request.follower.inbox().push(command, bytes) || is_answer
    }
}
