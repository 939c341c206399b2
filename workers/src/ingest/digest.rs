//! Fetched mails on their way into the blob store and through the parser, side by side with the next fetch.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::error::IngestError;
use super::found::Found;
use super::settle::{Finding, What};
use super::watch::Policy;
use crate::blob::{BlobError, BlobStore};
use crate::messages::BlobRef;
use crate::mime::{self, Summary};
use crate::store::mails::{Place, Seen};

/// Raw mail held in memory at a time, beside the one mail that goes beyond it.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The worst mail within the caps takes a second or so; a parser that has met a mail it never ends with is left behind.
const MAX_PARSING: Duration = Duration::from_secs(60);

/// Mails that are being stored and parsed.
#[derive(Debug)]
pub(super) struct Digests {
    blobs: BlobStore,
    policy: Arc<Policy>,
    running: JoinSet<(Place, Seen, usize, Result<What, IngestError>)>,
    bytes: usize,
    pub(super) done: Vec<Finding>,
    /// Mails that could not be stored, which is no fault of theirs, and why.
    pub(super) failed: Vec<(Place, IngestError)>,
}

impl Digests {
    pub(super) fn new(blobs: BlobStore, policy: &Policy) -> Self {
        Self {
            blobs,
            policy: Arc::new(policy.clone()),
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
        let (blobs, policy) = (self.blobs.clone(), Arc::clone(&self.policy));
        self.running.spawn(async move {
            let what = digest(&blobs, found, raw, since, &policy).await;
            (place, seen, size, what)
        });
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

async fn digest(
    blobs: &BlobStore,
    found: Found,
    raw: Vec<u8>,
    since: i64,
    policy: &Policy,
) -> Result<What, IngestError> {
    // The raw mail first: whatever the parser makes of it, it can be parsed again.
    let blob = blobs.put(raw.clone()).await?;
    if found.received_at.as_millisecond() < since {
        return Ok(What::Old(blob));
    }
    Ok(match parse(raw, blob.sha256.clone()).await {
        Ok(mut summary) => {
            let html = keep_parts(blobs, &mut summary).await?;
            let bounce = summary.bounce.take();
            let mail = found.announce(blob, summary, html, policy);
            What::New(Box::new(mail), bounce)
        }
        Err(reason) => What::Unreadable(found.unreadable(Some(blob), reason)),
    })
}

/// Parsing takes milliseconds of pure computing, and for hostile mail more, so it leaves the event loop alone.
pub(super) async fn parse(raw: Vec<u8>, sha256: String) -> Result<Summary, String> {
    within(MAX_PARSING, move || {
        mime::parse(&raw, &sha256).map_err(|error| error.to_string())
    })
    .await
}

/// A computation whose end is not waited for beyond `limit`; its thread is left to it.
async fn within<T: Send + 'static>(
    limit: Duration,
    compute: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(compute)).await {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(error)) => Err(format!("the parser did not finish: {error}")),
        Err(_) => Err(format!("the parser took longer than {limit:?}")),
    }
}

/// Writes attachments and HTML into the store, so that whoever reads the event finds them there. Gives where the HTML is.
pub(super) async fn keep_parts(
    blobs: &BlobStore,
    summary: &mut Summary,
) -> Result<Option<BlobRef>, BlobError> {
    let files = std::mem::take(&mut summary.files);
    for (attachment, bytes) in summary.attachments.iter_mut().zip(files) {
        attachment.blob = Some(blobs.put(bytes).await?);
    }
    match &mut summary.html {
        Some(Ok(html)) => Ok(Some(blobs.put(std::mem::take(html).into_bytes()).await?)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mail_that_takes_too_long_is_given_up() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let stuck = within(Duration::from_millis(10), move || {
            ended.recv().map_err(|e| e.to_string())
        })
        .await;
        assert!(stuck.unwrap_err().contains("longer than 10ms"));
        drop(end);
        assert_eq!(within(MAX_PARSING, || Ok(7)).await, Ok(7));
    }
}
