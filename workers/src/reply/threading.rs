//! Message-ID, In-Reply-To and References (RFC 5322 section 3.6.4). Pure.

use uuid::Uuid;

use super::token::is_mark;
use crate::messages::NewMail;
use crate::mime;
use crate::send::message::is_message_id;

/// The root and the newest; RFC 5322 has no limit, but some servers refuse long headers.
const MAX_REFERENCES: usize = 20;

/// The Message-ID of the mail with this idempotency key: the same on every try, on every machine.
pub fn message_id(key: &str, domain: &str) -> String {
    /// A random UUID of this program's own; it must never change.
    const NAMESPACE: Uuid = Uuid::from_u128(0x0b3a_9a1c_52d4_4c3e_8f47_2f6b_90d5_71ae);
    format!("{}@{domain}", Uuid::new_v5(&NAMESPACE, key.as_bytes()))
}

/// How a reply names its parent and its thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Thread {
    pub(super) in_reply_to: Option<String>,
    pub(super) references: Vec<String>,
}

/// The thread of a reply to this mail. Ids that cannot be written in a header are left out; a mail without a
/// Message-ID of its own cannot be named. The `mark` stands before the parent, in place of those of earlier replies.
pub(super) fn thread(mail: &NewMail, mark: Option<&String>) -> Thread {
    let own = Some(&mail.message_id)
        .filter(|id| is_message_id(id) && **id != mime::synthetic_message_id(&mail.raw.sha256))
        .cloned();
    let earlier = if mail.references.is_empty() {
        mail.in_reply_to.as_slice()
    } else {
        &mail.references
    };
    let mut references: Vec<String> = Vec::new();
    for id in earlier
        .iter()
        .chain(mark)
        .chain(&own)
        .filter(|id| is_message_id(id))
    {
        let is_stale = is_mark(id) && mark.is_some_and(|mark| mark != id);
        if !references.contains(id) && !is_stale {
            references.push(id.clone());
        }
    }
    let surplus = references.len().saturating_sub(MAX_REFERENCES);
    if surplus > 0 {
        references.drain(1..=surplus);
    }
    Thread {
        in_reply_to: own,
        references,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::loops::tests::mail;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_reply_continues_the_thread() {
        let check = |references: &[&str], parent: Option<&str>, expect: &[&str]| {
            let mail = NewMail {
                references: ids(references),
                in_reply_to: parent.map(str::to_owned),
                ..mail()
            };
            let thread = thread(&mail, None);
            assert_eq!(thread.in_reply_to.as_deref(), Some("1@example.org"));
            assert_eq!(thread.references, ids(expect));
        };
        check(&[], None, &["1@example.org"]);
        check(&[], Some("0@x"), &["0@x", "1@example.org"]);
        check(&["r@x", "0@x"], Some("0@x"), &["r@x", "0@x", "1@example.org"]);
        check(&["é@x", "a b@x", "0@x"], None, &["0@x", "1@example.org"]);
    }

    #[test]
    fn a_mail_without_an_id_cannot_be_named() {
        let nameless = NewMail {
            message_id: "0@content.invalid".into(),
            ..mail()
        };
        assert_eq!(thread(&nameless, None), Thread::default());
    }

    #[test]
    fn long_threads_keep_their_root_and_their_newest() {
        let long = NewMail {
            references: (0..60).map(|n| format!("{n}@x")).collect(),
            ..mail()
        };
        let references = thread(&long, None).references;
        assert_eq!(references.len(), MAX_REFERENCES);
        assert_eq!((references[0].as_str(), references[1].as_str()), ("0@x", "42@x"));
        assert_eq!(references.last().unwrap(), "1@example.org");
    }

    #[test]
    fn message_ids_depend_on_the_key_alone() {
        assert_eq!(message_id("k", "example.test"), message_id("k", "example.test"));
        assert_ne!(message_id("k", "example.test"), message_id("l", "example.test"));
        assert!(is_message_id(&message_id("any key\r\nat all", "example.test")));
    }

    #[test]
    fn the_newest_mark_stands_before_the_parent() {
        let marked = NewMail {
            references: ids(&["r@x", "pr1.old@x", "0@x"]),
            ..mail()
        };
        let references = thread(&marked, Some(&"pr1.new@x".to_owned())).references;
        assert_eq!(references, ids(&["r@x", "0@x", "pr1.new@x", "1@example.org"]));
    }
}
