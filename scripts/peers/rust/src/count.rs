//! The job, what is done with it, and the count that the handler keeps: the same for every peer, and as ours.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Failed, keys};

/// Handlers are free functions in most of the peers.
pub static COUNT: OnceLock<Count> = OnceLock::new();

/// As much as ours carries.
const TEXT: usize = 200;
/// How often the count is looked at, and near the end.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_CLOSELY: Duration = Duration::from_millis(2);
/// When nothing has moved for so long, waiting does not mend it.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, awa_macro::JobArgs)]
pub struct Parcel {
    pub number: u64,
    pub text: String,
}

/// The derive names its trait by the path of the facade crate.
use ::awa as awa_macro;

impl Parcel {
    pub fn new(number: usize) -> Self {
        Self {
            number: number as u64,
            text: "x".repeat(TEXT),
        }
    }

    pub fn many(messages: usize) -> impl Iterator<Item = Self> {
        (0..messages).map(Self::new)
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Work {
    Noop,
    Millisecond,
}

#[derive(Debug)]
pub struct Count {
    work: Work,
    parcels: Vec<AtomicU32>,
    handled: AtomicU64,
}

impl Count {
    pub fn new(messages: usize, work: Work) -> Self {
        Self {
            work,
            parcels: (0..messages).map(|_| AtomicU32::new(0)).collect(),
            handled: AtomicU64::new(0),
        }
    }

    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    pub fn lost(&self) -> usize {
        let untouched = |times: &&AtomicU32| times.load(Ordering::Acquire) == 0;
        self.parcels.iter().filter(untouched).count()
    }

    pub fn doubled(&self) -> u64 {
        let beyond = |times: &AtomicU32| u64::from(times.load(Ordering::Acquire).saturating_sub(1));
        self.parcels.iter().map(beyond).sum()
    }
}

/// What every handler does.
pub async fn handle(number: u64) {
    let Some(count) = COUNT.get() else { return };
    if !keys::is_new(number).await {
        return;
    }
    if let Some(times) = count.parcels.get(number as usize) {
        times.fetch_add(1, Ordering::AcqRel);
    }
    count.handled.fetch_add(1, Ordering::AcqRel);
    if matches!(count.work, Work::Millisecond) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns once the handler was called for all, and `is_settled` says that the queue has written so.
pub async fn drained(mut is_settled: impl AsyncFnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let count = COUNT.get().ok_or("nothing is counted")?;
    let messages = count.parcels.len() as u64;
    let mut moved = (Instant::now(), 0);
    loop {
        let handled = count.handled();
        if handled >= messages && is_settled().await? {
            return Ok(());
        }
        if handled != moved.1 {
            moved = (Instant::now(), handled);
        } else if moved.0.elapsed() > STUCK {
            return Err(format!("stuck with {handled} of {messages} handled").into());
        }
        let near = handled + messages / 20 >= messages;
        tokio::time::sleep(if near { LOOK_CLOSELY } else { LOOK }).await;
    }
}
