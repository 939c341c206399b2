//! What a stream's configuration may not be, and what it may become.

use super::stream::{Discard, PersistMode, Retention, Storage};
use super::{StreamConfig, errors, is_plain_name, origin};
use crate::jetstream::api_error::ApiError;
use crate::subject::Filter;

/// nats-server's bounds; times are nanoseconds.
const MAX_AGE_MIN: i64 = 100 * 1_000_000;
const DUPLICATE_WINDOW_MIN: i64 = 100 * 1_000_000;
const MARKER_TTL_MIN: i64 = 1_000_000_000;
const DESCRIPTION_MAX: usize = 4096;

fn refuse_if(is_bad: bool, text: &str) -> Result<(), ApiError> {
    if is_bad {
        Err(errors::stream_config(text))
    } else {
        Ok(())
    }
}

impl StreamConfig {
    pub(super) fn check_names(&self) -> Result<(), ApiError> {
        refuse_if(self.name.is_empty(), "stream name is required")?;
        if self.name.len() > super::NAME_MAX {
            let text = format!("stream name is too long, maximum allowed is {}", super::NAME_MAX);
            return Err(errors::stream_config(text));
        }
        if super::has_path_separators(&self.name) {
            return Err(errors::STREAM_NAME_WITH_SEPARATORS);
        }
        let is_plain = is_plain_name(&self.name);
        refuse_if(
            !is_plain,
            "stream name is invalid, can not contain spaces, '.', '*', '>'",
        )?;
        if self.description.len() > DESCRIPTION_MAX {
            let text = format!("stream description is too long, maximum allowed is {DESCRIPTION_MAX}");
            return Err(errors::stream_config(text));
        }
        if self.num_replicas > 1 {
            return Err(errors::REPLICAS);
        }
        if self.num_replicas < 0 {
            return Err(errors::REPLICAS_NEGATIVE);
        }
        let has_template = !self.template_owner.is_empty();
        refuse_if(has_template, "template_owner is not supported by this server")
    }

    /// Pedantic clients are told of what would be corrected in silence.
    pub(super) fn check_pedantically(&self) -> Result<(), ApiError> {
        for (name, limit) in [
            ("max_msgs", self.max_msgs),
            ("max_msgs_per_subject", self.max_msgs_per_subject),
            ("max_bytes", self.max_bytes),
            ("max_msg_size", self.max_msg_size),
            ("max_consumers", self.max_consumers),
        ] {
            if limit < -1 {
                return Err(errors::pedantic(format!("{name} must be set to -1")));
            }
        }
        if self.duplicate_window == 0 && (1..120_000_000_000).contains(&self.max_age) {
            return Err(errors::pedantic("duplicate window cannot be bigger than max age"));
        }
        refuse_if(
            self.allow_msg_schedules && !self.allow_rollup_hdrs,
            "message scheduling cannot be set if roll-ups are disabled",
        )?;
        refuse_if(
            self.subject_delete_marker_ttl > 0 && !self.allow_rollup_hdrs,
            "subject marker delete cannot be set if roll-ups are disabled",
        )
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        self.check_limits()?;
        self.check_features()?;
        self.check_subjects()?;
        self.check_origins()?;
        let filters = self.filters();
        self.republish
            .as_ref()
            .map_or(Ok(()), |republish| republish.check(&filters))?;
        self.subject_transform
            .as_ref()
            .map_or(Ok(()), origin::check_stream_transform)?;
        let is_preferred = self
            .placement
            .as_ref()
            .is_some_and(|place| !place.preferred.is_empty());
        refuse_if(is_preferred, "preferred server not permitted in placement")
    }

