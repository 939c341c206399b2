//! The end of a delivery that nobody will try again: its letter, and the handler's last words with it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use metrics::counter;

use crate::answer::{Answer, answer};
use crate::bus::Incoming;
use crate::cx::Cx;
use crate::execute::{Executor, MAX_CRASHES};
use crate::headers;
use crate::names;
use crate::outcome::Failure;
use crate::redact::for_log;
use crate::settle::{Settled, with_attempt};
use crate::store::dead_letters::{self, Burial, Letter, Reason};
use crate::store::deliveries::{Granted, Settlement};
use crate::store::{Ending, StoreError};

impl Executor {
    /// The row, the letter on `emails.dlq` and the handler's last words, in one transaction; TERM after it.
    pub(crate) async fn dead_letter(
        &self,
        incoming: &Incoming,
        claim: &Granted,
        reason: Reason,
        failure: &Failure,
    ) {
        let handler = self.handler.policy().id;
        let letter = letter(handler, incoming, claim, reason, failure);
        edge!(BeforeLastWords);
        let mut cx = Cx::new(&self.store, incoming, claim);
        let spoken = may_speak(reason, claim) && self.last_words(incoming, &letter, &mut cx).await;
        if !spoken {
            cx.outbox.clear();
            cx.tx = None;
        }
        let mut buried = self.bury(cx, claim, &letter).await;
        if let Err(error) = &buried
            && spoken
        {
            // Whatever the last words left behind, such as a transaction that Postgres has aborted, the letter counts.
            tracing::warn!(handler, %error, "the letter could not be written with what on_dead_letter did; it is written without");
            let wordless = Cx::new(&self.store, incoming, claim);
            buried = self.bury(wordless, claim, &letter).await;
        }
        match buried {
            Ok((Settled::Committed, id)) => {
                counter!(names::DEAD_LETTERS, "handler" => handler, "reason" => reason.as_str()).increment(1);
                self.count("dead");
                answer(incoming, handler, Answer::Dead(&failure.error)).await;
                incoming
                    .receipt
                    .term(&dead_letters::termination(reason, &id))
                    .await;
            }
            Ok((Settled::Fenced, _)) => self.fenced(claim),
            Err(error) => self.unsettled(claim, &error),
        }
    }

    /// Whether they were spoken, and are to count.
    async fn last_words(&self, incoming: &Incoming, letter: &Letter, cx: &mut Cx<'_>) -> bool {
        let handler = self.handler.policy().id;
        let words =
            AssertUnwindSafe(self.handler.on_dead_letter(&incoming.payload, letter, cx)).catch_unwind();
        match tokio::time::timeout(self.handler.policy().timeout, words).await {
            Ok(Ok(Ok(()))) => return true,
            Ok(Ok(Err(failure))) => {
                tracing::warn!(handler, error = %for_log(&failure.error), "on_dead_letter failed; the letter is written without it");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    handler,
                    "on_dead_letter panicked or hung; the letter is written without it"
                );
            }
        }
        false
    }

    async fn bury(
        &self,
        mut cx: Cx<'_>,
        claim: &Granted,
        letter: &Letter,
    ) -> Result<(Settled, String), StoreError> {
        let burial = Burial::of(letter.clone());
        let id = burial.id.clone();
        let ending = Ending {
            outbox: std::mem::take(&mut cx.outbox),
            burial: Some(burial),
            ..Ending::new(&claim.lease, Settlement::Dead)
        };
        let settled = self.finish(cx.tx.take(), ending).await?;
        if matches!(settled, Settled::Committed) {
            let Letter {
                reason,
                stream,
                stream_seq,
                ..
            } = letter;
            tracing::warn!(handler = letter.handler, %id, %reason, stream, stream_seq, error = %for_log(&letter.error),
                "a message was dead-lettered");
        }
        Ok((settled, id))
    }
}

/// Last words may be what kills processes, or need the decoding that does. So of a message that was claimed and has killed
/// its share they are asked once, and of one that was never decoded not at all.
fn may_speak(reason: Reason, claim: &Granted) -> bool {
    reason != Reason::Poison || claim.crashes == MAX_CRASHES
}

fn letter(handler: &str, incoming: &Incoming, claim: &Granted, reason: Reason, failure: &Failure) -> Letter {
    Letter {
        reason,
        handler: handler.to_owned(),
        key: claim.lease.key.as_str().to_owned(),
        subject: incoming.subject.clone(),
        stream: incoming.stream.clone(),
        stream_seq: incoming.stream_seq,
        payload: incoming.payload.to_vec(),
        headers: incoming.headers.clone(),
        error: failure.error.clone(),
        error_class: failure.class.clone(),
        attempts: claim.attempts,
        history: with_attempt(claim, failure),
        message_id: dead_letters::message_id_in(&incoming.payload),
        replay_of: incoming.headers.get(headers::REPLAY).map(str::to_owned),
    }
}
