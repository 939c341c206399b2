//! A stream's configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Metadata, errors, is_plain_name, is_zero, refuse_unsupported, unlimited_if_zero};
use crate::jetstream::api_error::ApiError;
use crate::subject::Filter;

/// nats-server's defaults and bounds, in nanoseconds.
const DUPLICATE_WINDOW_DEFAULT: i64 = 120 * 1_000_000_000;
const MAX_AGE_MIN: i64 = 100 * 1_000_000;
const DUPLICATE_WINDOW_MIN: i64 = 100 * 1_000_000;

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

/// Field order is nats-server's, so that answers compare byte by byte.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    pub name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub description: String,
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
    pub compression: Compression,
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
    pub metadata: Metadata,

    #[serde(skip_serializing)]
    placement: Option<Value>,
    #[serde(skip_serializing)]
    mirror: Option<Value>,
    #[serde(skip_serializing)]
    sources: Option<Value>,
    #[serde(skip_serializing)]
    republish: Option<Value>,
    #[serde(skip_serializing)]
    subject_transform: Option<Value>,
    #[serde(skip_serializing)]
    template_owner: Option<Value>,
    #[serde(skip_serializing)]
    first_seq: Option<Value>,
    #[serde(skip_serializing)]
    subject_delete_marker_ttl: Option<Value>,
    #[serde(skip_serializing)]
    allow_atomic: Option<Value>,
    #[serde(skip_serializing)]
    allow_msg_counter: Option<Value>,
    #[serde(skip_serializing)]
    allow_msg_schedules: Option<Value>,
    #[serde(skip_serializing)]
    allow_batched: Option<Value>,
    #[serde(skip_serializing)]
    persist_mode: Option<Value>,
    /// nats-server ignores it too: it asks for errors where defaults would be filled in.
    #[serde(skip_serializing)]
    pedantic: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    S2,
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
        self.check_name()?;
        self.refuse_unsupported()?;
        self.fill_in();
        self.check_limits()?;
        self.check_subjects()?;
        Ok(self)
    }

    pub fn filters(&self) -> Vec<Filter> {
        self.subjects
            .iter()
            .filter_map(|subject| Filter::parse(subject.as_bytes()))
            .collect()
    }

    fn check_name(&self) -> Result<(), ApiError> {
        if self.name.is_empty() {
            return Err(errors::stream_config("stream name is required"));
        }
        if self.name.len() > super::NAME_MAX {
            let text = format!("stream name is too long, maximum allowed is {}", super::NAME_MAX);
            return Err(errors::stream_config(text));
        }
        if super::has_path_separators(&self.name) {
            return Err(errors::STREAM_NAME_WITH_SEPARATORS);
        }
        if !is_plain_name(&self.name) {
            return Err(errors::stream_config(
                "stream name is invalid, can not contain spaces, '.', '*', '>'",
            ));
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        if self.num_replicas > 1 {
            return Err(errors::REPLICAS);
        }
        if self.num_replicas < 0 {
            return Err(ApiError {
                code: 400,
                err_code: 10133,
                description: "replicas count cannot be negative".into(),
            });
        }
        let unless = |unsupported: bool, what: &str| match unsupported {
            true => Err(errors::stream_config(format!(
                "{what} is not supported by this server"
            ))),
            false => Ok(()),
        };
        unless(self.retention == Retention::Interest, "interest retention")?;
        unless(self.retention == Retention::WorkQueue, "work queue retention")?;
        unless(self.compression == Compression::S2, "compression")?;
        unless(self.allow_msg_ttl, "allow_msg_ttl")?;
        unless(self.mirror_direct, "mirror_direct")?;
        unless(self.sealed, "sealed")?;
        refuse_unsupported(
            [
                ("mirror", &self.mirror),
                ("sources", &self.sources),
                ("republish", &self.republish),
                ("subject_transform", &self.subject_transform),
                ("placement", &self.placement),
                ("template_owner", &self.template_owner),
                ("first_seq", &self.first_seq),
                ("subject_delete_marker_ttl", &self.subject_delete_marker_ttl),
                ("allow_atomic", &self.allow_atomic),
                ("allow_msg_counter", &self.allow_msg_counter),
                ("allow_msg_schedules", &self.allow_msg_schedules),
                ("allow_batched", &self.allow_batched),
            ],
            errors::stream_config,
        )?;
        match &self.persist_mode {
            None => Ok(()),
            Some(Value::String(mode)) if mode.is_empty() || mode == "default" => Ok(()),
            Some(_) => unless(true, "persist_mode other than default"),
        }
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
        if self.subjects.is_empty() {
            self.subjects = vec![self.name.clone()];
        }
        if self.duplicate_window == 0 {
            self.duplicate_window = match self.max_age {
                0 => DUPLICATE_WINDOW_DEFAULT,
                age => DUPLICATE_WINDOW_DEFAULT.min(age),
            };
        }
        super::without_server_metadata(&mut self.metadata);
        // Told apart no further once they are known to ask for nothing, so that equal configurations are equal.
        let StreamConfig {
            placement,
            mirror,
            sources,
            republish,
            subject_transform,
            template_owner,
            ..
        } = self;
        for field in [
            placement,
            mirror,
            sources,
            republish,
            subject_transform,
            template_owner,
        ] {
            *field = None;
        }
        let StreamConfig {
            first_seq,
            subject_delete_marker_ttl,
            allow_atomic,
            allow_msg_counter,
            ..
        } = self;
        for field in [
            first_seq,
            subject_delete_marker_ttl,
            allow_atomic,
            allow_msg_counter,
        ] {
            *field = None;
        }
        self.allow_msg_schedules = None;
        self.allow_batched = None;
        self.persist_mode = None;
        self.pedantic = None;
    }

    fn check_limits(&self) -> Result<(), ApiError> {
        let check = |is_bad: bool, text: &str| {
            if is_bad {
                Err(errors::stream_config(text))
            } else {
                Ok(())
            }
        };
        check(self.max_age < 0, "max age can not be negative")?;
        check(
            (1..MAX_AGE_MIN).contains(&self.max_age),
            "max age needs to be >= 100ms",
        )?;
        check(self.duplicate_window < 0, "duplicates window can not be negative")?;
        check(
            self.max_age > 0 && self.duplicate_window > self.max_age,
            "duplicates window can not be larger then max age",
        )?;
        check(
            (1..DUPLICATE_WINDOW_MIN).contains(&self.duplicate_window),
            "duplicates window needs to be >= 100ms",
        )?;
        check(
            self.max_msg_size > i64::from(i32::MAX),
            "max message size is too large",
        )?;
        let new_per_subject = self.discard_new_per_subject;
        check(
            new_per_subject && self.discard != Discard::New,
            "discard new per subject requires discard new policy to be set",
        )?;
        check(
            new_per_subject && self.max_msgs_per_subject <= 0,
            "discard new per subject requires max msgs per subject > 0",
        )
    }

    fn check_subjects(&self) -> Result<(), ApiError> {
        let api = Filter::parse(b"$JS.API.>");
        let mut seen: Vec<Filter> = Vec::new();
        for subject in &self.subjects {
            let Some(filter) = Filter::parse(subject.as_bytes()) else {
                return Err(errors::stream_config("invalid subject"));
            };
            if let Some(other) = seen.iter().find(|other| other.overlaps(&filter)) {
                return Err(errors::stream_config(format!(
                    "subject \"{filter}\" overlaps with \"{other}\""
                )));
            }
            if subject == ">" && !self.no_ack {
                let text = "capturing all subjects requires no-ack to be true";
                return Err(errors::stream_config(text));
            }
            if api.as_ref().is_some_and(|api| api.overlaps(&filter)) {
                let text = "subjects that overlap with jetstream api require no-ack to be true";
                return Err(errors::stream_config(text));
            }
            seen.push(filter);
        }
        Ok(())
    }

    /// May `self` become `next`? Both are complete.
    pub fn check_update(&self, next: &StreamConfig) -> Result<(), ApiError> {
        let check = |is_bad: bool, text: &str| {
            if is_bad {
                Err(errors::stream_config(text))
            } else {
                Ok(())
            }
        };
        check(
            self.name != next.name,
            "stream configuration name must match original",
        )?;
        check(
            self.storage != next.storage,
            "stream configuration update can not change storage type",
        )?;
        check(
            self.deny_delete && !next.deny_delete,
            "stream configuration update can not cancel deny message deletes",
        )?;
        check(
            self.deny_purge && !next.deny_purge,
            "stream configuration update can not cancel deny purge",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::json;

    fn complete(text: &str) -> Result<StreamConfig, ApiError> {
        json::decode::<StreamConfig>(text.as_bytes())?.complete()
    }

    #[test]
    fn defaults_are_told_back_as_nats_server_does() {
        let config = complete(r#"{"name":"S","subjects":["s.>"],"mirror":null,"sources":[]}"#).unwrap();
        let told = r#"{"name":"S","subjects":["s.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{}}"#;
        assert_eq!(serde_json::to_string(&config).unwrap(), told);
        assert_eq!(complete(told).unwrap(), config);
    }

    #[test]
    fn refusals() {
        let check = |text: &str, err_code: u16, description: &str| {
            let error = complete(text).unwrap_err();
            assert_eq!(
                (error.err_code, error.description.as_ref()),
                (err_code, description),
                "{text}"
            );
        };
        check(
            r#"{"name":"a.b"}"#,
            10052,
            "stream name is invalid, can not contain spaces, '.', '*', '>'",
        );
        check(
            r#"{"name":"a/b"}"#,
            10128,
            "Stream name can not contain path separators",
        );
        check(
            r#"{"name":"S","num_replicas":3}"#,
            10074,
            "replicas > 1 not supported in non-clustered mode",
        );
        check(
            r#"{"name":"S","max_age":1000}"#,
            10052,
            "max age needs to be >= 100ms",
        );
        check(r#"{"name":"S","subjects":["a..b"]}"#, 10052, "invalid subject");
        check(
            r#"{"name":"S","subjects":["a","a"]}"#,
            10052,
            "subject \"a\" overlaps with \"a\"",
        );
        let no_ack = "capturing all subjects requires no-ack to be true";
        check(r#"{"name":"S","subjects":[">"]}"#, 10052, no_ack);
        let api = "subjects that overlap with jetstream api require no-ack to be true";
        check(r#"{"name":"S","subjects":["$JS.API.>"]}"#, 10052, api);
        let mirror = "mirror is not supported by this server";
        check(r#"{"name":"S","mirror":{"name":"T"}}"#, 10052, mirror);
        let work_queue = "work queue retention is not supported by this server";
        check(r#"{"name":"S","retention":"workqueue"}"#, 10052, work_queue);
    }
}