    fn check_limits(&self) -> Result<(), ApiError> {
        refuse_if(self.max_age < 0, "max age can not be negative")?;
        let age = (1..MAX_AGE_MIN).contains(&self.max_age);
        refuse_if(age, "max age needs to be >= 100ms")?;
        refuse_if(self.duplicate_window < 0, "duplicates window can not be negative")?;
        refuse_if(
            self.max_age > 0 && self.duplicate_window > self.max_age,
            "duplicates window can not be larger then max age",
        )?;
        let window = (1..DUPLICATE_WINDOW_MIN).contains(&self.duplicate_window);
        refuse_if(window, "duplicates window needs to be >= 100ms")?;
        let is_huge = self.max_msg_size > i64::from(i32::MAX);
        refuse_if(is_huge, "max message size is too large")?;
        refuse_if(
            self.allow_rollup_hdrs && self.deny_purge,
            "roll-ups require the purge permission",
        )?;
        let new_per_subject = self.discard_new_per_subject;
        refuse_if(
            new_per_subject && self.discard != Discard::New,
            "discard new per subject requires discard new policy to be set",
        )?;
        refuse_if(
            new_per_subject && self.max_msgs_per_subject <= 0,
            "discard new per subject requires max msgs per subject > 0",
        )
    }

    fn check_features(&self) -> Result<(), ApiError> {
        let is_async = self.persist_mode == PersistMode::Async;
        let in_memory = self.storage == Storage::Memory;
        refuse_if(
            is_async && in_memory,
            "async persist mode is only supported on file storage",
        )?;
        refuse_if(
            is_async && self.allow_atomic,
            "async persist mode is not supported with atomic batch publish",
        )?;
        if self.allow_msg_schedules {
            let discards_new = self.discard == Discard::New;
            refuse_if(discards_new, "message scheduling cannot use discard new")?;
        }
        if self.allow_msg_counter {
            let discards_new = self.discard == Discard::New;
            refuse_if(discards_new, "counter stream cannot use discard new")?;
            refuse_if(self.allow_msg_ttl, "counter stream cannot use message TTLs")?;
            let is_limits = self.retention == Retention::Limits;
            refuse_if(!is_limits, "counter stream can only use limits retention")?;
            let schedules = self.allow_msg_schedules;
            refuse_if(schedules, "counter stream cannot use message schedules")?;
        }
        if self.subject_delete_marker_ttl > 0 {
            let on_mirror = self.mirror.is_some();
            refuse_if(on_mirror, "subject delete markers forbidden on mirrors")?;
        }
        refuse_if(
            self.subject_delete_marker_ttl < 0,
            "subject delete marker TTL must not be negative",
        )?;
        refuse_if(
            (1..MARKER_TTL_MIN).contains(&self.subject_delete_marker_ttl),
            "subject delete marker TTL must be at least 1 second",
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
            let takes_all = subject == ">" && !self.no_ack;
            refuse_if(takes_all, "capturing all subjects requires no-ack to be true")?;
            let takes_api = api.as_ref().is_some_and(|api| api.overlaps(&filter));
            refuse_if(
                takes_api && !(subject == ">" && self.no_ack),
                "subjects that overlap with jetstream api require no-ack to be true",
            )?;
            seen.push(filter);
        }
        Ok(())
    }

    fn check_origins(&self) -> Result<(), ApiError> {
        let mut origins = self.mirror.iter().chain(&self.sources);
        let copies_itself = origins.any(|origin| origin.name == self.name);
        refuse_if(copies_itself, "stream can not copy from itself")?;
        for (at, source) in self.sources.iter().enumerate() {
            if self.mirror.is_some() {
                return Err(errors::MIRROR_WITH_SOURCES);
            }
            if self.sources[..at].contains(source) {
                return Err(errors::SOURCE_TWICE);
            }
            if self.allow_msg_schedules {
                return Err(errors::SOURCE_WITH_SCHEDULES);
            }
            source.check_source()?;
        }
        let Some(mirror) = &self.mirror else {
            return refuse_if(
                self.mirror_direct,
                "stream has no mirror but does have mirror direct",
            );
        };
        let refusals = [
            (!self.subjects.is_empty(), errors::MIRROR_WITH_SUBJECTS),
            (self.first_seq > 0, errors::MIRROR_WITH_FIRST_SEQ),
            (self.allow_msg_counter, errors::MIRROR_WITH_COUNTERS),
            (self.allow_atomic, errors::MIRROR_WITH_ATOMIC),
            (self.allow_batched, errors::MIRROR_WITH_BATCHES),
            (self.allow_msg_schedules, errors::MIRROR_WITH_SCHEDULES),
        ];
        if let Some((_, error)) = refusals.into_iter().find(|(is_bad, _)| *is_bad) {
            return Err(error);
        }
        mirror.check_mirror()
    }

