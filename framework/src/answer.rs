//! Requests: a message whose sender waits for what its handler makes of it.
//!
//! The answer is published after the commit and before the ack, so a process that dies in between answers with the
//! redelivery. It is no message of a stream: a requester that is gone misses it, asks again, and is given the result that
//! the ledger has kept.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::bus::{Bus, BusError, Incoming};
use crate::headers::{self, Headers};
use crate::message::Message;
use crate::redact::for_log;
use crate::store::StoreError;
use crate::store::outbox::OutboxRow;

/// Who may name any subject could have a worker publish on any, so answers go to inboxes only.
const INBOX: &str = "_INBOX.";

/// What has become of a request.
pub(crate) enum Answer<'a> {
    /// It is done, with this JSON.
    Done(Option<&'a str>),
    Discarded,
    /// It is a dead letter, for this reason.
    Dead(&'a str),
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It can't be sent.
    #[error(transparent)]
    Message(#[from] StoreError),
    /// The broker did not take it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Nobody has answered yet. The message is on its stream and will be handled all the same: ask again with the same
    /// key, and the answer is the one that it has, or will have, come to.
    #[error("no answer within {}; the message is stored, and asking again does nothing twice", humantime::format_duration(*.0))]
    Late(Duration),
    /// The handler has discarded it.
    #[error("the handler `{handler}` has discarded the request")]
    Discarded {
        /// The handler.
        handler: String,
    },
    /// It is a dead letter.
    #[error("the request is a dead letter of the handler `{handler}`: {error}")]
    Dead {
        /// The handler.
        handler: String,
        /// Its last error.
        error: String,
    },
    /// The result is something else than what is asked for.
    #[error("the handler `{handler}` has answered with something else: {source}")]
    Result {
        /// The handler.
        handler: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Bus {
    /// Publishes `message` and waits for the result that its handler [gives](crate::Cx::set_result), at most `within`.
    /// A handler that gives none answers `null`, which is the `R` of `()` and of an `Option`. It is for subjects with one
    /// handler: of several, the first to answer counts.
    ///
    /// The same request twice is one piece of work, if its handler has an idempotency key; both are given one result.
    ///
    /// # Errors
    /// When the message can't be published, nobody answers in time, the handler fails for good or discards it, or the
    /// result is no `R`.
    pub async fn request<M: Message, R: DeserializeOwned>(
        &self,
        message: &M,
        within: Duration,
    ) -> Result<R, RequestError> {
        let mut inbox = self.inbox().await?;
        let mut row = OutboxRow::of(message)?;
        row.headers.set(headers::REPLY_TO, inbox.subject());
        for sent in self.publish_all(std::slice::from_ref(&row)).await {
            sent?;
        }
        let answered = tokio::time::timeout(within, inbox.next()).await;
        let Ok(Some((headers, payload))) = answered else {
            return Err(RequestError::Late(within));
        };
        let said = |name| headers.get(name).unwrap_or_default().to_owned();
        let handler = said(headers::HANDLER);
        match headers.get(headers::OUTCOME) {
            Some("dead") => Err(RequestError::Dead {
                handler,
                error: said(headers::ERROR),
            }),
            Some("discarded") => Err(RequestError::Discarded { handler }),
            _ => serde_json::from_slice(&payload).map_err(|source| RequestError::Result { handler, source }),
        }
    }
}

/// Tells the requester, if there is one.
pub(crate) async fn answer(incoming: &Incoming, handler: &str, answer: Answer<'_>) {
    let Some(to) = incoming.headers.get(headers::REPLY_TO) else {
        return;
    };
    if !is_inbox(to) {
        let to = for_log(to);
        tracing::warn!(handler, %to, "a request is not answered: `Postroom-Reply-To` must begin with `_INBOX.`");
        return;
    }
    let mut said = Headers::default();
    said.set(headers::HANDLER, handler);
    let (outcome, payload) = match answer {
        Answer::Done(result) => ("done", result.unwrap_or("null")),
        Answer::Discarded => ("discarded", ""),
        Answer::Dead(error) => {
            said.set(headers::ERROR, error);
            ("dead", "")
        }
    };
    said.set(headers::OUTCOME, outcome);
    incoming.receipt.publish(to, &said, payload).await;
}

fn is_inbox(subject: &str) -> bool {
    subject.strip_prefix(INBOX).is_some_and(|rest| {
        !rest.is_empty()
            && !subject.contains(['*', '>'])
            && !subject.contains(char::is_whitespace)
            && !subject.split('.').any(str::is_empty)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_inboxes_only() {
        let check = |subject, is| assert_eq!(is_inbox(subject), is, "{subject:?}");
        check("_INBOX.a8f.1", true);
        for wrong in [
            "",
            "_INBOX.",
            "_INBOX.a..b",
            "_INBOX.>",
            "_INBOX.a.*",
            "_INBOX.a b",
            "actions.send",
            "$JS.API.STREAM.DELETE.X",
        ] {
            check(wrong, false);
        }
    }
}
