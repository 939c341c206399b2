//! Fetched mails on their way into the blob store and through the parser, side by side with the next fetch.

use tokio::task::JoinSet;

use super::error::IngestError;
use super::found::Found;
use super::settle::{Finding, What};
use crate::blob::BlobStore;
use crate::mime::{self, Summary};
use crate::store::mails::{Place, Seen};

/// Raw mail held in memory at a time, beside the one mail that goes beyond it.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Mails that are being stored and parsed.
#[derive(Debug)]
pub(super) struct Digests {
    blobs: BlobStore,
    running: JoinSet<(Place, Seen, usize, Result<What, IngestError>)>,
    bytes: usize,
    pub(super) done: Vec<Finding>,
    /// Mails that could not be stored, which is no fault of theirs, and why.
    pub(super) failed: Vec<(Place, IngestError)>,
}

impl Digests {
    pub(super) fn new(blobs: BlobStore) -> Self {
        Self {
            blobs,
            running: JoinSet::new(),
            bytes: 0,
            done: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Begins with one mail, as soon as there is room for it. Mails received before `since` are stored only.
    pub(super) async fn begin(&mut self, place: Place, seen: Seen, found: Found, raw: Vec<u8>, since: i64) {
        let size = raw.len();
        while self.bytes > 0 && self.bytes + size > MAX_BYTES {
            self.finish_one().await;
        }
        self.bytes += size;
        let blobs = self.blobs.clone();
        self.running
            .spawn(async move { (place, seen, size, digest(&blobs, found, raw, since).await) });
    }

    /// Waits for all of them.
    pub(super) async fn finish(&mut self) {
        while !self.running.is_empty() {
            self.finish_one().await;
        }
    }

    async fn finish_one(&mut self) {
        match self.running.join_next().await {
            Some(Ok((place, seen, size, result))) => {
                self.bytes -= size;
                match result {
                    Ok(what) => self.done.push(Finding { place, seen, what }),
                    Err(error) => self.failed.push((place, error)),
                }
            }
            // The runtime is going down, or the task has panicked: its mail stays discovered, its attempt counted.
            Some(Err(error)) => {
                tracing::warn!(%error, "a mail was not stored and parsed; it is fetched again");
                self.bytes = if self.running.is_empty() { 0 } else { self.bytes };
            }
            None => self.bytes = 0,
        }
    }
}

async fn digest(blobs: &BlobStore, found: Found, raw: Vec<u8>, since: i64) -> Result<What, IngestError> {
    // The raw mail first: whatever the parser makes of it, it can be parsed again.
    let blob = blobs.put(raw.clone()).await?;
    if found.received_at.as_millisecond() < since {
        return Ok(What::Old(blob));
    }
    Ok(match parse(raw, blob.sha256.clone()).await {
        Ok(mut summary) => {
            let bounce = summary.bounce.take();
            What::New(Box::new(found.announce(blob, summary)), bounce)
        }
        Err(reason) => What::Unreadable(found.unreadable(Some(blob), reason)),
    })
}

/// Parsing takes milliseconds of pure computing, and for hostile mail more, so it leaves the event loop alone.
pub(super) async fn parse(raw: Vec<u8>, sha256: String) -> Result<Summary, String> {
    match tokio::task::spawn_blocking(move || mime::parse(&raw, &sha256)).await {
        Ok(parsed) => parsed.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the parser did not finish: {error}")),
    }
}
