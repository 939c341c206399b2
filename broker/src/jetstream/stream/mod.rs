//! One stream and the thread that owns it: its files, its consumers, and the turns it works in.
//!
//! A turn takes everything that waits, applies it, makes it durable once, answers, and only then delivers: nothing is
//! acknowledged or shown before it is on disk.

mod acks;
mod administer;
mod batch;
mod changes;
mod commit;
mod consumers;
mod counter;
mod demands;
mod direct;
mod expiry;
mod followers;
mod messages;
mod origins;
mod publish;
mod requests;
mod restore;
mod retention;
mod schedules;
#[cfg(test)]
mod torture;
mod upkeep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::api;
use super::clock::{Clock, Now};
use super::config::StreamConfig;
use super::consumer::{Consumer, Outlet, PinEvent};
use super::dedupe::Dedupe;
use super::handle::StreamHandle;
use super::inbox::Inbox;
use super::info::{ConsumerInfo, StreamDetail, StreamInfo};
use crate::config::SyncPolicy;
use crate::router::{Router, Wakes};
use crate::store::folder::Folder;
use crate::store::record::ConsumerId;
use crate::store::{Loaded, Nanos, Record, Seq, StreamStore};
use crate::subject::Filter;
use batch::Batches;
use changes::Transforms;
use commit::{Reply, Republished};
use expiry::Expiry;
pub use followers::FollowRequest;
use followers::Follower;
use origins::Origin;
pub use requests::StreamRequest;
pub use restore::{StreamMeta, open};
use schedules::Schedules;
use upkeep::Upkeep;

/// What others may ask of a stream's thread.
#[derive(Debug)]
pub enum Command {
    Publish {
        subject: Bytes,
        reply: Bytes,
        header_len: usize,
        body: Bytes,
    },
    Ack {
        consumer: String,
        stream_seq: Seq,
        reply: Bytes,
        payload: Bytes,
    },
    Pull {
        consumer: String,
        reply: Bytes,
        body: Bytes,
    },
    Request {
        request: StreamRequest,
        reply: Bytes,
        body: Bytes,
    },
    /// Listeners on a push consumer's subject came or went.
    Interest {
        consumer: ConsumerId,
    },
    /// A push consumer's client has read everything up to the request that `subject` names.
    FlowControl {
        consumer: String,
        subject: Bytes,
    },
    /// Another stream copies from this one.
    Follow(Box<FollowRequest>),
    /// The answer to that: what comes next, and how many more there are.
    Followed {
        key: String,
        messages: Vec<Loaded>,
        left: u64,
    },
    Describe(SyncSender<StreamInfo>),
    /// For monitoring, which waits without a thread.
    Detail(oneshot::Sender<StreamDetail>),
}

/// What a stream is opened with.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub router: Router,
    pub sync: SyncPolicy,
    pub server_name: Arc<str>,
    /// Whose streams these are.
    pub account: Arc<str>,
    pub clock: Clock,
    /// Takes what the server itself publishes, because another stream may store it.
    pub internal: Arc<Inbox<api::Call>>,
    /// Requests that were refused, since the start.
    pub api_errors: Arc<AtomicU64>,
    /// Atomic batches that are not committed yet, of all streams.
    pub open_batches: Arc<AtomicUsize>,
}

pub struct Stream {
    handle: StreamHandle,
    folder: Arc<dyn Folder>,
    config: StreamConfig,
    transforms: Transforms,
    /// The name as JSON has it.
    quoted_name: String,
    created: Nanos,
    around: Surroundings,
    store: StreamStore,
    dedupe: Dedupe,
    expiry: Expiry,
    consumers: BTreeMap<ConsumerId, Consumer>,
    ids: HashMap<String, ConsumerId>,
    next_consumer: ConsumerId,
    /// Messages after this one are not durable yet.
    visible: Seq,
    replies: Vec<Reply>,
    /// What is to be published once more when it is durable.
    republished: Vec<Republished>,
    origins: Vec<Origin>,
    followers: Vec<Follower>,
    /// Somebody is promised that what was written so far is durable.
    sync_owed: bool,
    /// When what nobody waits for is to be synced all the same.
    sync_by: Option<u64>,
    /// Subjects stored to in this turn, for `max_msgs_per_subject`.
    touched: HashSet<Bytes>,
    /// Messages of this turn that replace what came before them, on their subject or at all.
    roll_ups: Vec<(Seq, Option<Bytes>)>,
    /// Messages of batches of this turn that nobody will ever want.
    unwanted: Vec<Seq>,
    batches: Batches,
    schedules: Schedules,
    upkeep: Upkeep,
    /// Mistakes that the torture harness makes on purpose.
    #[cfg(test)]
    acks_are_late: bool,
    #[cfg(test)]
    parts_count_alone: bool,
    wakes: Wakes,
    is_deleted: bool,
}

impl Stream {
    /// Works until the inbox is closed or the stream is deleted.
    pub fn run(mut self) {
        let mut batch = Vec::new();
        let handle = self.handle.clone();
        let _guard = handle.guard();
        while handle
            .inbox()
            .take(&mut batch, self.wake_at().map(|at| self.around.clock.instant(at)))
        {
            let now = self.around.clock.now();
            self.turn(batch.drain(..), now);
            if self.is_deleted {
                break;
            }
            handle.show(self.snapshot());
        }
        if !self.is_deleted {
            self.shut_down();
        }
    }

