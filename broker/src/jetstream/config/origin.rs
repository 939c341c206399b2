//! Where a stream's messages come from besides publishers, and under which names they are stored and sent on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{errors, is_plain_name, is_zero};
use crate::jetstream::api_error::ApiError;
use crate::jetstream::transform::{Transform, TransformError};
use crate::subject::{self, Filter};

/// A stream that is copied from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSource {
    pub name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub subject_transforms: Vec<SubjectTransform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubjectTransform {
    pub src: String,
    pub dest: String,
}

/// What is stored is also published, under another subject.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Republish {
    #[serde(skip_serializing_if = "is_zero")]
    pub src: String,
    pub dest: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub headers_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub preferred: String,
}

impl SubjectTransform {
    pub fn parse(&self) -> Result<Transform, TransformError> {
        Transform::parse(&self.src, &self.dest)
    }
}

impl StreamSource {
    /// What is taken from the origin; none means everything.
    pub fn filters(&self) -> Vec<Filter> {
        let sources = self.subject_transforms.iter().map(|transform| &transform.src);
        sources
            .chain(Some(&self.filter_subject))
            .filter(|subject| !subject.is_empty() && *subject != ">")
            .filter_map(|subject| Filter::parse(subject.as_bytes()))
            .collect()
    }

    pub(super) fn check_mirror(&self) -> Result<(), ApiError> {
        if !is_plain_name(&self.name) {
            return Err(errors::MIRROR_NAME_INVALID);
        }
        self.check_reach("mirror")?;
        if !self.subject_transforms.is_empty() && !self.filter_subject.is_empty() {
            return Err(errors::MIRROR_FILTER_AND_TRANSFORMS);
        }
        for transform in &self.subject_transforms {
            check_transform_source(transform, errors::mirror_transform_source)?;
            transform.parse().map_err(errors::mirror_transform)?;
        }
        self.check_overlap(errors::MIRROR_FILTERS_OVERLAP)
    }

    pub(super) fn check_source(&self) -> Result<(), ApiError> {
        if !is_plain_name(&self.name) {
            return Err(errors::SOURCE_NAME_INVALID);
        }
        self.check_reach("source")?;
        if !self.subject_transforms.is_empty() && !self.filter_subject.is_empty() {
            return Err(errors::SOURCE_FILTER_AND_TRANSFORMS);
        }
        for transform in &self.subject_transforms {
            check_transform_source(transform, errors::source_transform_source)?;
            transform.parse().map_err(errors::source_transform)?;
        }
        self.check_overlap(errors::SOURCE_FILTERS_OVERLAP)
    }

    /// Other servers and accounts are out of reach for a server that has one of each.
    fn check_reach(&self, what: &str) -> Result<(), ApiError> {
        let refused = |field: &str| {
            let text = format!("{what} with {field:?} is not supported by this server");
            Err(errors::stream_config(text))
        };
        if self.external.as_ref().is_some_and(super::asks_for_something) {
            return refused("external");
        }
        if self.consumer.as_ref().is_some_and(super::asks_for_something) {
            return refused("consumer");
        }
        Ok(())
    }

    fn check_overlap(&self, error: ApiError) -> Result<(), ApiError> {
        let filters = self.filters();
        let overlaps = |at: usize| filters[..at].iter().any(|other| other.overlaps(&filters[at]));
        if (1..filters.len()).any(overlaps) {
            return Err(error);
        }
        Ok(())
    }
}

fn check_transform_source(
    transform: &SubjectTransform,
    error: fn(String) -> ApiError,
) -> Result<(), ApiError> {
    let source = &transform.src;
    if source.is_empty() || subject::is_valid(source.as_bytes()) {
        return Ok(());
    }
    Err(error(format!("invalid subject {source}")))
}

pub(super) fn check_stream_transform(transform: &SubjectTransform) -> Result<(), ApiError> {
    check_transform_source(transform, errors::stream_transform_source)?;
    transform.parse().map_err(errors::stream_transform)?;
    Ok(())
}

impl Republish {
    pub(super) fn check(&self, subjects: &[Filter]) -> Result<(), ApiError> {
        let dest = Filter::parse(self.dest.as_bytes());
        if dest.is_some_and(|dest| subjects.iter().any(|subject| subject.overlaps(&dest))) {
            let text = "stream configuration for republish destination forms a cycle";
            return Err(errors::stream_config(text));
        }
        if Transform::parse(&self.src, &self.dest).is_err() {
            return Err(errors::stream_config(format!(
                "stream configuration for republish with transform from '{}' to '{}' not valid",
                self.src, self.dest
            )));
        }
        Ok(())
    }
}
