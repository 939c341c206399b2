//! Mirrors and sources: this stream takes messages from others on the same server, and knows how far it has come.
//!
//! It asks; the origin answers with a batch, or holds the question until there is one. What is asked for next follows
//! from what is stored, so a crash repeats questions and no messages.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Stream;
use super::followers::{FollowRequest, From};
use super::publish::Stamp;
use crate::jetstream::api;
use crate::jetstream::clock::Now;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::config::origin::StreamSource;
use crate::jetstream::info::OriginState;
use crate::jetstream::json;
use crate::jetstream::transform::Transform;
use crate::protocol::headers;
use crate::store::{Loaded, Seq};
use crate::subject::Filter;

pub(super) const SOURCE: &[u8] = b"Nats-Stream-Source";
/// An origin that is idle, or not there, is asked again after this long.
const ASK_AGAIN_NANOS: u64 = 2_000_000_000;

/// A stream that is copied from.
#[derive(Debug)]
pub(super) struct Origin {
    source: StreamSource,
    /// Tells it from other origins, also across restarts: name, filters and what they are stored as.
    key: String,
    filters: Vec<Filter>,
    transforms: Vec<Transform>,
    /// The origin's last message that was taken.
    position: Seq,
    /// Where it was at the last commit.
    stored: Seq,
    /// Messages that the origin has beyond that, as of its last answer.
    lag: u64,
    heard_at: Option<u64>,
    ask_at: u64,
}

/// How far each source of a stream was copied, by key.
pub(super) type Positions = BTreeMap<String, Seq>;

impl Origin {
    fn new(source: &StreamSource) -> Origin {
        let joined = |parts: Vec<&str>| {
            if parts.is_empty() {
                ">".to_owned()
            } else {
                parts.join("\u{c}")
            }
        };
        let transforms = &source.subject_transforms;
        let filters = match source.filter_subject.as_str() {
            "" => joined(transforms.iter().map(|it| it.src.as_str()).collect()),
            filter => filter.to_owned(),
        };
        let stored_as = joined(transforms.iter().map(|it| it.dest.as_str()).collect());
        Origin {
            key: format!("{} {filters} {stored_as}", source.name),
            filters: source.filters(),
            transforms: transforms.iter().filter_map(|it| it.parse().ok()).collect(),
            source: source.clone(),
            position: 0,
            stored: 0,
            lag: 0,
            heard_at: None,
            ask_at: 0,
        }
    }

    fn state(&self, is_mirror: bool, now: Now) -> OriginState {
        let active = self.heard_at.map(|at| now.steady.saturating_sub(at));
        OriginState {
            name: self.source.name.clone(),
            lag: self.lag,
            seq: if is_mirror { 0 } else { self.position },
            active: active.map_or(-1, |nanos| i64::try_from(nanos).unwrap_or(i64::MAX)),
            filter_subject: self.source.filter_subject.clone(),
            subject_transforms: self.source.subject_transforms.clone(),
        }
    }

    fn from(&self) -> From {
        let start = self.source.opt_start_time.as_deref().and_then(json::parse_time);
        match (self.position, start) {
            (0, Some(time)) => From::Time(time),
            (0, None) => From::After(self.source.opt_start_seq.saturating_sub(1)),
            (position, _) => From::After(position),
        }
    }

    fn rename(&self, subject: &Bytes) -> Bytes {
        let renamed = self
            .transforms
            .iter()
            .find_map(|transform| transform.apply(subject));
        renamed.map_or_else(|| subject.clone(), Bytes::from)
    }
}

/// The origins that `config` names, as far along as `known` says.
pub(super) fn of(config: &StreamConfig, last_seq: Seq, known: &Positions) -> Vec<Origin> {
    let mut origins: Vec<Origin> = config
        .mirror
        .iter()
        .chain(&config.sources)
        .map(Origin::new)
        .collect();
    for origin in &mut origins {
        origin.position = match &config.mirror {
            Some(_) => last_seq,
            None => known.get(&origin.key).copied().unwrap_or(0),
        };
        origin.stored = origin.position;
    }
    origins
}

