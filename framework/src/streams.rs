//! Which stream keeps which subject, and for how long. Pure: names and numbers.

use std::time::Duration;

/// Where dead letters go.
pub const DEAD_LETTER_SUBJECT: &str = "emails.dlq";

/// What JetStream says of messages that it gives up, and that consumers terminate; said once, to whoever listens.
pub(crate) const ADVISORY_SUBJECT: &str = "$JS.EVENT.ADVISORY.CONSUMER.>";
/// The stream that listens.
pub(crate) const ADVISORIES: &str = "ADVISORIES";
const MAX_DELIVERIES: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>";
const TERMINATED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>";

/// A stream that must exist before anything is published or consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// The subjects it keeps.
    pub subjects: Vec<String>,
    /// How long it keeps a message.
    pub max_age: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than any outage that people sleep through, and than the dedupe ttl that handlers have by default.
pub(crate) const KEEP: Duration = Duration::from_secs(14 * DAY.as_secs());
/// Dead letters are kept longest; the SQL table keeps them until a person has dealt with them.
const KEEP_DEAD: Duration = Duration::from_secs(90 * DAY.as_secs());

/// The streams of the mail pipeline.
pub(crate) fn pipeline() -> Vec<StreamSpec> {
    let spec = |name: &str, subjects: &[&str], max_age| StreamSpec {
        name: name.to_owned(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        max_age,
    };
    vec![
        spec("INBOX", &["inbox.>"], KEEP),
        spec("ACTIONS", &["actions.>"], KEEP),
        spec("EMAILS", &["emails.sent", "emails.failed"], KEEP),
        spec("DLQ", &[DEAD_LETTER_SUBJECT], KEEP_DEAD),
    ]
}

/// Whether a message may be published there by somebody who was told to: a subject of tokens, none of them the broker's own.
pub(crate) fn is_publishable(subject: &str) -> bool {
    let token = |token: &str| {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '*' && c != '>';
        !token.is_empty() && token.chars().all(plain)
    };
    !subject.starts_with('$')
        && !subject.starts_with("_INBOX")
        && subject != DEAD_LETTER_SUBJECT
        && subject.split('.').all(token)
}

/// The stream for a subject that none of the pipeline's keeps: named after the subject's noun.
pub(crate) fn for_subject(subject: &str) -> StreamSpec {
    if let Some(known) = pipeline()
        .into_iter()
        .find(|spec| spec.subjects.iter().any(|filter| covers(filter, subject)))
    {
        return known;
    }
    if subject == ADVISORY_SUBJECT {
        return StreamSpec {
            name: ADVISORIES.to_owned(),
            subjects: vec![MAX_DELIVERIES.to_owned(), TERMINATED.to_owned()],
            max_age: KEEP,
        };
    }
    let noun = subject.split('.').next().unwrap_or(subject);
    // `emails.` is shared by two streams of the pipeline, so what is new there gets a stream of its own subject.
    if noun == subject || noun == "emails" {
        let name = subject.to_uppercase().replace('.', "_");
        return StreamSpec {
            name,
            subjects: vec![subject.to_owned()],
            max_age: KEEP,
        };
    }
    StreamSpec {
        name: noun.to_uppercase(),
        subjects: vec![format!("{noun}.>")],
        max_age: KEEP,
    }
}

fn covers(filter: &str, subject: &str) -> bool {
    match filter.strip_suffix(".>") {
        Some(prefix) => subject
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('.')),
        None => filter == subject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_one_stream() {
        let check = |subject, name: &str, filter: &str| {
            let spec = for_subject(subject);
            assert_eq!(spec.name, name);
            assert!(spec.subjects.iter().any(|s| s == filter), "{spec:?}");
        };
        check("inbox.new", "INBOX", "inbox.>");
        check("actions.send", "ACTIONS", "actions.>");
        check("emails.sent", "EMAILS", "emails.sent");
        check("emails.dlq", "DLQ", "emails.dlq");
        check("emails.opened", "EMAILS_OPENED", "emails.opened");
        check("orders.created", "ORDERS", "orders.>");
        check("ping", "PING", "ping");
    }
}
