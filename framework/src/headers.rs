//! Message headers, and those that postroom itself reads and writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The broker's own dedupe header: the outbox row's id.
pub(crate) const MSG_ID: &str = "Nats-Msg-Id";
/// The wire id of the message type, [`Message::ID`](crate::Message::ID).
pub const MESSAGE: &str = "Postroom-Message";
/// On a message whose sender waits for its result: the sender's inbox, a subject that begins with `_INBOX.`. It is no
/// NATS reply subject, since JetStream has that for its acks.
pub const REPLY_TO: &str = "Postroom-Reply-To";
/// On an answer: `done`, `discarded` or `dead`.
pub const OUTCOME: &str = "Postroom-Outcome";
/// On a replayed message: the dead letter's id.
pub const REPLAY: &str = "Postroom-Replay";
/// On a replayed message that died elsewhere: the dead letter's id. Whoever listens may take it.
pub const RESENT: &str = "Postroom-Resent";
/// On a replayed message: the only handler it is meant for. On a dead letter: the handler it died in.
pub const HANDLER: &str = "Postroom-Handler";
/// On a dead letter: the row's id in `dead_letters`.
pub const DEAD_LETTER: &str = "Postroom-Dead-Letter";
/// On a dead letter: why it is dead, one word.
pub const REASON: &str = "Postroom-Reason";
/// On a dead letter: the last error.
pub const ERROR: &str = "Postroom-Error";
/// On a dead letter whose payload is too large to travel with the letter's headers: `in the table`.
pub const PAYLOAD: &str = "Postroom-Payload";
/// On a dead letter: how often it was tried.
pub const ATTEMPTS: &str = "Postroom-Attempts";
/// On a dead letter: the subject it came on.
pub const SUBJECT: &str = "Postroom-Subject";
/// On a dead letter: the stream it came from.
pub const STREAM: &str = "Postroom-Stream";
/// On a dead letter: its sequence in that stream.
pub const STREAM_SEQUENCE: &str = "Postroom-Stream-Sequence";

/// Headers in the order of their names, each with its values in the order received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, Vec<String>>);

impl Headers {
    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// Replaces all values of `name` by one. Line breaks in `value` become spaces, since they would end the header.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let mut value = value.into();
        if value.contains(['\r', '\n']) {
            value = value.replace(['\r', '\n'], " ");
        }
        self.0.insert(name.to_owned(), vec![value]);
    }

    /// Adds a value to those of `name`.
    pub(crate) fn add(&mut self, name: &str, value: String) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    /// Every name with each of its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name.as_str(), value.as_str())))
    }

    /// Their bytes on the wire, about.
    pub(crate) fn size(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len() + ": \r\n".len())
            .sum()
    }

    /// These headers without those that instruct a broker (`Nats-…`) and without postroom's own: what may be sent again.
    #[must_use]
    pub(crate) fn for_resending(&self) -> Self {
        let kept = |name: &String| {
            let lower = name.to_ascii_lowercase();
            name == MESSAGE || !(lower.starts_with("nats-") || lower.starts_with("postroom-"))
        };
        Self(
            self.0
                .iter()
                .filter(|(name, _)| kept(name))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_senders_own_headers_are_sent_again() {
        let mut headers = Headers::default();
        headers.set(MSG_ID, "1");
        headers.set("Nats-Expected-Last-Sequence", "7");
        headers.set(REPLAY, "x");
        headers.set(MESSAGE, "inbox.new.v1");
        headers.set("traceparent", "00-ab-cd-01");
        let names: Vec<_> = headers
            .for_resending()
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(names, [MESSAGE, "traceparent"]);
    }

    #[test]
    fn a_line_break_cannot_end_a_header() {
        let mut headers = Headers::default();
        headers.set(ERROR, "550 no\r\nSubject: forged");
        assert_eq!(headers.get(ERROR), Some("550 no  Subject: forged"));
    }
}
