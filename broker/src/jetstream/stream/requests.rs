//! API requests about one stream, answered by its own thread.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Stream;
use super::commit::Reply;
use crate::jetstream::answer::{self, Success};
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::config::{Storage, StreamConfig};
use crate::jetstream::consumer::Status;
use crate::jetstream::handle::Snapshot;
use crate::jetstream::info::{Cluster, StreamInfo, StreamState};
use crate::jetstream::json;
use crate::store::{Loaded, Seq, StoreError};
use crate::subject::Filter;

/// nats-server's page size for subject details.
const SUBJECTS_PER_PAGE: usize = 100_000;

#[derive(Debug)]
pub enum StreamRequest {
    Info,
    /// `done` tells whether it was accepted.
    Update {
        config: Box<StreamConfig>,
        done: SyncSender<bool>,
        /// Ends when the stream's new subjects lead to it: nobody is told of them before.
        registered: Receiver<()>,
    },
    /// `done` is told once nothing of the stream is left.
    Delete {
        done: SyncSender<bool>,
    },
    Purge,
    MessageGet,
    MessageDelete,
    ConsumerCreate {
        name: Option<String>,
        filter: Option<String>,
        is_durable_form: bool,
    },
    ConsumerInfo(String),
    ConsumerDelete(String),
    ConsumerPause(String),
    ConsumerReset(String),
    ConsumerUnpin(String),
    ConsumerNames,
    ConsumerList,
    DirectGet {
        last_by_subject: Option<String>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InfoRequest {
    deleted_details: bool,
    subjects_filter: String,
    offset: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PurgeRequest {
    seq: Seq,
    keep: u64,
    filter: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GetRequest {
    pub seq: Seq,
    pub last_by_subj: String,
    pub next_by_subj: String,
    pub start_time: Option<String>,
    pub no_hdr: bool,
    pub batch: i64,
    pub max_bytes: i64,
    pub multi_last: Vec<String>,
    pub up_to_seq: Seq,
    pub up_to_time: Option<String>,
}

impl GetRequest {
    pub const FIELDS: [&'static str; 10] = [
        "seq",
        "last_by_subj",
        "next_by_subj",
        "start_time",
        "no_hdr",
        "batch",
        "max_bytes",
        "multi_last",
        "up_to_seq",
        "up_to_time",
    ];
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeleteRequest {
    seq: Seq,
    /// Overwriting a record in place would break the log; the space comes back with its segment.
    #[serde(rename = "no_erase")]
    _no_erase: bool,
}

#[derive(Serialize)]
struct Purged {
    success: bool,
    purged: u64,
}

#[derive(Serialize)]
struct Got {
    message: GotMessage,
}

#[derive(Serialize)]
struct GotMessage {
    subject: String,
    seq: Seq,
    #[serde(skip_serializing_if = "String::is_empty")]
    hdrs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    time: String,
}

#[derive(Serialize)]
struct PagedInfo {
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(flatten)]
    info: StreamInfo,
}

impl Stream {
    pub(super) fn request(&mut self, request: StreamRequest, reply: Bytes, body: &[u8], now: Now) {
        match request {
            StreamRequest::Info => {
                let outcome = self.info(body);
                self.answer(reply, "stream_info", &outcome, false);
            }
            StreamRequest::Update {
                config,
                done,
                registered,
            } => {
                let outcome = self.update(*config);
                // The registry waits for this; if it is gone there is nobody to tell.
                let _ = done.send(outcome.is_ok());
                if outcome.is_ok() {
                    let _ = registered.recv();
                }
                self.answer(reply, "stream_update", &outcome, true);
            }
            StreamRequest::Delete { done } => {
                let outcome = self.delete(now);
                let json = answer::encode("stream_delete", &outcome, &self.around.api_errors);
                self.reply(Reply::Api {
                    to: reply,
                    json,
                    is_promise: false,
                });
                self.commit_answers();
                let _ = done.send(outcome.is_ok());
            }
            StreamRequest::Purge => {
                let outcome = self.purge_request(body);
                self.answer(reply, "stream_purge", &outcome, true);
            }
            StreamRequest::MessageGet => {
                let outcome = self.message_get(body);
                self.answer(reply, "stream_msg_get", &outcome, false);
            }
            StreamRequest::MessageDelete => {
                let outcome = self.message_delete(body);
                self.answer(reply, "stream_msg_delete", &outcome, true);
            }
            StreamRequest::DirectGet { last_by_subject } => self.direct_get(&reply, last_by_subject, body),
            consumer_request => self.consumer_request(consumer_request, reply, body, now),
        }
    }

    pub(super) fn answer<T: Serialize>(
        &mut self,
        to: Bytes,
        kind: &str,
        outcome: &Result<T, ApiError>,
        is_change: bool,
    ) {
        let is_promise = is_change && outcome.is_ok();
        self.sync_owed |= is_promise;
        let json = answer::encode(kind, outcome, &self.around.api_errors);
        self.reply(Reply::Api { to, json, is_promise });
    }

    pub(super) fn describe(&self) -> StreamInfo {
        let state = StreamState::of(self.store.index(), self.store.damage(), self.consumers.len());
        let now = self.around.clock.now();
        let mut info = StreamInfo::of(&self.config, self.created, state, now);
        info.cluster = Some(Cluster {
            leader: self.around.server_name.to_string(),
        });
        let mut origins = self.origin_states(now);
        if self.config.mirror.is_some() {
            info.mirror = origins.pop();
        } else {
            info.sources = origins;
        }
        info
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let index = self.store.index();
        Snapshot {
            messages: index.messages(),
            bytes: index.bytes(),
            first_seq: index.first_seq(),
            last_seq: index.last_seq(),
            consumers: self.consumers.len(),
            is_poisoned: self.store.poison().is_some(),
            is_in_memory: self.config.storage == Storage::Memory,
        }
    }

    fn info(&self, body: &[u8]) -> Result<PagedInfo, ApiError> {
        let request: InfoRequest = json::decode_optional(body)?;
        let mut info = self.describe();
        let index = self.store.index();
        if request.deleted_details {
            let first = index.first_seq();
            let gaps = (first..=index.last_seq()).filter(|&seq| index.get(seq).is_none());
            info.state.deleted = Some(gaps.collect()).filter(|gaps: &Vec<Seq>| !gaps.is_empty());
        }
        let mut paged = PagedInfo {
            total: 0,
            offset: 0,
            limit: 0,
            info,
        };
        if !request.subjects_filter.is_empty() {
            let filter = Filter::parse(request.subjects_filter.as_bytes()).ok_or(api_error::BAD_REQUEST)?;
            let all: BTreeMap<String, usize> = index
                .subjects(&filter)
                .map(|(name, count)| (String::from_utf8_lossy(name).into_owned(), count))
                .collect();
            paged.total = all.len();
            paged.offset = request.offset;
            paged.limit = SUBJECTS_PER_PAGE;
            let page: BTreeMap<String, usize> = all
                .into_iter()
                .skip(request.offset)
                .take(SUBJECTS_PER_PAGE)
                .collect();
            paged.info.state.subjects = Some(page).filter(|page| !page.is_empty());
        }
        Ok(paged)
    }

    fn delete(&mut self, now: Now) -> Result<Success, ApiError> {
        self.each_consumer(now, |consumer, out| {
            consumer.end_requests(&Status::ConsumerDeleted, out);
        });
        self.is_deleted = true;
        self.folder
            .destroy()
            .map_err(StoreError::io("remove", self.folder.path("")))
            .map_err(|error| api_error::stream_delete(error.to_string()))?;
        Ok(Success { success: true })
    }

    fn commit_answers(&mut self) {
        for reply in std::mem::take(&mut self.replies) {
            self.send(reply, None);
        }
        self.wakes.flush();
    }

    fn purge_request(&mut self, body: &[u8]) -> Result<Purged, ApiError> {
        let request: PurgeRequest = json::decode_optional(body)?;
        if self.config.sealed {
            return Err(api_error::SEALED);
        }
        if self.config.deny_purge {
            return Err(api_error::stream_purge("stream purge not permitted"));
        }
        if request.seq > 0 && request.keep > 0 {
            return Err(api_error::BAD_REQUEST);
        }
        let filter = match request.filter.as_str() {
            "" | ">" => None,
            text => Some(Filter::parse(text.as_bytes()).ok_or(api_error::BAD_REQUEST)?),
        };
        let below = if request.seq > 0 { request.seq } else { Seq::MAX };
        let below = below.min(self.store.index().last_seq() + 1);
        let purged = self.purge(filter.as_ref(), below, request.keep);
        let purged = purged.map_err(|error| api_error::stream_purge(error.to_string()))?;
        Ok(Purged {
            success: true,
            purged,
        })
    }

    fn message_get(&mut self, body: &[u8]) -> Result<Got, ApiError> {
        let request: GetRequest = json::decode_optional(body)?;
        let until = self.store.index().last_seq();
        let message = self.find(&request, until)?.ok_or(api_error::NO_MESSAGE)?;
        let (headers, payload) = message.body.split_at(message.header_len);
        let headers = if request.no_hdr { &[] } else { headers };
        Ok(Got {
            message: GotMessage {
                subject: String::from_utf8_lossy(&message.subject).into_owned(),
                seq: message.seq,
                hdrs: STANDARD.encode(headers),
                data: STANDARD.encode(payload),
                time: json::time(message.time),
            },
        })
    }

    /// The message that a request names, of those up to `until`; `BAD_REQUEST` unless it names one in exactly one way.
    pub(super) fn find(&mut self, request: &GetRequest, until: Seq) -> Result<Option<Loaded>, ApiError> {
        let is_batch = request.batch > 1
            || request.max_bytes > 0
            || !request.multi_last.is_empty()
            || request.up_to_seq > 0
            || request.up_to_time.is_some();
        if is_batch {
            return Err(api_error::BAD_REQUEST);
        }
        let index = self.store.index();
        let filter = |text: &str| Filter::parse(text.as_bytes()).ok_or(api_error::BAD_REQUEST);
        let start = match request.start_time.as_deref() {
            Some(text) => {
                let time = json::parse_time(text).ok_or(api_error::BAD_REQUEST)?;
                Some(index.first_since(time).map_or(Seq::MAX, |entry| entry.seq))
            }
            None => None,
        };
        let seq = match (
            request.last_by_subj.as_str(),
            request.next_by_subj.as_str(),
            request.seq,
            start,
        ) {
            ("", "", seq @ 1.., None) => index.get(seq).map(|entry| entry.seq),
            ("", "", 0, Some(start)) => index.next(start).map(|entry| entry.seq),
            (last, "", 0, None) if !last.is_empty() => index.last_matching(until, &[filter(last)?]),
            ("", next, seq, start) if !next.is_empty() => index
                .next_matching(start.unwrap_or(seq), &[filter(next)?])
                .map(|entry| entry.seq),
            _ => return Err(api_error::BAD_REQUEST),
        };
        let Some(seq) = seq.filter(|&seq| seq <= until) else {
            return Ok(None);
        };
        self.store
            .load(seq)
            .map_err(|error| api_error::store_failed(error.to_string()))
    }

    fn message_delete(&mut self, body: &[u8]) -> Result<Success, ApiError> {
        let request: DeleteRequest = json::decode(body)?;
        if self.config.sealed {
            return Err(api_error::SEALED);
        }
        if self.config.deny_delete {
            return Err(api_error::message_delete("message delete not permitted"));
        }
        match self.remove(&[request.seq]) {
            Ok(0) => Err(api_error::message_delete("no message found")),
            Ok(_) => Ok(Success { success: true }),
            Err(error) => Err(api_error::message_delete(error.to_string())),
        }
    }
}
