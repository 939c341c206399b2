//! JetStream: streams that keep what is published, consumers that hand it out until it is acknowledged.
//!
//! Layout: [`JetStream`] is the handle that sessions use; [`registry`] knows all streams; [`api`] answers
//! `$JS.API.>`; each [`stream`] lives on a thread of its own with its [`consumer`]s; [`config`] is what both are told;
//! `ack`, `dedupe` and `deadlines` are pure leaves.

mod ack;
mod advisory;
mod allowance;
mod amount;
mod answer;
mod api;
mod api_error;
mod clock;
mod config;
mod consumer;
mod deadlines;
mod dedupe;
mod go_duration;
mod handle;
mod inbox;
mod info;
mod json;
pub mod names;
mod registry;
mod schedule;
mod stream;
mod transform;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use thiserror::Error;

use crate::config::{AccountLimits, SyncPolicy};
use crate::router::{Message, Router};
use crate::store::StoreError;
use crate::subject::tokens;
use clock::Clock;
use inbox::Inbox;
use registry::Registry;
use stream::{Command, StreamRequest, Surroundings};

pub use handle::StreamHandle;
pub use info::StreamDetail;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("store directory {path} can not be written: {source}")]
    NotWritable { path: PathBuf, source: StoreError },
    #[error("store directory {path} is in use by another server")]
    Locked { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The handle that sessions and monitoring use.
#[derive(Debug, Clone)]
pub struct JetStream(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    root: PathBuf,
    around: Surroundings,
    registry: RwLock<Registry>,
    generation: AtomicU64,
    /// What the account may keep.
    limits: AccountLimits,
    api: Arc<Inbox<api::Call>>,
    api_calls: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held as long as the streams are: a second server on the same directory would destroy them.
    lock: Mutex<Option<File>>,
}

/// What JetStream does with messages on one subject.
#[derive(Debug, Default, Clone)]
pub enum Ingress {
    #[default]
    None,
    Store(StreamHandle),
    Api,
    Pull {
        stream: StreamHandle,
        consumer: String,
    },
    Ack {
        stream: StreamHandle,
        consumer: String,
        stream_seq: u64,
    },
    FlowControl {
        stream: StreamHandle,
        consumer: String,
    },
    DirectGet {
        stream: StreamHandle,
        last_by_subject: Option<String>,
    },
}

/// What came of an offer.
#[derive(Debug, Default)]
pub struct Accepted {
    pub is_taken: bool,
    /// The stream, if it has more waiting than it should.
    pub congested: Option<StreamHandle>,
}

impl JetStream {
    /// Opens everything under `root`. Blocks on the disk.
    pub fn open(
        root: &Path,
        sync: SyncPolicy,
        router: Router,
        server_name: &str,
        account: &str,
        limits: AccountLimits,
    ) -> Result<JetStream, OpenError> {
        let lock = registry::claim(root)?;
        let calls = Arc::new(Inbox::default());
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            around: Surroundings {
                router,
                sync,
                server_name: server_name.into(),
                account: account.into(),
                clock: Clock::start(),
                internal: Arc::clone(&calls),
                api_errors: Arc::default(),
                open_batches: Arc::default(),
            },
            registry: RwLock::default(),
            generation: AtomicU64::new(0),
            limits,
            api: calls,
            api_calls: AtomicU64::new(0),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        let jetstream = JetStream(Arc::clone(&shared));
        if let Err(error) = shared.open_all() {
            jetstream.close();
            return Err(error.into());
        }
        let (inbox, weak) = (Arc::clone(&shared.api), Arc::downgrade(&shared));
        let thread = thread::Builder::new()
            .name("jetstream-api".into())
            .spawn(move || api::run(&weak, &inbox));
        let thread = thread.map_err(StoreError::io("start the API thread for", root))?;
        shared
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(jetstream)
    }

    /// Takes in what is queued, syncs it and ends every thread. Blocks until then.
    pub fn close(&self) {
        self.close_inboxes();
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a JetStream thread panicked");
            }
        }
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Lets every thread end once it has taken in what is queued, without waiting for that.
    pub fn close_inboxes(&self) {
        self.0.api.close();
        for handle in self.0.handles() {
            handle.inbox().close();
        }
    }

    /// Moves the clocks of every stream ahead: what is due within `by` is due now.
    #[cfg(feature = "testing")]
    pub fn advance(&self, by: std::time::Duration) {
        self.0.around.clock.advance(by);
        for handle in self.0.handles() {
            // Whoever sleeps until some time looks at the clock again.
            let (answer, _) = std::sync::mpsc::sync_channel(1);
            handle.inbox().push(Command::Describe(answer), 0);
        }
    }

    /// Changes whenever an [`Ingress`] found earlier may be out of date.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    pub fn streams(&self) -> Vec<StreamHandle> {
        self.0.handles()
    }

    /// Counts the requests taken since the start.
    pub fn api_calls(&self) -> u64 {
        self.0.api_total()
    }

    /// Counts those of them that were refused.
    pub fn api_errors(&self) -> u64 {
        self.0.around.api_errors.load(Ordering::Relaxed)
    }

    /// Where messages on the literal `subject` go.
    pub fn ingress(&self, subject: &[u8]) -> Ingress {
        let internal = if subject.starts_with(ack::PREFIX) {
            self.ack_ingress(subject)
        } else if subject.starts_with(consumer::FLOW_PREFIX.as_bytes()) {
            self.flow_ingress(subject)
        } else {
            subject
                .strip_prefix(b"$JS.API.")
                .map(|request| self.api_ingress(request))
        };
        internal.unwrap_or_else(|| self.0.capturing(subject).map_or(Ingress::None, Ingress::Store))
    }

    fn ack_ingress(&self, subject: &[u8]) -> Option<Ingress> {
        let ack = ack::AckSubject::parse(subject)?;
        let stream = self
            .0
            .find(ack.stream)
            .filter(|stream| stream.has_consumer(ack.consumer))?;
        Some(Ingress::Ack {
            stream,
            consumer: ack.consumer.to_owned(),
            stream_seq: ack.stream_seq,
        })
    }

    /// `$JS.FC.<stream>.<consumer>.<id>`, or with domain and account before the stream.
    fn flow_ingress(&self, subject: &[u8]) -> Option<Ingress> {
        let text = std::str::from_utf8(subject).ok()?;
        let tokens: Vec<&str> = text.split('.').collect();
        let (stream, consumer) = match tokens.as_slice() {
            [_, _, stream, consumer, _] | [_, _, _, _, stream, consumer, _, ..] => (*stream, *consumer),
            _ => return None,
        };
        let stream = self
            .0
            .find(stream)
            .filter(|stream| stream.has_consumer(consumer))?;
        let consumer = consumer.to_owned();
        Some(Ingress::FlowControl { stream, consumer })
    }

    /// Pulls and direct gets bypass the API thread. For those that lead nowhere nobody is there to respond.
    fn api_ingress(&self, request: &[u8]) -> Ingress {
        let tokens: Vec<&str> = tokens(request)
            .filter_map(|token| std::str::from_utf8(token).ok())
            .collect();
        match tokens.as_slice() {
            ["CONSUMER", "MSG", "NEXT", stream, consumer] => {
                let stream = self.0.find(stream).filter(|stream| stream.has_consumer(consumer));
                let consumer = (*consumer).to_owned();
                stream.map_or(Ingress::None, |stream| Ingress::Pull { stream, consumer })
            }
            ["DIRECT", "GET", stream, rest @ ..] => {
                let stream = self.0.find(stream).filter(StreamHandle::allows_direct);
                let last_by_subject = (!rest.is_empty()).then(|| rest.join("."));
                stream.map_or(Ingress::None, |stream| Ingress::DirectGet {
                    stream,
                    last_by_subject,
                })
            }
            _ => Ingress::Api,
        }
    }

    /// Hands a message to whoever it is for.
    pub fn offer(&self, ingress: &Ingress, message: &Message<'_>) -> Accepted {
        if matches!(ingress, Ingress::None) {
            return Accepted::default();
        }
        if let Ingress::Store(stream) = ingress
            && !self.0.has_room(stream)
        {
            self.0.refuse_publish(stream, message);
            return Accepted {
                is_taken: true,
                congested: None,
            };
        }
        let weight = message.body.len();
        let Some((stream, command)) = stream_command(ingress, message) else {
            self.0.api_calls.fetch_add(1, Ordering::Relaxed);
            let request = api::Call::Request(api::Request {
                subject: own(message, message.subject),
                reply: own(message, message.reply),
                body: own(message, &message.body[message.header_len..]),
            });
            let is_taken = self.0.api.push(request, weight);
            return Accepted {
                is_taken,
                congested: None,
            };
        };
        let is_taken = stream.inbox().push(command, weight);
        let congested = stream.is_congested().then(|| stream.clone());
        Accepted { is_taken, congested }
    }
}

