//! What a status code, a reply or a phrase says about why a mail did not arrive. Pure.

use crate::messages::Cause;

/// The first enhanced status code (RFC 3463) of class 4 or 5 in the text.
pub(super) fn status_in(text: &str) -> Option<String> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|word| word.trim_matches('.'))
        .find(|word| is_status(word))
        .map(str::to_owned)
}

fn is_status(word: &str) -> bool {
    let mut numbers = word.split('.');
    let is_class = matches!(numbers.next(), Some("4" | "5"));
    let mut is_number = || {
        numbers
            .next()
            .is_some_and(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
    };
    is_class && is_number() && is_number() && numbers.next().is_none()
}

/// The first SMTP reply code of class 4 or 5: three digits that stand by themselves.
pub(super) fn reply_in(text: &str) -> Option<u16> {
    let is_edge = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "<>():;-,#\"'=[".contains(c));
    text.match_indices(['4', '5']).find_map(|(at, _)| {
        let code = text.get(at..at + 3)?;
        let before = text[..at].chars().next_back();
        let after = text[at + 3..].chars().next();
        let stands_alone = is_edge(before) && is_edge(after) && code.bytes().all(|b| b.is_ascii_digit());
        // 400 to 559 are replies of mail servers; other numbers are ports, sizes and years.
        let code: u16 = code.parse().ok().filter(|_| stands_alone)?;
        matches!(code, 421..=459 | 500..=559).then_some(code)
    })
}

/// Phrases in lower case, and what they mean; the most telling ones first.
const PHRASES: [(Cause, &[&str]); 7] = [
    (
        Cause::MailboxFull,
        &[
            "over quota",
            "overquota",
            "quota exceeded",
            "exceeded quota",
            "exceeds quota",
            "exceeded storage",
            "exceeded its storage",
            "over its quota",
            "mailbox is full",
            "mailbox full",
            "mail box full",
            "mailfolder is full",
            "folder is full",
            "inbox is full",
            "insufficient storage",
            "storage limit",
            "disk full",
            "quota",
        ],
    ),
    (
        Cause::TooLarge,
        &[
            "message too large",
            "message size exceeds",
            "exceeds maximum",
            "exceeded maximum",
            "too big",
            "size limit",
            "exceeds size",
            "exceeds the maximum",
        ],
    ),
    (
        Cause::Disabled,
        &[
            "disabled",
            "inactive",
            "not active",
            "suspended",
            "deactivated",
            "discontinued",
            "no longer",
            "account expired",
            "account is locked",
            "not activated",
        ],
    ),
    (
        Cause::NoSuchHost,
        &[
            "host unknown",
            "unknown host",
            "host not found",
            "domain not found",
            "no such domain",
            "unknown domain",
            "name service error",
            "name server",
            "couldn't find any host",
            "unrouteable mail domain",
            "bad destination system",
            "illegal host",
        ],
    ),
    (
        Cause::NoSuchAddress,
        &[
            "user unknown",
            "unknown user",
            "no such user",
            "no such address",
            "no such recipient",
            "no such mailbox",
            "no such person",
            "unknown recipient",
            "recipient unknown",
            "unknown local",
            "unknown address",
            "addressee unknown",
            "unknown or illegal alias",
            "invalid recipient",
            "invalid address",
            "invalid mailbox",
            "invalid user",
            "unrouteable address",
            "unroutable address",
            "not listed",
            "not a valid",
            "not known",
            "not recognized",
            "not found",
            "no mailbox",
            "no account",
            "no user",
            "doesn't exist",
            "does not exist",
            "not exist",
            "not our customer",
            "doesn't have a",
            "does not have a",
            "mailbox unavailable",
            "mailbox not available",
            "bad destination mailbox",
            "bad address",
            "user doesn't",
            "can't find",
            "cannot find",
        ],
    ),
    (
        Cause::Refused,
        &[
            "spam",
            "blacklist",
            "blocklist",
            "blocked",
            "denied",
            "policy",
            "virus",
            "prohibited",
            "not accepted",
            "not allowed",
            "not permitted",
            "content",
            "rcpthosts",
            "relay",
            "reputation",
            "refused",
            "rejected",
        ],
    ),
    (
        Cause::Unreachable,
        &[
            "timed out",
            "timeout",
            "connection refused",
            "no route to host",
            "unreachable",
            "could not connect",
            "couldn't connect",
            "too long",
            "loop",
            "hop count",
        ],
    ),
];

/// What the words and the status mean together. Servers give general codes and telling words, or the other way round.
pub(crate) fn cause(status: Option<&str>, words: &str) -> Cause {
    let by_status = status.and_then(by_status);
    let words = words.to_lowercase();
    let by_words = PHRASES
        .iter()
        .find(|(_, phrases)| phrases.iter().any(|phrase| words.contains(phrase)))
        .map(|(cause, _)| *cause);
    match (by_status, by_words) {
        // What would keep an address from ever being written to again is believed when the code says so, or when
        // nothing more precise than the words is there.
        (Some(cause), _) => cause,
        (None, Some(cause)) => cause,
        (None, None) => Cause::Unclear,
    }
}

/// `None` where the code says no more than that it failed.
fn by_status(status: &str) -> Option<Cause> {
    let mut numbers = status.split('.').skip(1);
    Some(match (numbers.next()?, numbers.next()?) {
        ("1", "2") => Cause::NoSuchHost,
        ("1", "0" | "1" | "3" | "6" | "10") => Cause::NoSuchAddress,
        ("2", "1") => Cause::Disabled,
        ("2", "2") => Cause::MailboxFull,
        ("2", "3") | ("3", "4") => Cause::TooLarge,
        ("4", "1" | "2" | "3" | "4" | "6" | "7") => Cause::Unreachable,
        ("6", _) => Cause::Refused,
        // 5.7.1 is said of unknown users, too.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_text() {
        let check = |text: &str, status: Option<&str>, reply: Option<u16>| {
            assert_eq!(status_in(text).as_deref(), status, "{text}");
            assert_eq!(reply_in(text), reply, "{text}");
        };
        check("550 5.1.1 <a@b>: no", Some("5.1.1"), Some(550));
        check("(#5.1.1)", Some("5.1.1"), None);
        check("smtp;550-no", None, Some(550));
        check("from 10.5.1.1 port 587", None, None);
        check("5.1.1.9 and 2.0.0 in 1999", None, None);
        check("size 55000, id 450abc", None, None);
        check("said: 452 4.2.2.", Some("4.2.2"), Some(452));
        check("", None, None);
        check("4", None, None);
    }

    #[test]
    fn causes() {
        let check = |status: Option<&str>, words: &str, expect: Cause| {
            assert_eq!(cause(status, words), expect, "{status:?} {words}");
        };
        check(Some("5.1.1"), "", Cause::NoSuchAddress);
        check(Some("5.0.0"), "550 User unknown", Cause::NoSuchAddress);
        check(
            Some("5.7.1"),
            "Recipient address rejected: User unknown",
            Cause::NoSuchAddress,
        );
        // Postfix begins every refusal of a recipient so.
        check(
            Some("5.7.1"),
            "Recipient address rejected: Rejected as spam",
            Cause::Refused,
        );
        check(Some("5.7.1"), "Message content rejected as spam", Cause::Refused);
        check(Some("5.2.2"), "user unknown", Cause::MailboxFull);
        check(None, "The user's mailbox is full", Cause::MailboxFull);
        check(
            None,
            "Host or domain name not found: host not found",
            Cause::NoSuchHost,
        );
        check(Some("5.4.4"), "Host not found", Cause::Unreachable);
        check(None, "???", Cause::Unclear);
    }
}
