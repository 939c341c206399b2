//! `$JS.API.>`: which request a subject names, and those about all streams. One thread takes them in order.

mod subjects;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::advisory::{self, Change, Event};
use super::answer::{self, Page};
use super::api_error::{self, ApiError};
use super::config::StreamConfig;
use super::handle::{Snapshot, StreamHandle};
use super::info::StreamInfo;
use super::stream::{Command, FollowRequest, StreamRequest};
use super::{Shared, json};
use crate::protocol::info::API_LEVEL;
use crate::router::{Message, Wakes};
use crate::subject::{Filter, tokens};

/// nats-server's page sizes.
const NAMES_PER_PAGE: usize = 1024;
const INFOS_PER_PAGE: usize = 256;

/// What the API thread is asked.
#[derive(Debug)]
pub enum Call {
    Request(Request),
    /// The server's own: to be published, and stored if a stream listens for it.
    Publish {
        subject: Bytes,
        header_len: usize,
        body: Bytes,
    },
    /// A stream asks the one it copies from for what comes next.
    Follow {
        origin: String,
        request: Box<FollowRequest>,
    },
}

/// A request as it was published.
#[derive(Debug)]
pub struct Request {
    pub subject: Bytes,
    pub reply: Bytes,
    pub body: Bytes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListRequest {
    offset: usize,
    subject: String,
}

#[derive(Serialize)]
struct Names {
    /// Go says null where there are none.
    streams: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Infos {
    streams: Vec<StreamInfo>,
}

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    info: StreamInfo,
    did_create: bool,
}

#[derive(Serialize)]
struct Account {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    streams: usize,
    consumers: usize,
    limits: BTreeMap<&'static str, serde_json::Value>,
    api: AccountApi,
}

#[derive(Serialize)]
struct AccountApi {
    level: u32,
    total: u64,
    errors: u64,
}

/// Answers requests until the inbox closes.
pub fn run(shared: &Weak<Shared>, inbox: &super::inbox::Inbox<Call>) {
    let mut batch = Vec::new();
    while inbox.take(&mut batch, None) {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        for call in batch.drain(..) {
            match call {
                // One that is not there, or not yet, is asked again.
                Call::Follow { origin, request } => {
                    if let Some(origin) = shared.find(&origin) {
                        origin.inbox().push(Command::Follow(request), 0);
                    }
                }
                Call::Request(request) => shared.answer(&request),
                Call::Publish {
                    subject,
                    header_len,
                    body,
                } => shared.publish(subject, header_len, body),
            }
        }
    }
}

impl Shared {
    /// A subject that names no request gets no answer, as from nats-server.
    fn answer(self: &Arc<Self>, call: &Request) {
        let text: Vec<&str> = tokens(&call.subject)
            .skip(2)
            .filter_map(|token| std::str::from_utf8(token).ok())
            .collect();
        let json = match text.as_slice() {
            ["INFO"] => self.encode("account_info", &Ok(self.account())),
            ["STREAM", "CREATE", name] => {
                self.encode("stream_create", &self.create_request(name, &call.body))
            }
            ["STREAM", "NAMES"] => self.encode("stream_names", &self.names(&call.body)),
            ["STREAM", "LIST"] => self.encode("stream_list", &self.list(&call.body)),
            ["STREAM", "UPDATE", name] => return self.update(name, call),
            ["STREAM", "DELETE", name] => return self.delete(name, call),
            rest => return self.forward(rest, call),
        };
        self.respond(&call.reply, json);
    }

    fn publish(&self, subject: Bytes, header_len: usize, body: Bytes) {
        let message = Message {
            subject: &subject,
            reply: b"",
            header_len,
            body: &body,
            backing: &body,
        };
        self.around
            .router
            .publish(&subject, &message, &mut Wakes::default());
        if let Some(stream) = self.capturing(&subject) {
            let weight = body.len();
            let reply = Bytes::new();
            stream.inbox().push(
                Command::Publish {
                    subject,
                    reply,
                    header_len,
                    body,
                },
                weight,
            );
        }
    }

