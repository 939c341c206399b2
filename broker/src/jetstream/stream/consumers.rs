//! API requests about a stream's consumers.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::requests::StreamRequest;
use super::{Command, Stream};
use crate::jetstream::advisory::Change;
use crate::jetstream::answer::{self, Page, Success};
use crate::jetstream::api_error::{self, ApiError};
use crate::jetstream::clock::Now;
use crate::jetstream::config::ConsumerConfig;
use crate::jetstream::consumer::{Consumer, Outlet, Push, Status};
use crate::jetstream::info::ConsumerInfo;
use crate::jetstream::{json, names};
use crate::store::record::ConsumerId;
use crate::store::{Nanos, Record};

/// nats-server's page sizes.
const NAMES_PER_PAGE: usize = 1024;
const INFOS_PER_PAGE: usize = 256;
/// nats-server gives ephemeral consumers names of this length.
const EPHEMERAL_NAME_LEN: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    Create,
    Update,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CreateRequest {
    stream_name: String,
    config: ConsumerConfig,
    action: Action,
    pedantic: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PageRequest {
    offset: usize,
}

#[derive(Serialize)]
struct Consumers<T> {
    consumers: Vec<T>,
}

/// What a consumer's definition looks like in the log.
#[derive(Serialize, Deserialize)]
pub(super) struct Definition {
    pub config: ConsumerConfig,
    pub created: Nanos,
}

impl Consumer {
    /// Definition and progress, as the log keeps them.
    pub(super) fn to_json(&self) -> (Vec<u8>, Vec<u8>) {
        let definition = Definition {
            config: self.config.clone(),
            created: self.created,
        };
        // Neither can fail: plain structs with string keys.
        (
            serde_json::to_vec(&definition).unwrap_or_default(),
            serde_json::to_vec(&self.progress).unwrap_or_default(),
        )
    }
}

impl Stream {
    pub(super) fn consumer_request(&mut self, request: StreamRequest, reply: Bytes, body: &[u8], now: Now) {
        match request {
            StreamRequest::ConsumerCreate {
                name,
                filter,
                is_durable_form,
            } => {
                let outcome = self.create_request(name, filter.as_deref(), is_durable_form, body, now);
                self.answer(reply, "consumer_create", &outcome, true);
            }
            StreamRequest::ConsumerInfo(name) => {
                let found = self.ids.get(&name).and_then(|id| self.consumers.get(id));
                let info = found.map(|consumer| ConsumerInfo::of(&self.config.name, consumer, now));
                let outcome = info.ok_or(api_error::CONSUMER_NOT_FOUND);
                self.answer(reply, "consumer_info", &outcome, false);
            }
            StreamRequest::ConsumerDelete(name) => {
                let found = self.ids.get(&name).copied().ok_or(api_error::CONSUMER_NOT_FOUND);
                let outcome = found.map(|id| {
                    self.drop_consumer(id, now);
                    Success { success: true }
                });
                self.answer(reply, "consumer_delete", &outcome, true);
            }
            StreamRequest::ConsumerNames => {
                let outcome = self.consumer_page(body, NAMES_PER_PAGE, |consumer| consumer.name.clone());
                self.answer(reply, "consumer_names", &outcome, false);
            }
            StreamRequest::ConsumerList => {
                let stream = self.config.name.clone();
                let info = |consumer: &Consumer| ConsumerInfo::of(&stream, consumer, now);
                let outcome = self.consumer_page(body, INFOS_PER_PAGE, info);
                self.answer(reply, "consumer_list", &outcome, false);
            }
            StreamRequest::ConsumerPause(name) => {
                let outcome = self.pause_request(&name, body, now);
                self.answer(reply, "consumer_pause", &outcome, true);
            }
            StreamRequest::ConsumerUnpin(name) => {
                let outcome = self.unpin_request(&name, body);
                self.answer(reply, "consumer_unpin", &outcome, false);
            }
            StreamRequest::ConsumerReset(name) => {
                // As from nats-server, nothing at all where there is no such consumer.
                if let Some(id) = self.ids.get(&name).copied() {
                    let outcome = self.reset_request(id, body, now);
                    self.answer(reply, "consumer_reset", &outcome, true);
                }
            }
            // Everything else is answered in `requests`.
            _ => {}
        }
    }

    fn consumer_page<T>(
        &self,
        body: &[u8],
        limit: usize,
        show: impl Fn(&Consumer) -> T,
    ) -> Result<Page<Consumers<T>>, ApiError> {
        let PageRequest { offset } = json::decode_optional(body)?;
        let mut ids: Vec<(&String, &ConsumerId)> = self.ids.iter().collect();
        ids.sort();
        let all: Vec<&Consumer> = ids.iter().filter_map(|(_, id)| self.consumers.get(*id)).collect();
        let (total, page) = answer::page(all, offset, limit);
        Ok(Page {
            total,
            offset,
            limit,
            items: Consumers {
                consumers: page.into_iter().map(show).collect(),
            },
        })
    }

    fn create_request(
        &mut self,
        name: Option<String>,
        filter: Option<&str>,
        is_durable_form: bool,
        body: &[u8],
        now: Now,
    ) -> Result<ConsumerInfo, ApiError> {
        let request: CreateRequest = json::decode(body)?;
        if request.stream_name != self.config.name {
            return Err(api_error::STREAM_NAME_MISMATCH);
        }
        let mut config = request.config;
        check_subject(&config, name.as_deref(), filter, is_durable_form)?;
        if config.name.is_empty() && !is_durable_form {
            config.name = name.unwrap_or_default();
        }
        let config = config.complete(&self.config, request.pedantic)?;
        self.create_or_update(config, request.action, now)
    }

    fn create_or_update(
        &mut self,
        mut config: ConsumerConfig,
        action: Action,
        now: Now,
    ) -> Result<ConsumerInfo, ApiError> {
        // An ephemeral consumer has its name in the answer only, not in the configuration told back.
        let given_name = (!config.name.is_empty()).then(|| config.name.clone());
        self.check_queue(&config)?;
        let existing = given_name.as_ref().and_then(|name| self.ids.get(name)).copied();
        let id = match (existing, action) {
            (None, Action::Update) => return Err(api_error::CONSUMER_DOES_NOT_EXIST),
            (None, _) => {
                if usize::try_from(self.config.max_consumers).is_ok_and(|max| self.consumers.len() >= max) {
                    return Err(api_error::MAX_CONSUMERS);
                }
                let name = given_name.unwrap_or_else(|| names::random_name(EPHEMERAL_NAME_LEN));
                config.name.clone_from(&name);
                self.add_consumer(config, now)?
            }
            (Some(id), action) => {
                self.update_consumer(id, config, action, now)?;
                id
            }
        };
        let consumer = self.consumers.get(&id).ok_or(api_error::CONSUMER_NOT_FOUND)?;
        Ok(ConsumerInfo::of(&self.config.name, consumer, now))
    }

    fn add_consumer(&mut self, config: ConsumerConfig, now: Now) -> Result<ConsumerId, ApiError> {
        let id = self.next_consumer;
        let consumer = Consumer::new(id, config, now.wall, self.store.index(), now);
        self.log_consumer(&consumer)?;
        self.next_consumer += 1;
        self.handle.set_consumer(&consumer.name, true);
        self.ids.insert(consumer.name.clone(), id);
        self.consumers.insert(id, consumer);
        self.bind_listener(id, now);
        self.tell_about(id, |about| about.changed(Change::Created));
        Ok(id)
    }

    /// A push consumer gets to know who listens, from now on.
    pub(super) fn bind_listener(&mut self, id: ConsumerId, now: Now) {
        let Some(consumer) = self
            .consumers
            .get_mut(&id)
            .filter(|consumer| consumer.config.is_push())
        else {
            return;
        };
        let handle = self.handle.clone();
        let on_change = move || {
            // A stream that is closing delivers nothing any more.
            let _ = handle.inbox().push(Command::Interest { consumer: id }, 0);
        };
        let router = &self.around.router;
        consumer.push = Some(Push::new(&consumer.config, router, Arc::new(on_change)));
        consumer.on_interest(router, now.steady);
    }

    fn update_consumer(
        &mut self,
        id: ConsumerId,
        config: ConsumerConfig,
        action: Action,
        now: Now,
    ) -> Result<(), ApiError> {
        let Some(consumer) = self.consumers.get(&id) else {
            return Err(api_error::CONSUMER_NOT_FOUND);
        };
        if consumer.config == config {
            return Ok(());
        }
        if action == Action::Create {
            return Err(api_error::CONSUMER_EXISTS);
        }
        consumer.config.check_update(&config)?;
        let is_rebound = consumer.config.deliver_subject != config.deliver_subject
            || consumer.config.rate_limit_bps != config.rate_limit_bps;
        self.redefine(id, config)?;
        self.sweep_unneeded();
        if is_rebound {
            self.bind_listener(id, now);
        }
        Ok(())
    }

    fn log_consumer(&mut self, consumer: &Consumer) -> Result<(), ApiError> {
        let (definition, progress) = consumer.to_json();
        let id = consumer.id;
        self.store
            .append(&Record::Consumer {
                consumer: id,
                json: &definition,
            })
            .and_then(|()| {
                self.store.append(&Record::ConsumerState {
                    consumer: id,
                    json: &progress,
                })
            })
            .map_err(|error| api_error::consumer_create(error.to_string()))
    }

    pub(super) fn drop_consumer(&mut self, id: ConsumerId, now: Now) {
        self.tell_about(id, |about| about.changed(Change::Deleted));
        let Some(mut consumer) = self.consumers.remove(&id) else {
            return;
        };
        self.handle.set_consumer(&consumer.name, false);
        self.ids.remove(&consumer.name);
        self.log_lazily(&Record::ConsumerGone { consumer: id });
        self.sweep_unneeded();
        let mut out = Outlet {
            stream: &self.config.name,
            store: &mut self.store,
            visible: self.visible,
            router: &self.around.router,
            wakes: &mut self.wakes,
            now,
        };
        consumer.end_requests(&Status::ConsumerDeleted, &mut out);
    }
}

/// The request's subject repeats parts of the configuration, which then have to agree.
fn check_subject(
    config: &ConsumerConfig,
    name: Option<&str>,
    filter: Option<&str>,
    is_durable_form: bool,
) -> Result<(), ApiError> {
    if is_durable_form {
        return match (name, config.durable_name.as_str()) {
            (_, "") => Err(api_error::DURABLE_NAME_NOT_SET),
            (Some(name), durable) if name != durable => Err(api_error::DURABLE_NAME_MISMATCH),
            _ => Ok(()),
        };
    }
    match name {
        None if !config.durable_name.is_empty() => return Err(api_error::EPHEMERAL_WITH_DURABLE_NAME),
        Some(name) => {
            let given = [&config.name, &config.durable_name];
            if given.iter().any(|given| !given.is_empty() && *given != name) {
                return Err(api_error::DURABLE_NAME_MISMATCH);
            }
        }
        None => {}
    }
    match filter {
        Some(_) if !config.filter_subjects.is_empty() => Err(api_error::FILTERS_IN_SUBJECT),
        Some(filter) if filter != config.filter_subject => Err(api_error::FILTER_MISMATCH),
        _ => Ok(()),
    }
}