/// What the header of a copied message says: which origin it came from, and where it was there.
pub(super) fn parse_header(block: &[u8]) -> Option<(String, Seq)> {
    let text = std::str::from_utf8(headers::value(block, SOURCE)?).ok()?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [name, seq, filters, stored_as, ..] = parts.as_slice() else {
        return None;
    };
    Some((format!("{name} {filters} {stored_as}"), seq.parse().ok()?))
}

impl Stream {
    pub(super) fn positions(&self) -> Positions {
        let origins = self.origins.iter();
        origins
            .map(|origin| (origin.key.clone(), origin.position))
            .collect()
    }

    /// What is to outlive the segments that hold the copied messages themselves.
    pub(super) fn positions_record(&self) -> Option<Vec<u8>> {
        (!self.config.sources.is_empty()).then(|| serde_json::to_vec(&self.positions()).unwrap_or_default())
    }

    /// What was copied so far is stored.
    pub(super) fn note_copied(&mut self) {
        for origin in &mut self.origins {
            origin.stored = origin.position;
        }
    }

    /// What was copied since is not stored after all, and will be asked for again.
    pub(super) fn forget_copies(&mut self) {
        for origin in &mut self.origins {
            origin.position = origin.stored;
        }
    }

    pub(super) fn reset_origins(&mut self) {
        let known = self.positions();
        self.origins = of(&self.config, self.store.index().last_seq(), &known);
    }

    pub(super) fn origin_states(&self, now: Now) -> Vec<OriginState> {
        let is_mirror = self.config.mirror.is_some();
        self.origins
            .iter()
            .map(|origin| origin.state(is_mirror, now))
            .collect()
    }

    pub(super) fn asks_at(&self) -> Option<u64> {
        self.origins.iter().map(|origin| origin.ask_at).min()
    }

    /// Asks origins for what comes next, where that is due.
    pub(super) fn ask_origins(&mut self, now: Now) {
        if self.store.poison().is_some() {
            return;
        }
        for origin in self
            .origins
            .iter_mut()
            .filter(|origin| origin.ask_at <= now.steady)
        {
            origin.ask_at = now.steady.saturating_add(ASK_AGAIN_NANOS);
            let request = FollowRequest {
                follower: self.handle.clone(),
                key: origin.key.clone(),
                from: origin.from(),
                filters: origin.filters.clone(),
            };
            let call = api::Call::Follow {
                origin: origin.source.name.clone(),
                request: Box::new(request),
            };
            self.around.internal.push(call, 0);
        }
    }

    /// An origin answered.
    pub(super) fn take_copies(&mut self, key: &str, messages: Vec<Loaded>, left: u64, now: Now) {
        let Some(at) = self.origins.iter().position(|origin| origin.key == key) else {
            return;
        };
        let got_some = !messages.is_empty();
        let mut is_refused = false;
        for message in messages {
            // An answer to a question that was asked twice.
            if message.seq <= self.origins[at].position {
                continue;
            }
            if let Err(error) = self.take_copy(at, &message, now) {
                tracing::warn!(stream = self.config.name, seq = message.seq, error = %error.description,
                    "copied message not stored; trying again");
                is_refused = true;
                break;
            }
            self.origins[at].position = message.seq;
        }
        let origin = &mut self.origins[at];
        origin.heard_at = Some(now.steady);
        origin.lag = left;
        origin.ask_at = if got_some && !is_refused {
            0
        } else {
            now.steady.saturating_add(ASK_AGAIN_NANOS)
        };
    }

    fn take_copy(
        &mut self,
        at: usize,
        message: &Loaded,
        now: Now,
    ) -> Result<(), crate::jetstream::api_error::ApiError> {
        let origin = &self.origins[at];
        let (block, payload) = message.body.split_at(message.header_len);
        let subject = origin.rename(&message.subject);
        if self.config.mirror.is_some() {
            let stamp = Stamp {
                part: None,
                time: message.time,
                seq: Some(message.seq),
            };
            return self.keep(&subject, block, payload, stamp).map(|_| ());
        }
        let (name, rest) = origin.key.split_once(' ').unwrap_or((&origin.key, "> >"));
        let own = String::from_utf8_lossy(&message.subject);
        let line = format!("Nats-Stream-Source: {name} {} {rest} {own}\r\n", message.seq);
        let block = headers::without(block, &[b"Nats-Expected-", SOURCE]);
        let block = headers::with_lines(&block, &line);
        self.store_copy(&subject, &block, payload, now)
    }
}