    fn tell(&self, event: Event) {
        self.publish(event.subject.into(), 0, event.body.into());
    }

    fn respond(&self, reply: &[u8], json: Vec<u8>) {
        let body = Bytes::from(json);
        let message = Message {
            subject: reply,
            reply: b"",
            header_len: 0,
            body: &body,
            backing: &body,
        };
        self.around.router.publish(reply, &message, &mut Wakes::default());
    }

    fn encode<T: Serialize>(&self, kind: &str, outcome: &Result<T, ApiError>) -> Vec<u8> {
        answer::encode(kind, outcome, &self.around.api_errors)
    }

    fn forward(&self, named: &[&str], call: &Request) {
        let Some((stream, kind, request)) = subjects::stream_request(named) else {
            return;
        };
        let handle = self.find(stream).ok_or(api_error::STREAM_NOT_FOUND);
        let allowed = handle.and_then(|handle| match &request {
            StreamRequest::ConsumerCreate { name, .. } => self
                .may_create_consumer(&handle, name.as_deref())
                .map(|()| handle),
            _ => Ok(handle),
        });
        match allowed {
            Ok(handle) => send(&handle, request, call),
            Err(error) => self.respond(&call.reply, self.encode(kind, &Err::<(), _>(error))),
        }
    }

    fn account(&self) -> Account {
        let snapshots: Vec<_> = self.handles().iter().map(StreamHandle::snapshot).collect();
        let bytes = |limit: Option<u64>| limit.map_or((-1).into(), serde_json::Value::from);
        let count = |limit: Option<usize>| limit.map_or((-1).into(), serde_json::Value::from);
        let own = &self.limits;
        let mut limits: BTreeMap<_, serde_json::Value> = [
            "max_ack_pending",
            "memory_max_stream_bytes",
            "storage_max_stream_bytes",
        ]
        .map(|name| (name, (-1).into()))
        .into();
        limits.insert("max_memory", bytes(own.max_memory));
        limits.insert("max_storage", bytes(own.max_storage));
        limits.insert("max_streams", count(own.max_streams));
        limits.insert("max_consumers", count(own.max_consumers));
        limits.insert("max_bytes_required", false.into());
        Account {
            memory: snapshots.iter().map(Snapshot::memory_bytes).sum(),
            storage: snapshots.iter().map(Snapshot::storage_bytes).sum(),
            reserved_memory: 0,
            reserved_storage: 0,
            streams: snapshots.len(),
            consumers: snapshots.iter().map(|stream| stream.consumers).sum(),
            limits,
            api: AccountApi {
                level: API_LEVEL,
                // Without this one, as nats-server counts.
                total: self.api_total().saturating_sub(1),
                errors: self.around.api_errors.load(Ordering::Relaxed),
            },
        }
    }

    fn create_request(self: &Arc<Self>, name: &str, body: &[u8]) -> Result<Created, ApiError> {
        let config: StreamConfig = match body {
            [] => StreamConfig::default(),
            body => json::decode(body)?,
        };
        if config.name != name {
            return Err(api_error::STREAM_NAME_MISMATCH);
        }
        let config = config.complete()?;
        if config.sealed {
            let text = "stream configuration for create can not be sealed";
            return Err(api_error::stream_config(text));
        }
        let handle = match self.find(name) {
            Some(existing) if describe(&existing).is_some_and(|info| same_config(&info, &config)) => existing,
            Some(_) => return Err(api_error::STREAM_NAME_IN_USE),
            None => {
                self.may_create_stream()?;
                self.check_overlap(&config)?;
                let created = self.create(&config);
                let handle = created.map_err(|error| api_error::stream_create(error.to_string()))?;
                self.tell(advisory::on_stream(
                    name,
                    Change::Created,
                    self.around.clock.now().wall,
                ));
                handle
            }
        };
        let mut info = describe(&handle).ok_or(api_error::STREAM_NOT_FOUND)?;
        info.cluster = None;
        Ok(Created {
            info,
            did_create: true,
        })
    }

