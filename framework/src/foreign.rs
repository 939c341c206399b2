//! Deaths that postroom had no part in: what other clients put on `emails.dlq`, and what the broker gave up or a consumer of
//! somebody else's terminated. They become rows of `dead_letters` like any other, each once.
//!
//! Advisories are said once, to whoever listens; so a stream keeps them until they are read. A letter of postroom's own comes
//! by here, too, and is known by its id.

mod advisory;

use std::time::Duration;

use futures_util::future::join;
use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Incoming, Pull};
use crate::fingerprint;
use crate::headers::{self, Headers};
use crate::key::Key;
use crate::names;
use crate::store::dead_letters::{self, Letter, Reason};
use crate::store::{Store, StoreError};
use crate::streams::{self, ADVISORY_SUBJECT, DEAD_LETTER_SUBJECT, StreamSpec};

/// Messages in memory at a time.
const BATCH: usize = 64;
/// The filter of both consumers: their streams hold nothing else.
const EVERYTHING: &str = "";
/// The broker brings a message again after this; it is not worked on for longer than a row takes to write.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How long a message waits when the database or the broker fails us, and how long the next look does.
const PAUSE: Duration = Duration::from_secs(2);

/// What can go wrong with a message from elsewhere; it is tried again until it is in the table.
#[derive(Debug, thiserror::Error)]
enum ForeignError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Letters,
    Advisories,
}

/// What is said before anybody listens is gone, so the stream for it is made first. An account that may not have it loses
/// this net, and nothing else.
pub(crate) async fn prepare(bus: &Bus) {
    if let Err(error) = bus.ensure_stream(&Source::Advisories.stream()).await {
        tracing::warn!(%error, "what the broker gives up will not be in the table of dead letters");
    }
}

/// Listens until `stop`.
pub(crate) async fn run(store: Store, bus: Bus, stop: CancellationToken) {
    let letters = Box::pin(listen(&store, &bus, Source::Letters, &stop));
    let advisories = Box::pin(listen(&store, &bus, Source::Advisories, &stop));
    join(letters, advisories).await;
}

async fn listen(store: &Store, bus: &Bus, source: Source, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let listening = async {
            bus.ensure_stream(&source.stream()).await?;
            let pull = bus
                .consumer(&source.stream().name, source.durable(), EVERYTHING, ACK_WAIT)
                .await?;
            loop {
                take_up(store, bus, source, &pull).await?;
            }
        };
        let ended: Result<(), BusError> = tokio::select! {
            ended = listening => ended,
            () = stop.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "deaths from elsewhere are not seen for now");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

async fn take_up(store: &Store, bus: &Bus, source: Source, pull: &Pull) -> Result<(), BusError> {
    let (sender, mut receiver) = mpsc::channel(BATCH);
    let pulling = async {
        let pulled = pull.pull(BATCH, &sender).await;
        drop(sender);
        pulled
    };
    let burying = async {
        while let Some(incoming) = receiver.recv().await {
            let buried = match source {
                Source::Letters => bury_letter(store, &incoming).await,
                Source::Advisories => advisory::bury(store, bus, &incoming).await,
            };
            match buried {
                // Unconfirmed, it comes again, and is known.
                Ok(()) => drop(incoming.receipt.ack().await),
                Err(error) => {
                    let Incoming {
                        stream, stream_seq, ..
                    } = &incoming;
                    tracing::error!(%error, stream, stream_seq, "a death from elsewhere is not in the table yet");
                    incoming.receipt.nak(PAUSE).await;
                }
            }
        }
    };
    join(pulling, burying).await.0
}

impl Source {
    fn subject(self) -> &'static str {
        match self {
            Self::Letters => DEAD_LETTER_SUBJECT,
            Self::Advisories => ADVISORY_SUBJECT,
        }
    }

    fn stream(self) -> StreamSpec {
        streams::for_subject(self.subject())
    }

    fn durable(self) -> &'static str {
        match self {
            Self::Letters => "postroom-letters",
            Self::Advisories => "postroom-advisories",
        }
    }
}

/// A message on `emails.dlq`: known, if postroom wrote it.
async fn bury_letter(store: &Store, incoming: &Incoming) -> Result<(), ForeignError> {
    let mut look = store.read().await?;
    let ours = match incoming.headers.get(headers::DEAD_LETTER) {
        Some(id) => dead_letters::is_known(&mut look, id).await?,
        None => false,
    };
    look.rollback().await?;
    if ours {
        return Ok(());
    }
    let said = |name| incoming.headers.get(name);
    let reason = Reason::Foreign;
    let letter = Letter {
        reason,
        handler: said(headers::HANDLER).unwrap_or_default().to_owned(),
        key: String::new(),
        subject: came_from(&incoming.headers).to_owned(),
        stream: incoming.stream.clone(),
        stream_seq: incoming.stream_seq,
        payload: incoming.payload.to_vec(),
        headers: incoming.headers.clone(),
        error: said(headers::ERROR)
            .unwrap_or("another client's letter, which does not say why")
            .to_owned(),
        error_class: said(headers::REASON).unwrap_or(reason.as_str()).to_owned(),
        attempts: said(headers::ATTEMPTS)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        history: Vec::new(),
        message_id: dead_letters::message_id_in(&incoming.payload),
        replay_of: None,
    };
    // The same client may have sent it twice, and the broker's window for that is short.
    let origin = match said(headers::MSG_ID) {
        Some(id) => Key::of(&[&"id", &id, &fingerprint::of_payload(&incoming.payload, &[])]),
        None => incoming.place(),
    };
    let mut tx = store.begin().await?;
    let written = dead_letters::insert_foreign(&mut tx, &letter, origin.as_str()).await?;
    tx.commit().await?;
    if let Some(id) = written {
        tell(&letter, &id);
    }
    Ok(())
}

/// The subject that a letter says it came from, which a replay is published on; `emails.dlq` if it says none that will do.
fn came_from(headers: &Headers) -> &str {
    let subject = headers.get(headers::SUBJECT).unwrap_or_default();
    let whole = headers.get(headers::PAYLOAD).is_none();
    if whole && streams::is_publishable(subject) {
        subject
    } else {
        DEAD_LETTER_SUBJECT
    }
}

fn tell(letter: &Letter, id: &str) {
    let Letter {
        reason,
        stream,
        stream_seq,
        ..
    } = letter;
    counter!(names::DEAD_LETTERS, "handler" => "", "reason" => reason.as_str()).increment(1);
    tracing::warn!(%id, %reason, stream, stream_seq, "a message that died elsewhere is in the table");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_goes_where_a_letter_came_from_and_nowhere_else() {
        let check = |headers: &[(&str, &str)], expect| {
            let mut set = Headers::default();
            for (name, value) in headers {
                set.set(name, *value);
            }
            assert_eq!(came_from(&set), expect, "{headers:?}");
        };
        check(&[], "emails.dlq");
        check(&[(headers::SUBJECT, "orders.created")], "orders.created");
        check(
            &[
                (headers::SUBJECT, "orders.created"),
                (headers::PAYLOAD, "in the table"),
            ],
            "emails.dlq",
        );
        for hostile in [
            "$JS.API.STREAM.DELETE.INBOX",
            "orders.*",
            ">",
            "a b",
            "_INBOX.1",
            "a..b",
            "",
        ] {
            check(&[(headers::SUBJECT, hostile)], "emails.dlq");
        }
    }
}
