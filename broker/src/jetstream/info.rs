//! What the API tells about streams and consumers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::clock::Now;
use super::config::origin::SubjectTransform;
use super::config::{ConsumerConfig, StreamConfig, with_server_metadata};
use super::consumer::{Consumer, Pair};
use super::json;
use crate::store::index::Index;
use crate::store::{Damage, Nanos, Seq};

/// More lost sequences than this are counted but not listed.
const LOST_LISTED_MAX: usize = 1024;

#[derive(Debug, Clone, Serialize)]
pub struct StreamInfo {
    pub config: StreamConfig,
    pub created: String,
    pub state: StreamState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<OriginState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<OriginState>,
    pub ts: String,
}

/// A stream and all its consumers.
#[derive(Debug)]
pub struct StreamDetail {
    pub info: StreamInfo,
    pub consumers: Vec<ConsumerInfo>,
}

/// How far a stream that is copied from has been followed.
#[derive(Debug, Clone, Serialize)]
pub struct OriginState {
    pub name: String,
    pub lag: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub seq: Seq,
    /// Nanoseconds since it was last heard of; -1 if never.
    pub active: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
}

fn is_none(seq: &Seq) -> bool {
    *seq == 0
}

#[derive(Debug, Clone, Serialize)]
pub struct Cluster {
    pub leader: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: Seq,
    pub first_ts: String,
    pub last_seq: Seq,
    pub last_ts: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_subjects: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<BTreeMap<String, usize>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_deleted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Vec<Seq>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    pub consumer_count: usize,
}

/// Messages that damage on disk took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    pub msgs: Vec<Seq>,
    pub bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ConsumerInfo {
    pub stream_name: String,
    pub name: String,
    pub created: String,
    pub config: ConsumerConfig,
    pub delivered: Position,
    pub ack_floor: Position,
    pub num_ack_pending: usize,
    pub num_redelivered: usize,
    pub num_waiting: usize,
    pub num_pending: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub push_bound: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_remaining: Option<Nanos>,
    pub ts: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<GroupState>,
}

#[derive(Debug, Clone, Serialize)]
pub struct GroupState {
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_client_id: Option<String>,
    pub pinned_ts: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Position {
    pub consumer_seq: u64,
    pub stream_seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active: Option<String>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl StreamState {
    pub fn of(index: &Index, damage: &[Damage], consumer_count: usize) -> StreamState {
        let time_of = |time: Option<Nanos>| time.map_or(json::NO_TIME.to_owned(), json::time);
        let is_untouched = index.last_seq() == 0 || index.last_time() == 0;
        let first_seq = if index.last_seq() == 0 {
            0
        } else {
            index.first_seq()
        };
        let span = if index.messages() == 0 {
            0
        } else {
            index.last_seq() + 1 - first_seq
        };
        StreamState {
            messages: index.messages(),
            bytes: index.bytes(),
            first_seq,
            first_ts: time_of(index.first().map(|entry| entry.time)),
            last_seq: index.last_seq(),
            last_ts: time_of((!is_untouched).then(|| index.last_time())),
            num_subjects: index.num_subjects(),
            subjects: None,
            num_deleted: usize::try_from(span - index.messages()).unwrap_or(usize::MAX),
            deleted: None,
            lost: Lost::of(damage),
            consumer_count,
        }
    }
}

impl Lost {
    fn of(damage: &[Damage]) -> Option<Lost> {
        let seqs = damage
            .iter()
            .flat_map(|damage| damage.lost.iter().cloned().flatten());
        let bytes = damage.iter().map(|damage| damage.bytes).sum();
        (!damage.is_empty()).then(|| Lost {
            msgs: seqs.take(LOST_LISTED_MAX).collect(),
            bytes,
        })
    }
}

impl StreamInfo {
    pub fn of(config: &StreamConfig, created: Nanos, state: StreamState, now: Now) -> StreamInfo {
        let mut config = config.clone();
        config.metadata = with_server_metadata(&config.metadata, config.required_level());
        StreamInfo {
            config,
            created: json::time(created),
            state,
            cluster: None,
            mirror: None,
            sources: Vec::new(),
            ts: json::time(now.wall),
        }
    }
}

impl ConsumerInfo {
    pub fn of(stream: &str, consumer: &Consumer, now: Now) -> ConsumerInfo {
        let position = |pair: Pair, active: Option<Nanos>| Position {
            consumer_seq: pair.consumer_seq,
            stream_seq: pair.stream_seq,
            last_active: active.map(json::time),
        };
        let mut config = consumer.config.clone();
        config.metadata = with_server_metadata(&config.metadata, config.required_level());
        let progress = &consumer.progress;
        let paused_until = consumer.paused_until(now);
        ConsumerInfo {
            stream_name: stream.to_owned(),
            name: consumer.name.clone(),
            created: json::time(consumer.created),
            config,
            delivered: position(progress.delivered, consumer.last_delivered),
            ack_floor: position(progress.ack_floor, consumer.last_acked),
            num_ack_pending: progress.pending.len(),
            num_redelivered: progress.redelivered(),
            num_waiting: consumer.waiting(),
            num_pending: consumer.num_pending,
            cluster: None,
            push_bound: consumer.is_push_bound(),
            paused: paused_until.is_some(),
            pause_remaining: paused_until.map(|until| until - now.wall),
            ts: json::time(now.wall),
            priority_groups: group_states(consumer),
        }
    }
}

fn group_states(consumer: &Consumer) -> Vec<GroupState> {
    let groups = consumer.config.priority_groups.iter();
    groups
        .map(|group| {
            let pin = consumer.pin.as_ref().filter(|pin| pin.group == *group);
            GroupState {
                group: group.clone(),
                pinned_client_id: pin.map(|pin| pin.id.clone()),
                pinned_ts: pin.map_or(json::NO_TIME.to_owned(), |pin| json::time(pin.since)),
            }
        })
        .collect()
}
