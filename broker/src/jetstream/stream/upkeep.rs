//! What keeps a stream's files in order: room is made, the dead are taken out, damage is looked for, and a disk that
//! failed is tried again.

use std::ops::RangeInclusive;

use super::{Seq, Stream};
use crate::jetstream::clock::Now;
use crate::jetstream::dedupe::Seen;
use crate::store::record::{ConsumerId, MessageId};
use crate::store::{Record, StoreError};

/// How often a stream that takes no writes looks whether the disk takes them again.
const HEAL_INTERVAL_NANOS: u64 = 250_000_000;
/// Between two steps of the scrub: about 10 MB/s, a hundredth of one core.
const SCRUB_STEP_NANOS: u64 = 100_000_000;
/// Between two passes of the scrub.
const SCRUB_REST_NANOS: u64 = 3_600_000_000_000;
/// Message ids that go into one record.
const IDS_PER_RECORD: usize = 10_000;

/// When upkeep is due next, on the steady clock.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    heal_at: Option<u64>,
    scrub_at: u64,
}

/// A consumer's definition and progress.
type Encoded = (Vec<u8>, Vec<u8>);

/// The whole state besides messages, encoded: what a segment opens with.
struct Head {
    positions: Option<Vec<u8>>,
    consumers: Vec<(ConsumerId, Encoded)>,
}

impl Upkeep {
    pub(super) fn wake_at(&self) -> u64 {
        self.heal_at.map_or(self.scrub_at, |at| at.min(self.scrub_at))
    }
}

impl Head {
    fn records(&self) -> Vec<Record<'_>> {
        let mut records: Vec<Record<'_>> = Vec::new();
        records.extend(self.positions.iter().map(|json| Record::Origins { json }));
        for (consumer, (definition, progress)) in &self.consumers {
            records.push(Record::Consumer {
                consumer: *consumer,
                json: definition,
            });
            records.push(Record::ConsumerState {
                consumer: *consumer,
                json: progress,
            });
        }
        records
    }
}

impl Stream {
    /// Starts a new segment when the active one is full, and gives back what holds little or nothing alive.
    pub(super) fn make_room(&mut self, now: Now) {
        if self.store.poison().is_some() {
            return;
        }
        let mut outcome = Ok(());
        if self.store.is_roll_due() {
            let head = self.head();
            outcome = self.store.roll(&head.records());
        }
        if outcome.is_ok()
            && let Some(keep_from) = self.store.first_needed_segment()
        {
            outcome = self
                .rehome_ids(&(0..=keep_from - 1))
                .and_then(|()| self.store.reclaim(keep_from));
        }
        if let Err(error) = outcome {
            self.store.poison_with(error.to_string());
            self.on_failed_write(&error.to_string(), now);
        } else if let Some(run) = self.store.worth_compacting() {
            self.compact(&run, now);
        }
    }

    /// One run at a time, so that a turn stays short.
    fn compact(&mut self, run: &RangeInclusive<u64>, now: Now) {
        let rehomed = self.rehome_ids(run).and_then(|()| self.store.sync());
        if let Err(error) = rehomed {
            self.on_failed_write(&error.to_string(), now);
        } else if let Err(error) = self.store.compact(run) {
            // Nothing was promised and nothing is lost; it is tried again when the next segment is full.
            tracing::warn!(stream = self.config.name, %error, "segments not compacted");
            if self.store.poison().is_some() {
                self.on_failed_write(&error.to_string(), now);
            }
        }
    }

    /// Message ids still within the window move to the active segment before their own goes.
    fn rehome_ids(&mut self, from: &RangeInclusive<u64>) -> Result<(), StoreError> {
        let moved = self.dedupe.rehome(from, self.store.active_segment());
        moved
            .chunks(IDS_PER_RECORD)
            .try_for_each(|ids| self.store.append(&ids_record(ids)))
    }

    fn head(&self) -> Head {
        let consumers = self.consumers.values();
        Head {
            positions: self.positions_record(),
            consumers: consumers
                .map(|consumer| (consumer.id, consumer.to_json()))
                .collect(),
        }
    }

    /// Nobody was told of what could not be written, so it is as if it had not happened; the disk is tried again soon.
    pub(super) fn on_failed_write(&mut self, reason: &str, now: Now) {
        if self.upkeep.heal_at.is_none() {
            tracing::error!(
                stream = self.config.name,
                reason,
                "stream takes no writes until the disk does"
            );
            self.upkeep.heal_at = Some(now.steady.saturating_add(HEAL_INTERVAL_NANOS));
        }
        let visible = self.visible;
        let consumers = &mut self.consumers;
        self.store.roll_back(visible, |seq, subject| {
            super::messages::tell(consumers, seq, subject);
        });
        self.dedupe.forget_after(visible);
        self.unwanted.clear();
        self.schedules.undo();
        if self.config.mirror.is_some() {
            // The origin gave these sequences, and will give them to the same messages again.
            self.store.reuse_after(visible);
        }
        self.forget_copies();
    }

    /// Takes writes again once the disk does.
    pub(super) fn heal_if_due(&mut self, now: Now) {
        if self.upkeep.heal_at.is_none_or(|at| at > now.steady) {
            return;
        }
        // Ids that went to the failed segment may not have got there.
        let active = self.store.active_segment();
        let ids = self.dedupe.rehome(&(active..=u64::MAX), active + 1);
        let head = self.head();
        let mut records = head.records();
        records.extend(ids.chunks(IDS_PER_RECORD).map(ids_record));
        match self.store.heal(&records) {
            Ok(()) => {
                self.upkeep.heal_at = None;
                tracing::warn!(stream = self.config.name, "stream takes writes again");
            }
            Err(error) => {
                self.upkeep.heal_at = Some(now.steady.saturating_add(HEAL_INTERVAL_NANOS));
                tracing::debug!(stream = self.config.name, %error, "disk still refuses");
            }
        }
    }

    /// Looks at the next stretch of the log for damage that nobody has come upon yet.
    pub(super) fn scrub_if_due(&mut self, now: Now) {
        if self.upkeep.scrub_at > now.steady {
            return;
        }
        let mut found = Vec::new();
        let goes_on = self.store.scrub(&mut found);
        for damage in &found {
            let (segment, offset, bytes) = (damage.segment, damage.offset, damage.bytes);
            let lost: Vec<RangeInclusive<Seq>> = damage.lost.clone();
            tracing::error!(
                stream = self.config.name,
                segment,
                offset,
                bytes,
                ?lost,
                "log is damaged; the rest is served"
            );
        }
        if let Err(error) = &goes_on {
            tracing::warn!(stream = self.config.name, %error, "scrub could not read");
        }
        let pause = match goes_on {
            Ok(true) => SCRUB_STEP_NANOS,
            Ok(false) | Err(_) => SCRUB_REST_NANOS,
        };
        self.upkeep.scrub_at = now.steady.saturating_add(pause);
    }
}

fn ids_record(ids: &[Seen]) -> Record<'_> {
    let ids = ids.iter().map(|seen| MessageId {
        seq: seen.seq,
        time: seen.time,
        id: &seen.id,
    });
    Record::MessageIds(ids.collect())
}