    fn update(&self, name: &str, call: &Request) {
        let outcome = self.check_update(name, &call.body);
        let (handle, config) = match outcome {
            Ok(accepted) => accepted,
            Err(error) => {
                let refused: Result<(), _> = Err(error);
                return self.respond(&call.reply, self.encode("stream_update", &refused));
            }
        };
        let (done, result) = sync_channel(1);
        let (is_registered, registered) = sync_channel(0);
        let filters = config.filters();
        send(
            &handle,
            StreamRequest::Update {
                config: Box::new(config),
                done,
                registered,
            },
            call,
        );
        if result.recv() == Ok(true) {
            self.set_interest(&handle, &filters);
        }
        drop(is_registered);
    }

    fn check_update(&self, name: &str, body: &[u8]) -> Result<(StreamHandle, StreamConfig), ApiError> {
        let config: StreamConfig = json::decode(body)?;
        if config.name != name {
            return Err(api_error::STREAM_NAME_MISMATCH);
        }
        let config = config.complete()?;
        let handle = self.find(name).ok_or(api_error::STREAM_NOT_FOUND)?;
        self.check_overlap(&config)?;
        Ok((handle, config))
    }

    fn delete(&self, name: &str, call: &Request) {
        let Some(handle) = self.forget(name) else {
            let error: Result<(), _> = Err(api_error::STREAM_NOT_FOUND);
            return self.respond(&call.reply, self.encode("stream_delete", &error));
        };
        let (done, result) = sync_channel(1);
        send(&handle, StreamRequest::Delete { done }, call);
        // Waited for, so that a stream of the same name can be created right after.
        if result.recv().is_err() {
            tracing::error!(stream = name, "the stream's thread ended before it was deleted");
        }
        self.tell(advisory::on_stream(
            name,
            Change::Deleted,
            self.around.clock.now().wall,
        ));
    }

    fn names(&self, body: &[u8]) -> Result<Page<Names>, ApiError> {
        let request: ListRequest = json::decode_optional(body)?;
        let all = self
            .listed(&request.subject)?
            .iter()
            .map(|handle| handle.name().to_owned())
            .collect();
        let (total, names) = answer::page(all, request.offset, NAMES_PER_PAGE);
        let streams = Some(names).filter(|names: &Vec<String>| !names.is_empty());
        Ok(Page {
            total,
            offset: request.offset,
            limit: NAMES_PER_PAGE,
            items: Names { streams },
        })
    }

    fn list(&self, body: &[u8]) -> Result<Page<Infos>, ApiError> {
        let request: ListRequest = json::decode_optional(body)?;
        let (total, page) = answer::page(self.listed(&request.subject)?, request.offset, INFOS_PER_PAGE);
        let streams = page.iter().filter_map(describe).collect();
        Ok(Page {
            total,
            offset: request.offset,
            limit: INFOS_PER_PAGE,
            items: Infos { streams },
        })
    }

    /// All streams, or those with a subject that overlaps `subject`; by name.
    fn listed(&self, subject: &str) -> Result<Vec<StreamHandle>, ApiError> {
        if subject.is_empty() {
            return Ok(self.handles());
        }
        let filter = Filter::parse(subject.as_bytes()).ok_or(api_error::BAD_REQUEST)?;
        Ok(self.handles_overlapping(&filter))
    }
}

/// The stream's own thread tells; `None` if it ended.
fn describe(handle: &StreamHandle) -> Option<StreamInfo> {
    let (answer, info) = sync_channel(1);
    handle.inbox().push(Command::Describe(answer), 0);
    info.recv().ok()
}

/// The server's own metadata is no part of what a client configured.
fn same_config(info: &StreamInfo, config: &StreamConfig) -> bool {
    let mut existing = info.config.clone();
    existing.metadata.retain(|key, _| !key.starts_with("_nats."));
    existing == *config
}

fn send(handle: &StreamHandle, request: StreamRequest, call: &Request) {
    let command = Command::Request {
        request,
        reply: call.reply.clone(),
        body: call.body.clone(),
    };
    handle.inbox().push(command, call.body.len());
}
