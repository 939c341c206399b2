//! SEARCH: whether one message matches. Substrings are compared without case, in the raw and in the decoded text.

use std::num::NonZeroU32;

use imap_next::imap_types::core::AString;
use imap_next::imap_types::search::SearchKey;
use mail_parser::{HeaderValue, Message as Parsed, MessageParser};

use super::{flags, header, sets};
use crate::devmail::folder::{Message, Uid};

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// One message, and the numbers that `*` stands for.
pub(super) struct Candidate<'c> {
    pub(super) number: NonZeroU32,
    pub(super) last_number: NonZeroU32,
    pub(super) uid: Uid,
    pub(super) last_uid: Uid,
    pub(super) message: &'c Message,
    /// Empty unless [`needs_bytes`] says otherwise.
    pub(super) raw: &'c [u8],
}

pub(super) fn needs_bytes(key: &SearchKey<'_>) -> bool {
    match key {
        SearchKey::And(keys) => keys.as_ref().iter().any(needs_bytes),
        SearchKey::Or(one, other) => needs_bytes(one) || needs_bytes(other),
        SearchKey::Not(key) => needs_bytes(key),
        SearchKey::Bcc(_)
        | SearchKey::Body(_)
        | SearchKey::Cc(_)
        | SearchKey::From(_)
        | SearchKey::Header(..)
        | SearchKey::SentBefore(_)
        | SearchKey::SentOn(_)
        | SearchKey::SentSince(_)
        | SearchKey::Subject(_)
        | SearchKey::Text(_)
        | SearchKey::To(_) => true,
        _ => false,
    }
}

impl Candidate<'_> {
    pub(super) fn matches(&self, key: &SearchKey<'_>) -> bool {
        let has = |flag: &str| self.message.flags.contains(flag);
        let received = i64::try_from(self.message.received)
            .unwrap_or(i64::MAX)
            .div_euclid(SECONDS_PER_DAY);
        match key {
            SearchKey::And(keys) => keys.as_ref().iter().all(|key| self.matches(key)),
            SearchKey::Or(one, other) => self.matches(one) || self.matches(other),
            SearchKey::Not(key) => !self.matches(key),
            SearchKey::SequenceSet(set) => sets::contains(set, self.number, self.last_number),
            SearchKey::Uid(set) => sets::contains(set, self.uid.0, self.last_uid.0),
            // No message is ever \Recent here, so all are old and none is new.
            SearchKey::All | SearchKey::Old => true,
            SearchKey::New | SearchKey::Recent => false,
            SearchKey::Answered => has("\\Answered"),
            SearchKey::Deleted => has(flags::DELETED),
            SearchKey::Draft => has("\\Draft"),
            SearchKey::Flagged => has("\\Flagged"),
            SearchKey::Seen => has(flags::SEEN),
            SearchKey::Unanswered => !has("\\Answered"),
            SearchKey::Undeleted => !has(flags::DELETED),
            SearchKey::Undraft => !has("\\Draft"),
            SearchKey::Unflagged => !has("\\Flagged"),
            SearchKey::Unseen => !has(flags::SEEN),
            SearchKey::Keyword(keyword) => has(keyword.as_ref()),
            SearchKey::Unkeyword(keyword) => !has(keyword.as_ref()),
            SearchKey::Larger(size) => self.message.size > *size,
            SearchKey::Smaller(size) => self.message.size < *size,
            SearchKey::Before(date) => received < day(date.as_ref()),
            SearchKey::On(date) => received == day(date.as_ref()),
            SearchKey::Since(date) => received >= day(date.as_ref()),
            SearchKey::SentBefore(date) => self.sent_day().is_some_and(|sent| sent < day(date.as_ref())),
            SearchKey::SentOn(date) => self.sent_day().is_some_and(|sent| sent == day(date.as_ref())),
            SearchKey::SentSince(date) => self.sent_day().is_some_and(|sent| sent >= day(date.as_ref())),
            SearchKey::Bcc(text) => self.header_has(b"bcc", text),
            SearchKey::Cc(text) => self.header_has(b"cc", text),
            SearchKey::From(text) => self.header_has(b"from", text),
            SearchKey::To(text) => self.header_has(b"to", text),
            SearchKey::Subject(text) => self.header_has(b"subject", text),
            SearchKey::Header(name, text) => self.header_has(name.as_ref(), text),
            SearchKey::Body(text) => holds(header::split(self.raw).1, text) || self.decoded_body_has(text),
            SearchKey::Text(text) => holds(self.raw, text) || self.decoded_body_has(text),
        }
    }

    fn parsed(&self) -> Option<Parsed<'_>> {
        std::panic::catch_unwind(|| MessageParser::default().parse(self.raw))
            .ok()
            .flatten()
    }

    fn header_has(&self, name: &[u8], text: &AString<'_>) -> bool {
        let fields = header::fields(header::split(self.raw).0);
        let of_name: Vec<&[u8]> = fields
            .into_iter()
            .filter(|field| header::name(field).eq_ignore_ascii_case(name))
            .collect();
        of_name.iter().any(|field| holds(&header::value(field), text))
            || of_name
                .iter()
                .any(|field| decoded_header(field).is_some_and(|value| holds(value.as_bytes(), text)))
    }

    fn decoded_body_has(&self, text: &AString<'_>) -> bool {
        let Some(parsed) = self.parsed() else { return false };
        parsed.text_bodies().any(|part| {
            part.text_contents()
                .is_some_and(|body| holds(body.as_bytes(), text))
        })
    }

    /// The day in the Date field, in the sender's own time zone (RFC 3501 disregards the zone).
    fn sent_day(&self) -> Option<i64> {
        let date = *self.parsed()?.date()?;
        let day = chrono::NaiveDate::from_ymd_opt(i32::from(date.year), date.month.into(), date.day.into())?;
        Some(self::day(&day))
    }
}

