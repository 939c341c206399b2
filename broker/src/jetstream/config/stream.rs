//! A stream's configuration: its fields and their defaults. What may not be is in `stream_rules`.

use serde::{Deserialize, Serialize};

use super::origin::{Placement, Republish, StreamSource, SubjectTransform};
use super::{Metadata, is_zero, unlimited_if_zero};
use crate::jetstream::api_error::ApiError;
use crate::subject::Filter;

/// nats-server's default, in nanoseconds.
const DUPLICATE_WINDOW_DEFAULT: i64 = 120 * 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    #[default]
    Old,
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    #[default]
    Limits,
    Interest,
    WorkQueue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    #[default]
    File,
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    S2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistMode {
    #[default]
    #[serde(alias = "")]
    Default,
    /// Publishes and acks are answered once the operating system has them, and synced every second.
    Async,
}

/// Field order is nats-server's, so that answers compare byte by byte.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    pub name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub description: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub subjects: Vec<String>,
    pub retention: Retention,
    pub max_consumers: i64,
    pub max_msgs: i64,
    pub max_bytes: i64,
    /// Nanoseconds; 0 is for ever.
    pub max_age: i64,
    pub max_msgs_per_subject: i64,
    pub max_msg_size: i64,
    pub discard: Discard,
    pub storage: Storage,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub no_ack: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicate_window: i64,
    /// Told back; with one node there is nowhere else to place anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    #[serde(skip_serializing_if = "is_zero")]
    pub sources: Vec<StreamSource>,
    pub compression: Compression,
    #[serde(skip_serializing_if = "is_zero")]
    pub first_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
    pub allow_direct: bool,
    pub mirror_direct: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub discard_new_per_subject: bool,
    pub sealed: bool,
    pub deny_delete: bool,
    pub deny_purge: bool,
    pub allow_rollup_hdrs: bool,
    pub consumer_limits: ConsumerLimits,
    pub allow_msg_ttl: bool,
    /// Nanoseconds that a marker stays for a subject whose last message aged out; 0 is no markers.
    #[serde(skip_serializing_if = "is_zero")]
    pub subject_delete_marker_ttl: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub allow_msg_counter: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub allow_atomic: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub allow_msg_schedules: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub allow_batched: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub persist_mode: PersistMode,
    pub metadata: Metadata,

    #[serde(skip_serializing)]
    pub(super) template_owner: String,
    /// Part of the request, not of the stream: asks for errors where defaults would be filled in.
    #[serde(skip_serializing)]
    pub(super) pedantic: bool,
}

/// Bounds for consumers that do not set their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerLimits {
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive_threshold: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
}

impl StreamConfig {
    /// Fills in defaults and checks the whole.
    pub fn complete(mut self) -> Result<StreamConfig, ApiError> {
        self.check_names()?;
        if self.pedantic {
            self.check_pedantically()?;
        }
        self.fill_in();
        self.check()?;
        self.refuse_unfinished()?;
        self.pedantic = false;
        Ok(self)
    }

    pub fn filters(&self) -> Vec<Filter> {
        self.subjects
            .iter()
            .filter_map(|subject| Filter::parse(subject.as_bytes()))
            .collect()
    }

    /// Does a settled message leave the stream?
    pub fn removes_settled(&self) -> bool {
        self.retention != Retention::Limits
    }

    pub(super) fn has_origins(&self) -> bool {
        self.mirror.is_some() || !self.sources.is_empty()
    }

    fn fill_in(&mut self) {
        for limit in [
            &mut self.max_consumers,
            &mut self.max_msgs,
            &mut self.max_bytes,
            &mut self.max_msgs_per_subject,
            &mut self.max_msg_size,
        ] {
            unlimited_if_zero(limit);
        }
        self.num_replicas = 1;
        if self.subjects.is_empty() && !self.has_origins() {
            self.subjects = vec![self.name.clone()];
        }
        if self.duplicate_window == 0 && !self.has_origins() {
            self.duplicate_window = match self.max_age {
                0 => DUPLICATE_WINDOW_DEFAULT,
                age => DUPLICATE_WINDOW_DEFAULT.min(age),
            };
        }
        if self.subject_delete_marker_ttl > 0 && self.mirror.is_none() {
            self.allow_msg_ttl = true;
            // Markers replace what they stand for.
            self.allow_rollup_hdrs = true;
            self.deny_purge = false;
        }
        if self.allow_msg_schedules && self.mirror.is_none() && self.sources.is_empty() {
            self.allow_rollup_hdrs = true;
            self.deny_purge = false;
        }
        if let Some(republish) = &mut self.republish
            && republish.src.is_empty()
        {
            ">".clone_into(&mut republish.src);
        }
        super::without_server_metadata(&mut self.metadata);
    }

    /// A sealed stream only gives, whatever else was asked for.
    pub fn seal(&mut self) {
        if self.sealed {
            self.max_age = 0;
            self.discard = Discard::New;
            (self.deny_delete, self.deny_purge) = (true, true);
            self.allow_rollup_hdrs = false;
        }
    }

    /// The API level that a server needs to know for this stream.
    pub fn required_level(&self) -> u32 {
        let origins = self.mirror.iter().chain(&self.sources);
        if self.allow_batched || origins.into_iter().any(|origin| origin.consumer.is_some()) {
            4
        } else if self.allow_msg_counter
            || self.allow_atomic
            || self.allow_msg_schedules
            || self.persist_mode == PersistMode::Async
        {
            2
        } else {
            u32::from(self.allow_msg_ttl || self.subject_delete_marker_ttl > 0)
        }
    }
}
