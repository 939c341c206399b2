//! Opening a delivery: decoding it, and telling its identity.
//!
//! What decodes a message may take the process down, and up to then nobody knows which row of the ledger it has. So whatever
//! comes a second time is first written down by its place in the stream, and that is taken back with the claim. The first time
//! nobody counts, so that what goes well costs nothing.

use std::panic::AssertUnwindSafe;

use crate::bus::Incoming;
use crate::execute::{Executor, MAX_CRASHES};
use crate::explain::panic_text;
use crate::fingerprint;
use crate::handler::Opened;
use crate::outcome::Failure;
use crate::store::dead_letters::Reason;
use crate::store::openings::Opening;

impl Executor {
    /// Opens it, unless that has killed too many processes already.
    pub(crate) async fn open(&self, incoming: &Incoming) -> Opened {
        if incoming.delivered <= 1 {
            return self.read(incoming);
        }
        let opening = Opening {
            handler: self.handler.policy().id.to_owned(),
            place: incoming.place().to_string(),
        };
        let reading = self.heartbeat.open(opening.clone());
        let deaths = match self.store.begin_opening(opening).await {
            Ok(Some(deaths)) => deaths,
            // Another process is at it, and lives.
            Ok(None) => 0,
            Err(error) => {
                // It can't be claimed, either. But it is to have its place among those of its key.
                tracing::debug!(handler = self.handler.policy().id, %error, "a message is opened without being counted");
                0
            }
        };
        edge!(BeforeOpening);
        let opened = if deaths < MAX_CRASHES {
            self.read(incoming)
        } else {
            let error = format!("{deaths} processes have died while it was being decoded");
            unread(incoming, Reason::Poison, Failure::dead("crash", error))
        };
        Opened {
            reading: Some(reading),
            ..opened
        }
    }

    fn read(&self, incoming: &Incoming) -> Opened {
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| self.handler.open(incoming)));
        opened.unwrap_or_else(|panic| {
            let error = format!("decoding it panicked: {}", panic_text(&*panic));
            unread(incoming, Reason::Undecodable, Failure::dead("undecodable", error))
        })
    }
}

/// It dies by its place, which no other message has.
fn unread(incoming: &Incoming, reason: Reason, failure: Failure) -> Opened {
    Opened {
        key: incoming.place(),
        fingerprint: fingerprint::of_payload(&incoming.payload, &[]),
        lane: None,
        message: Err((reason, failure)),
        reading: None,
    }
}