fn day(date: &chrono::NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp()
        .div_euclid(SECONDS_PER_DAY)
}

fn decoded_header(field: &[u8]) -> Option<String> {
    let raw = [b"Subject:", header::value(field).as_slice(), b"\r\n\r\n"].concat();
    let parse = || {
        let message = MessageParser::new().header_text("Subject").parse_headers(&raw)?;
        match message.header("Subject")? {
            HeaderValue::Text(text) => Some(text.clone().into_owned()),
            _ => None,
        }
    };
    std::panic::catch_unwind(parse).ok().flatten()
}

/// Without case: ASCII letters in any bytes, all letters where both sides are UTF-8.
fn holds(hay: &[u8], needle: &AString<'_>) -> bool {
    let needle = needle.as_ref();
    let plain = |bytes: &[u8]| bytes.to_ascii_lowercase();
    if needle.is_empty() || contains(&plain(hay), &plain(needle)) {
        return true;
    }
    match (std::str::from_utf8(hay), std::str::from_utf8(needle)) {
        (Ok(hay), Ok(needle)) => hay.to_lowercase().contains(&needle.to_lowercase()),
        _ => false,
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use imap_next::State;
    use imap_next::imap_types::command::CommandBody;
    use imap_next::imap_types::core::Vec1;
    use imap_next::imap_types::response::Greeting;
    use imap_next::server::{Event, Options, Server};

    use super::*;

    const RAW: &[u8] = b"From: =?utf-8?Q?J=C3=B6rg?= <j@x.test>\r\nMessage-ID: <Ab.1@x.test>\r\nSubject: Hello\r\n \
        World\r\nDate: Tue, 3 Nov 2026 23:30:00 -0800\r\nContent-Transfer-Encoding: base64\r\n\r\nc8O8w59lIFdvcnRl\r\n";

    fn parse(line: &str) -> Vec1<SearchKey<'static>> {
        let mut server = Server::new(Options::default(), Greeting::ok(None, "hi").unwrap());
        server.enqueue_input(line.as_bytes());
        for _ in 0..10 {
            if let Ok(Event::CommandReceived { command }) = server.next() {
                let CommandBody::Search { criteria, .. } = command.body else {
                    panic!("{line}")
                };
                return criteria;
            }
        }
        panic!("not understood: {line}")
    }

    fn matches(criteria: &str) -> bool {
        let criteria = parse(&format!("A SEARCH {criteria}\r\n"));
        let number = |n| NonZeroU32::new(n).unwrap();
        let message = Message {
            // 2026-11-04 12:00 UTC
            received: 1_793_793_600,
            size: 200,
            flags: ["\\Seen".to_owned(), "$Junk".to_owned()].into(),
        };
        let candidate = Candidate {
            number: number(2),
            last_number: number(3),
            uid: Uid(number(20)),
            last_uid: Uid(number(30)),
            message: &message,
            raw: RAW,
        };
        criteria.as_ref().iter().all(|key| candidate.matches(key))
    }

    #[test]
    fn each_key() {
        for (criteria, expect) in [
            ("ALL", true),
            ("SEEN KEYWORD $Junk", true),
            ("UNSEEN", false),
            ("2:3", true),
            ("*", false),
            ("UID 20", true),
            ("UID 21:*", false),
            ("NOT UID 21:*", true),
            ("OR UNSEEN FLAGGED", false),
            ("HEADER Message-ID <ab.1@x.test>", true),
            ("HEADER Message-ID \"\"", true),
            ("HEADER X-None \"\"", false),
            ("SUBJECT \"hello world\"", true),
            ("FROM {5+}\r\nJ\u{d6}rg", true),
            ("BODY {8+}\r\ns\u{fc}\u{df}e w", true),
            ("TEXT x.test", true),
            ("SENTON 3-Nov-2026", true),
            ("ON 4-Nov-2026", true),
            ("SINCE 5-Nov-2026", false),
            ("BEFORE 5-Nov-2026 LARGER 199 SMALLER 201", true),
        ] {
            assert_eq!(matches(criteria), expect, "{criteria}");
        }
    }
}
