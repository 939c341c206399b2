//! A stream comes up from its directory: metadata, log, consumers, message ids.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::batch::Batches;
use super::changes::Transforms;
use super::consumers::Definition;
use super::expiry::{Expiry, Ttl};
use super::origins::{self, Positions};
use super::upkeep::Upkeep;
use super::{Stream, Surroundings, schedules};
use crate::jetstream::clock::Now;
use crate::jetstream::config::{Storage, StreamConfig};
use crate::jetstream::consumer::{Consumer, Recovered};
use crate::jetstream::dedupe::Dedupe;
use crate::jetstream::handle::StreamHandle;
use crate::protocol::headers;
use crate::router::Wakes;
use crate::store::accounting::Accounting;
use crate::store::folder::{self, Folder};
use crate::store::record::{ConsumerId, MessageId};
use crate::store::{Nanos, Record, Recovery, Seq, StoreError, StoredMessage, StreamStore};

pub const META_FILE: &str = "meta.json";
const META_FORMAT: u32 = 1;

/// `meta.json`: what a stream is, besides what is in its log.
#[derive(Debug, Serialize, Deserialize)]
pub struct StreamMeta {
    format: u32,
    pub created: Nanos,
    pub config: StreamConfig,
}

/// What the log says about consumers and message ids, gathered record by record.
#[derive(Default)]
struct Gathered {
    consumers: BTreeMap<ConsumerId, (Definition, Recovered)>,
    next_consumer: ConsumerId,
    dedupe: Dedupe,
    expiry: Expiry,
    schedules: schedules::Logged,
    /// How far each source was copied, if the stream has any.
    positions: Option<Positions>,
    /// Done again at the start, in case the crash came before what they remove was gone.
    roll_ups: Vec<(Seq, Option<Bytes>)>,
}

impl StreamMeta {
    pub fn new(config: &StreamConfig, created: Nanos) -> StreamMeta {
        StreamMeta {
            format: META_FORMAT,
            created,
            config: config.clone(),
        }
    }

    pub fn write(&self, folder: &dyn Folder) -> Result<(), StoreError> {
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        folder::replace(folder, META_FILE, &json)
    }

    pub fn read(folder: &dyn Folder) -> Result<StreamMeta, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = folder.path(META_FILE);
        let json = folder::read(folder, META_FILE)?;
        let unreadable = |error: serde_json::Error| StoreError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        };
        // The format first: a newer one may have fields that would be refused here.
        let Format { format } = serde_json::from_slice(&json).map_err(unreadable)?;
        if format > META_FORMAT {
            return Err(StoreError::NewerFormat {
                path,
                found: format,
                supported: META_FORMAT,
            });
        }
        serde_json::from_slice(&json).map_err(unreadable)
    }
}

impl Gathered {
    fn on_record(&mut self, record: &Record<'_>, segment: u64) {
        match record {
            Record::Message(message) => self.on_message(message, segment),
            Record::Origins { json } => {
                if let (Some(positions), Ok(known)) = (&mut self.positions, serde_json::from_slice(json)) {
                    *positions = known;
                }
            }
            Record::MessageIds(ids) => {
                for MessageId { seq, time, id } in ids {
                    self.dedupe.insert(id, *seq, *time, segment);
                }
            }
            Record::Consumer { consumer, json } => {
                self.next_consumer = self.next_consumer.max(consumer + 1);
                self.on_consumer(*consumer, json);
            }
            Record::ConsumerState { consumer, json } => {
                if let (Some((_, recovered)), Ok(state)) =
                    (self.consumers.get_mut(consumer), serde_json::from_slice(json))
                {
                    recovered.on_state(state);
                }
            }
            Record::ConsumerGone { consumer } => drop(self.consumers.remove(consumer)),
            Record::Delivered { consumer, deliveries } => {
                if let Some((definition, recovered)) = self.consumers.get_mut(consumer) {
                    for delivery in deliveries {
                        recovered.on_delivered(delivery, definition.config.ack_policy);
                    }
                }
            }
            Record::Settled { consumer, seqs } => {
                if let Some((_, recovered)) = self.consumers.get_mut(consumer) {
                    seqs.iter().for_each(|&seq| recovered.on_settled(seq));
                }
            }
            Record::Removed(_)
            | Record::Trimmed { .. }
            | Record::StreamState { .. }
            | Record::WholeBatches(_) => {}
        }
    }

    /// The checksum was right, so a definition that is not understood is our own mistake; it is not passed over.
    fn on_consumer(&mut self, id: ConsumerId, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(definition) => {
                let known = self.consumers.remove(&id);
                let recovered = known.map(|(_, recovered)| recovered).unwrap_or_default();
                self.consumers.insert(id, (definition, recovered));
            }
            Err(error) => tracing::error!(consumer = id, %error, "consumer in the log is not understood"),
        }
    }

    fn on_message(&mut self, message: &StoredMessage<'_>, segment: u64) {
        let id = headers::value(message.headers, b"Nats-Msg-Id").filter(|id| !id.is_empty());
        if let Some(id) = id {
            self.dedupe.insert(id, message.seq, message.time, segment);
        }
        self.dedupe.set_last_id(id);
        if let Some(positions) = &mut self.positions
            && let Some((key, seq)) = origins::parse_header(message.headers)
        {
            positions.insert(key, seq);
        }
        if let Some(ttl) = Ttl::of(message.headers) {
            self.expiry.note(message.seq, message.time, ttl);
        }
        self.schedules.on_message(message);
        if let Some(scheduler) = schedules::ended(message.headers) {
            self.roll_ups.push((message.seq, Some(scheduler)));
        }
        match headers::value(message.headers, b"Nats-Rollup") {
            Some(b"sub") => {
                let subject = Bytes::copy_from_slice(message.subject);
                self.roll_ups.push((message.seq, Some(subject)));
            }
            Some(b"all") => self.roll_ups.push((message.seq, None)),
            _ => {}
        }
    }
}

