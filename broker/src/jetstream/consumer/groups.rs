//! Priority groups: which of the waiting requests may have the next message.

use super::pull::Pull;
use super::{Consumer, Status};
use crate::jetstream::advisory::Unpinned;
use crate::jetstream::clock::Now;
use crate::jetstream::config::PriorityPolicy;
use crate::jetstream::names;
use crate::store::Nanos;

/// Lowest and highest rank of a request.
const PRIORITY_MAX: i64 = 9;

/// What a request says about its group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    pub name: String,
    pub min_pending: i64,
    pub min_ack_pending: i64,
    pub pin: String,
    pub priority: i64,
}

/// The one client that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub id: String,
    pub group: String,
    pub since: Nanos,
    /// On the steady clock; asking for messages prolongs it.
    until: u64,
}

/// What is to be told about pinned clients.
#[derive(Debug, PartialEq, Eq)]
pub enum PinEvent {
    Pinned { group: String, id: String },
    Unpinned { group: String, why: Unpinned },
}

/// Whether a request may have the next message.
pub(super) enum Turn {
    Serve,
    /// Later, perhaps.
    Wait,
    /// Never: its pin is another's.
    End,
}

impl Consumer {
    /// Is the request in order, as far as groups go? A good pin is prolonged by it.
    pub(super) fn check_group(&mut self, pull: &Pull, now: Now) -> Result<(), Status> {
        let bad = |text: &str| Err(Status::BadRequest(text.to_owned()));
        let policy = self.config.priority_policy;
        let Some(group) = &pull.group else {
            return if policy == PriorityPolicy::None {
                Ok(())
            } else {
                bad("Priority Group missing")
            };
        };
        if (group.min_pending != 0 || group.min_ack_pending != 0) && policy != PriorityPolicy::Overflow {
            return bad("Not a Overflow Priority consumer");
        }
        if !group.pin.is_empty() && policy != PriorityPolicy::PinnedClient {
            return bad("Not a Pinned Client Priority consumer");
        }
        if !(0..=PRIORITY_MAX).contains(&group.priority) {
            return bad("Priority must be between 0 and 9");
        }
        if policy == PriorityPolicy::None {
            return Ok(());
        }
        if group.name.is_empty() {
            return bad("Priority Group missing");
        }
        if !self.config.priority_groups.contains(&group.name) {
            return bad("Invalid Priority Group");
        }
        let timeout = self.pin_timeout();
        match &mut self.pin {
            Some(pin) if pin.id == group.pin => pin.until = now.steady.saturating_add(timeout),
            Some(_) if !group.pin.is_empty() => return Err(Status::PinMismatch),
            _ => {}
        }
        Ok(())
    }

    fn pin_timeout(&self) -> u64 {
        u64::try_from(self.config.priority_timeout).unwrap_or(0)
    }

    /// Requests of the policy "prioritized" wait by rank, the others in the order in which they came.
    pub(super) fn enqueue(&mut self, pull: Pull) {
        if self.config.priority_policy != PriorityPolicy::Prioritized {
            return self.waiting.push_back(pull);
        }
        let rank = |pull: &Pull| pull.group.as_ref().map_or(i64::MAX, |group| group.priority);
        let at = self.waiting.partition_point(|other| rank(other) <= rank(&pull));
        self.waiting.insert(at, pull);
    }

    /// May `pull` have the next message? Under the policy "pinned client" it may become the one that is served.
    pub(super) fn turn_of(&mut self, pull: &mut Pull, now: Now) -> Turn {
        match self.config.priority_policy {
            PriorityPolicy::Overflow => self.overflow_turn(pull),
            PriorityPolicy::PinnedClient => self.pinned_turn(pull, now),
            PriorityPolicy::None | PriorityPolicy::Prioritized => Turn::Serve,
        }
    }

    fn overflow_turn(&self, pull: &Pull) -> Turn {
        let Some(group) = &pull.group else {
            return Turn::Serve;
        };
        let is_bound = group.min_pending > 0 || group.min_ack_pending > 0;
        let exceeds =
            |limit: i64, value: u64| u64::try_from(limit).is_ok_and(|limit| limit > 0 && limit <= value);
        let is_met = exceeds(group.min_pending, self.num_pending)
            || exceeds(group.min_ack_pending, self.progress.pending.len() as u64);
        if is_bound && !is_met {
            Turn::Wait
        } else {
            Turn::Serve
        }
    }

    /// A request that was served once carries its pin from then on, so that it ends with it.
    fn pinned_turn(&mut self, pull: &mut Pull, now: Now) -> Turn {
        let given = pull.group.as_ref().map_or("", |group| group.pin.as_str());
        match &self.pin {
            Some(pin) if pin.id == given => Turn::Serve,
            Some(_) if given.is_empty() => Turn::Wait,
            None if given.is_empty() => {
                if let Some(group) = &mut pull.group {
                    group.pin = self.assign_pin(&group.name, now);
                }
                Turn::Serve
            }
            _ => Turn::End,
        }
    }

    fn assign_pin(&mut self, group: &str, now: Now) -> String {
        let id = names::random_token();
        self.pin_events.push(PinEvent::Pinned {
            group: group.to_owned(),
            id: id.clone(),
        });
        self.pin = Some(Pin {
            id: id.clone(),
            group: group.to_owned(),
            since: now.wall,
            until: now.steady.saturating_add(self.pin_timeout()),
        });
        id
    }

    /// The pinned client is no longer the one.
    pub fn unpin(&mut self, why: Unpinned) {
        if let Some(pin) = self.pin.take() {
            self.pin_events.push(PinEvent::Unpinned {
                group: pin.group,
                why,
            });
        }
    }

    pub(super) fn end_stale_pin(&mut self, now: Now) {
        if self.pin.as_ref().is_some_and(|pin| pin.until <= now.steady) {
            self.unpin(Unpinned::TimedOut);
        }
    }

    pub(super) fn pin_ends_at(&self) -> Option<u64> {
        self.pin.as_ref().map(|pin| pin.until)
    }

    pub fn take_pin_events(&mut self) -> Vec<PinEvent> {
        std::mem::take(&mut self.pin_events)
    }
}
