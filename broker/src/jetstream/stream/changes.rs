//! A stream's configuration changes.

use bytes::Bytes;

use super::{Stream, StreamMeta};
use crate::jetstream::advisory::{self, Change};
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::config::StreamConfig;
use crate::jetstream::consumer::Consumer;
use crate::jetstream::info::StreamInfo;
use crate::jetstream::transform::Transform;
use crate::subject::Filter;

/// What the configuration says about subjects, made ready for use.
#[derive(Debug, Default)]
pub(super) struct Transforms {
    /// What a message is stored under.
    pub stored: Option<Transform>,
    /// What it is published under once more.
    pub republished: Option<Transform>,
}

impl Transforms {
    /// The configuration was checked; what can not be parsed transforms nothing.
    pub(super) fn of(config: &StreamConfig) -> Transforms {
        let parse = |source: &str, destination: &str| Transform::parse(source, destination).ok();
        Transforms {
            stored: config
                .subject_transform
                .as_ref()
                .and_then(|transform| parse(&transform.src, &transform.dest)),
            republished: config
                .republish
                .as_ref()
                .and_then(|republish| parse(&republish.src, &republish.dest)),
        }
    }
}

impl Stream {
    /// Bounds for consumers may not be drawn tighter than those that there are.
    fn check_consumers_within(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let limits = &config.consumer_limits;
        if *limits == self.config.consumer_limits {
            return Ok(());
        }
        let exceeds = |consumer: &&Consumer| {
            consumer.config.inactive_threshold > limits.inactive_threshold
                || consumer.config.max_ack_pending > limits.max_ack_pending
        };
        let names: Vec<&str> = self
            .consumers
            .values()
            .filter(exceeds)
            .map(|consumer| consumer.name.as_str())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let names = names.join(", ");
        Err(api_error::stream_config(format!(
            "change to limits violates consumers: {names}"
        )))
    }

    pub(super) fn update(&mut self, mut config: StreamConfig) -> Result<StreamInfo, ApiError> {
        self.config.check_update(&config)?;
        config.seal();
        self.check_consumers_within(&config)?;
        let meta = StreamMeta::new(&config, self.created);
        meta.write(&*self.folder)
            .map_err(|error| api_error::stream_config(error.to_string()))?;
        self.handle.set_allows_direct(config.allow_direct);
        if !config.allow_atomic {
            self.batches.clear();
        }
        self.transforms = Transforms::of(&config);
        self.config = config;
        self.reset_origins();
        self.sweep_unneeded();
        // Limits that are tighter now apply to every subject, not only to those stored to next.
        let all = Filter::parse(b">");
        let subjects = all.iter().flat_map(|all| self.store.index().subjects(all));
        let names: Vec<Bytes> = subjects.map(|(name, _)| Bytes::copy_from_slice(name)).collect();
        if self.config.max_msgs_per_subject > 0 {
            self.touched.extend(names);
        }
        let now = self.around.clock.now();
        self.tell(advisory::on_stream(&self.config.name, Change::Modified, now.wall));
        let mut info = self.describe();
        info.cluster = None;
        Ok(info)
    }
}