/// Reads the log in `folder`, and says in ours what recovery found.
fn read_log(folder: &Arc<dyn Folder>, config: &StreamConfig) -> Result<(StreamStore, Gathered), StoreError> {
    let accounting = accounting(config.storage);
    let mut gathered = Gathered {
        positions: (!config.sources.is_empty()).then(Positions::new),
        ..Gathered::default()
    };
    let (mut store, recovery) = StreamStore::open(Arc::clone(folder), accounting, &mut |record, segment| {
        gathered.on_record(record, segment);
    })?;
    report(&config.name, &**folder, &recovery);
    if !config.allow_msg_ttl {
        gathered.expiry = Expiry::default();
    }
    if !config.allow_msg_schedules {
        gathered.schedules = schedules::Logged::default();
    }
    if store.index().last_seq() == 0 && config.first_seq > 1 {
        store.trim(config.first_seq, |_, _| {})?;
        store.sync()?;
    }
    Ok((store, gathered))
}

/// Opens the stream in `folder`.
pub fn open(folder: Arc<dyn Folder>, around: Surroundings) -> Result<(Stream, StreamHandle), StoreError> {
    let meta = StreamMeta::read(&*folder)?;
    let (mut store, mut gathered) = read_log(&folder, &meta.config)?;
    let now = around.clock.now();
    let handle = StreamHandle::new(&meta.config.name);
    let is_mirror = meta.config.mirror.is_some();
    let consumers = revive(gathered.consumers, &mut store, is_mirror, now);
    let mut ids = HashMap::new();
    for consumer in consumers.values() {
        handle.set_consumer(&consumer.name, true);
        ids.insert(consumer.name.clone(), consumer.id);
    }
    gathered.dedupe.sort();
    gathered
        .dedupe
        .expire(now.wall.saturating_sub(meta.config.duplicate_window));
    let positions = gathered.positions.unwrap_or_default();
    let origins = origins::of(&meta.config, store.index().last_seq(), &positions);
    // Whatever was over its limit when the crash came is brought back within it.
    let mut touched = HashSet::new();
    if meta.config.max_msgs_per_subject > 0 {
        touched.extend(store.index().subject_names());
    }
    let mut stream = Stream {
        visible: store.index().last_seq(),
        handle: handle.clone(),
        folder,
        created: meta.created,
        quoted_name: serde_json::Value::from(meta.config.name.as_str()).to_string(),
        transforms: Transforms::of(&meta.config),
        config: meta.config,
        dedupe: gathered.dedupe,
        expiry: gathered.expiry,
        origins,
        followers: Vec::new(),
        next_consumer: gathered.next_consumer,
        replies: Vec::new(),
        republished: Vec::new(),
        sync_owed: false,
        sync_by: None,
        touched,
        roll_ups: gathered.roll_ups,
        unwanted: Vec::new(),
        schedules: gathered.schedules.revive(&mut store, now),
        batches: Batches::new(Arc::clone(&around.open_batches)),
        upkeep: Upkeep::default(),
        #[cfg(test)]
        acks_are_late: false,
        #[cfg(test)]
        parts_count_alone: false,
        wakes: Wakes::default(),
        is_deleted: false,
        around,
        store,
        consumers,
        ids,
    };
    let known: Vec<ConsumerId> = stream.consumers.keys().copied().collect();
    for id in known {
        stream.bind_listener(id, now);
    }
    // A consumer's end may have been logged and what only it needed not yet removed.
    stream.sweep_unneeded();
    handle.show(stream.snapshot());
    Ok((stream, handle))
}

/// The consumers as they were.
fn revive(
    gathered: BTreeMap<ConsumerId, (Definition, Recovered)>,
    store: &mut StreamStore,
    is_mirror: bool,
    now: Now,
) -> BTreeMap<ConsumerId, Consumer> {
    let mut consumers = BTreeMap::new();
    for (id, (definition, recovered)) in gathered {
        let Definition { config, created } = definition;
        let filters = config.filters();
        let progress = recovered.finish(id, |range| store.index().matching_within(range, &filters));
        let consumer = Consumer::with_progress(id, config, created, progress, store.index(), now);
        // Where messages are synced later than deliveries are made, a power loss may take a message that was delivered.
        // Another one in its place would be behind the consumer. To a mirror the same one comes again.
        let delivered = consumer.progress.delivered;
        if delivered.consumer_seq > 0 && !is_mirror {
            store.skip_to(delivered.stream_seq);
        }
        consumers.insert(id, consumer);
    }
    consumers
}

fn accounting(storage: Storage) -> Accounting {
    match storage {
        Storage::File => Accounting::File,
        Storage::Memory => Accounting::Memory,
    }
}

fn report(stream: &str, folder: &dyn Folder, recovery: &Recovery) {
    if let Some((position, bytes)) = &recovery.torn {
        let file = folder.path(&folder::segment_name(position.segment));
        let (file, offset) = (file.display(), position.offset);
        tracing::warn!(stream, %file, offset, bytes, "unfinished write cut off; nothing in it was acknowledged");
    }
    for damage in &recovery.damage {
        let file = folder.path(&folder::segment_name(damage.segment));
        let (file, offset, bytes) = (file.display(), damage.offset, damage.bytes);
        tracing::error!(stream, %file, offset, bytes, lost = ?damage.lost, "log is damaged; the rest is served");
    }
}