    fn turn(&mut self, batch: impl Iterator<Item = Command>, now: Now) {
        self.heal_if_due(now);
        for command in batch {
            self.apply(command, now);
        }
        if self.is_deleted {
            return;
        }
        self.on_timers(now);
        if let Err(error) = self.expire(now) {
            tracing::debug!(stream = self.config.name, %error, "nothing expires");
        }
        self.fire_due(now);
        self.commit(now);
        self.enforce_limits();
        self.deliver(now);
        self.answer_followers();
        self.ask_origins(now);
        self.make_room(now);
        self.scrub_if_due(now);
        self.wakes.flush();
    }

    pub fn filters(&self) -> Vec<Filter> {
        self.config.filters()
    }

    pub fn allows_direct(&self) -> bool {
        self.config.allow_direct
    }

    fn apply(&mut self, command: Command, now: Now) {
        match command {
            Command::Publish {
                subject,
                reply,
                header_len,
                body,
            } => {
                self.publish(&subject, reply, header_len, &body, now);
            }
            Command::Ack {
                consumer,
                stream_seq,
                reply,
                payload,
            } => {
                self.ack(&consumer, stream_seq, reply, &payload, now);
            }
            Command::Pull {
                consumer,
                reply,
                body,
            } => self.pull(&consumer, &reply, &body, now),
            Command::Request { request, reply, body } => self.request(request, reply, &body, now),
            Command::Interest { consumer } => {
                if let Some(consumer) = self.consumers.get_mut(&consumer) {
                    consumer.on_interest(&self.around.router, now.steady);
                }
            }
            Command::FlowControl { consumer, subject } => {
                if let Some(consumer) = self.consumer(&consumer) {
                    consumer.on_flow_control(&subject);
                }
            }
            Command::Follow(request) => self.follow(*request),
            Command::Followed { key, messages, left } => self.take_copies(&key, messages, left, now),
            // A caller that went away needs no answer.
            Command::Describe(answer) => drop(answer.send(self.describe())),
            Command::Detail(answer) => {
                let consumers = self.consumers.values();
                let info = |consumer| ConsumerInfo::of(&self.config.name, consumer, now);
                let consumers = consumers.map(info).collect();
                drop(answer.send(StreamDetail {
                    info: self.describe(),
                    consumers,
                }));
            }
        }
    }

    fn consumer(&mut self, name: &str) -> Option<&mut Consumer> {
        self.consumers.get_mut(self.ids.get(name)?)
    }

    /// Runs `visit` on each consumer with what a delivery needs.
    fn each_consumer(&mut self, now: Now, mut visit: impl FnMut(&mut Consumer, &mut Outlet<'_>)) {
        let mut out = Outlet {
            stream: &self.config.name,
            store: &mut self.store,
            visible: self.visible,
            router: &self.around.router,
            wakes: &mut self.wakes,
            now,
        };
        for consumer in self.consumers.values_mut() {
            visit(consumer, &mut out);
        }
    }

    fn deliver(&mut self, now: Now) {
        self.each_consumer(now, |consumer, out| consumer.deliver(out));
        let made: Vec<(ConsumerId, Vec<crate::store::Delivery>)> = self
            .consumers
            .values_mut()
            .map(|consumer| (consumer.id, consumer.take_unlogged()))
            .filter(|(_, deliveries)| !deliveries.is_empty())
            .collect();
        for (consumer, deliveries) in made {
            let seqs: Vec<Seq> = deliveries.iter().map(|delivery| delivery.stream_seq).collect();
            self.release_delivered(consumer, &seqs);
            self.log_lazily(&Record::Delivered { consumer, deliveries });
        }
        self.tell_about_pins();
        self.flush(now);
    }

    fn tell_about_pins(&mut self) {
        let told: Vec<(ConsumerId, Vec<PinEvent>)> = self
            .consumers
            .values_mut()
            .map(|consumer| (consumer.id, consumer.take_pin_events()))
            .filter(|(_, events)| !events.is_empty())
            .collect();
        for (id, events) in told {
            for event in events {
                self.tell_about(id, |about| match &event {
                    PinEvent::Pinned { group, id } => about.pinned(group, id),
                    PinEvent::Unpinned { group, why } => about.unpinned(group, *why),
                });
            }
        }
    }

    fn on_timers(&mut self, now: Now) {
        let mut given_up = Vec::new();
        for consumer in self.consumers.values_mut() {
            for message in consumer.redeliver_due(now) {
                given_up.push((consumer.id, message));
            }
        }
        for (consumer, message) in given_up {
            self.on_given_up(consumer, message);
        }
        self.each_consumer(now, |consumer, out| consumer.tend_requests(out));
        let abandoned: Vec<ConsumerId> = self
            .consumers
            .values()
            .filter(|consumer| consumer.is_abandoned(now))
            .map(|consumer| consumer.id)
            .collect();
        for id in abandoned {
            self.drop_consumer(id, now);
        }
        self.give_up_batches(now);
        self.tell_about_pins();
    }

    fn wake_at(&self) -> Option<u64> {
        let consumers = self.consumers.values().filter_map(Consumer::wake_at).min();
        let upkeep = Some(self.upkeep.wake_at());
        [
            consumers,
            self.sync_by,
            self.next_expires_at(),
            self.next_fires_at(),
            self.asks_at(),
            self.batches.wake_at(),
            upkeep,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