    /// May `self` become `next`? Both are complete.
    pub fn check_update(&self, next: &StreamConfig) -> Result<(), ApiError> {
        let check = |is_bad: bool, text: &str| {
            let text = format!("stream configuration update can not {text}");
            refuse_if(is_bad, &text)
        };
        check(self.storage != next.storage, "change storage type")?;
        let queues = [self, next].map(|config| config.retention == Retention::WorkQueue);
        check(
            queues[0] != queues[1],
            "change retention policy to/from workqueue",
        )?;
        check(self.sealed && !next.sealed, "unseal a sealed stream")?;
        check(
            self.deny_delete && !next.deny_delete,
            "cancel deny message deletes",
        )?;
        check(self.deny_purge && !next.deny_purge, "cancel deny purge")?;
        // A mirror may be set free, but not become one or another's.
        if next.mirror.is_some() && self.mirror != next.mirror {
            return Err(errors::MIRROR_NOT_UPDATABLE);
        }
        check(
            self.allow_msg_counter != next.allow_msg_counter,
            "change message counter setting",
        )?;
        refuse_if(
            self.allow_msg_ttl && !next.allow_msg_ttl,
            "message TTL status can not be disabled",
        )?;
        refuse_if(
            self.allow_msg_schedules && !next.allow_msg_schedules,
            "message schedules can not be disabled",
        )?;
        check(self.persist_mode != next.persist_mode, "change persist mode")
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
        let name = "stream name is invalid, can not contain spaces, '.', '*', '>'";
        check(r#"{"name":"a.b"}"#, 10052, name);
        let separators = "Stream name can not contain path separators";
        check(r#"{"name":"a/b"}"#, 10128, separators);
        let replicas = "replicas > 1 not supported in non-clustered mode";
        check(r#"{"name":"S","num_replicas":3}"#, 10074, replicas);
        let age = "max age needs to be >= 100ms";
        check(r#"{"name":"S","max_age":1000}"#, 10052, age);
        check(r#"{"name":"S","subjects":["a..b"]}"#, 10052, "invalid subject");
        let overlap = "subject \"a\" overlaps with \"a\"";
        check(r#"{"name":"S","subjects":["a","a"]}"#, 10052, overlap);
        let no_ack = "capturing all subjects requires no-ack to be true";
        check(r#"{"name":"S","subjects":[">"]}"#, 10052, no_ack);
        let api = "subjects that overlap with jetstream api require no-ack to be true";
        check(r#"{"name":"S","subjects":["$JS.API.>"]}"#, 10052, api);
        let twice = "duplicate source configuration detected";
        check(
            r#"{"name":"S","sources":[{"name":"A"},{"name":"A"}]}"#,
            10140,
            twice,
        );
        let subjects = "stream mirrors can not contain subjects";
        check(
            r#"{"name":"S","subjects":["s"],"mirror":{"name":"A"}}"#,
            10034,
            subjects,
        );
        let marker = "subject delete marker TTL must be at least 1 second";
        check(
            r#"{"name":"S","subject_delete_marker_ttl":999999999}"#,
            10052,
            marker,
        );
        let pedantic = "pedantic mode: max_msgs must be set to -1";
        check(r#"{"name":"S","max_msgs":-2,"pedantic":true}"#, 10157, pedantic);
    }
}
