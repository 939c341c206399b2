//! A mark among the References by which the answer to a reply of ours is known, whatever became of Message-IDs on the way.
//!
//! Relays rewrite the Message-ID of what they send, and then In-Reply-To names a mail that nobody here has heard of. What
//! stands in References is carried on by every client. So a reply lists one more id there, which names the event that it
//! answers, and is signed, since anybody could make up another. Pure.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use ring::hmac;
use uuid::Uuid;

use crate::config::Secret;

/// In front of every mark; another version gets another.
const PREFIX: &str = "pr1.";
/// Less than this can be guessed from marks that are seen.
pub const MIN_SECRET_BYTES: usize = 16;

/// The account's key; clones share it.
#[derive(Clone)]
pub struct ReplySecret(Arc<hmac::Key>);

impl ReplySecret {
    /// `None` where the secret is shorter than [`MIN_SECRET_BYTES`].
    #[must_use]
    pub fn new(secret: &Secret) -> Option<Self> {
        let bytes = secret.expose().as_bytes();
        let key = || hmac::Key::new(hmac::HMAC_SHA256, bytes);
        (bytes.len() >= MIN_SECRET_BYTES).then(|| Self(Arc::new(key())))
    }

    /// The mark of a reply to this event, as an id without angle brackets.
    #[must_use]
    pub fn mark(&self, account: &str, event_id: Uuid, domain: &str) -> String {
        let mut mark = format!("{PREFIX}{}.", event_id.simple());
        for byte in hmac::sign(&self.0, &signed(account, event_id)).as_ref() {
            // Writing to a string does not fail.
            let _ = write!(mark, "{byte:02x}");
        }
        mark.push('@');
        mark.push_str(domain);
        mark
    }

    /// The event that the last good mark of these ids names.
    #[must_use]
    pub fn find<'a>(&self, account: &str, ids: impl DoubleEndedIterator<Item = &'a String>) -> Option<Uuid> {
        ids.rev().find_map(|id| self.read(account, id))
    }

    fn read(&self, account: &str, id: &str) -> Option<Uuid> {
        let (mark, _) = id.split_once('@')?;
        let (event_id, tag) = mark.strip_prefix(PREFIX)?.split_once('.')?;
        let event_id = Uuid::try_parse(event_id).ok()?;
        let tag = unhex(tag)?;
        hmac::verify(&self.0, &signed(account, event_id), &tag).ok()?;
        Some(event_id)
    }
}

/// Whether the id is a mark, good or not.
pub(super) fn is_mark(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// Fixed lengths last, so that no two are written alike.
fn signed(account: &str, event_id: Uuid) -> Vec<u8> {
    [account.as_bytes(), b"\0", event_id.as_bytes()].concat()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl fmt::Debug for ReplySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplySecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::message::is_message_id;

    fn secret(text: &str) -> ReplySecret {
        ReplySecret::new(&Secret::new(text)).unwrap()
    }

    #[test]
    fn only_marks_of_ones_own_are_believed() {
        let ours = secret("0123456789abcdef");
        let event = Uuid::from_u128(7);
        let mark = ours.mark("help", event, "shop.example");
        assert!(
            is_message_id(&mark) && is_mark(&mark) && mark.len() < 200,
            "{mark}"
        );
        let find =
            |secret: &ReplySecret, account: &str, id: &str| secret.find(account, [id.to_owned()].iter());
        assert_eq!(find(&ours, "help", &mark), Some(event));
        assert_eq!(
            find(
                &ours,
                "help",
                &mark.replace("@shop.example", "@rewritten.example")
            ),
            Some(event)
        );
        assert_eq!(find(&ours, "sales", &mark), None, "of another account");
        assert_eq!(
            find(&secret("fedcba9876543210"), "help", &mark),
            None,
            "of another key"
        );
        let other = mark.replacen('7', "8", 1);
        for forged in [
            &other,
            &mark[..60],
            &mark.replace('@', "00@"),
            "pr1.@x",
            "pr1.7.é@x",
            "<a@b>",
            "",
        ] {
            assert_eq!(find(&ours, "help", forged), None, "{forged}");
        }
        let newest = ours.mark("help", Uuid::from_u128(8), "shop.example");
        let ids = [mark, newest, other];
        assert_eq!(
            ours.find("help", ids.iter()),
            Some(Uuid::from_u128(8)),
            "the last good one"
        );
    }

    #[test]
    fn a_short_secret_is_none() {
        assert!(ReplySecret::new(&Secret::new("0123456789abcde")).is_none());
        assert!(ReplySecret::new(&Secret::new("0123456789abcdef")).is_some());
    }
}