/// What a stream's thread is asked, unless the message is for the API thread.
fn stream_command<'i>(ingress: &'i Ingress, message: &Message<'_>) -> Option<(&'i StreamHandle, Command)> {
    let reply = own(message, message.reply);
    let payload = || own(message, &message.body[message.header_len..]);
    match ingress {
        Ingress::None | Ingress::Api => None,
        Ingress::Store(stream) => {
            let (subject, body) = (own(message, message.subject), own(message, message.body));
            let header_len = message.header_len;
            Some((
                stream,
                Command::Publish {
                    subject,
                    reply,
                    header_len,
                    body,
                },
            ))
        }
        Ingress::Pull { stream, consumer } => {
            let (consumer, body) = (consumer.clone(), payload());
            Some((
                stream,
                Command::Pull {
                    consumer,
                    reply,
                    body,
                },
            ))
        }
        Ingress::Ack {
            stream,
            consumer,
            stream_seq,
        } => {
            let (consumer, stream_seq, payload) = (consumer.clone(), *stream_seq, payload());
            Some((
                stream,
                Command::Ack {
                    consumer,
                    stream_seq,
                    reply,
                    payload,
                },
            ))
        }
        Ingress::FlowControl { stream, consumer } => {
            let (consumer, subject) = (consumer.clone(), own(message, message.subject));
            Some((stream, Command::FlowControl { consumer, subject }))
        }
        Ingress::DirectGet {
            stream,
            last_by_subject,
        } => {
            let request = StreamRequest::DirectGet {
                last_by_subject: last_by_subject.clone(),
            };
            Some((
                stream,
                Command::Request {
                    request,
                    reply,
                    body: payload(),
                },
            ))
        }
    }
}

/// A part of the message that outlives it, without a copy.
fn own(message: &Message<'_>, part: &[u8]) -> Bytes {
    if part.is_empty() {
        Bytes::new()
    } else {
        message.backing.slice_ref(part)
    }
}

impl Shared {
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn api_total(&self) -> u64 {
        self.api_calls.load(Ordering::Relaxed)
    }
}
