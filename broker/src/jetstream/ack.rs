//! Acknowledgements: the subject that names the delivery, and the words in the payload. Pure.
//!
//! `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, nine tokens.

use std::time::Duration;

use serde::Deserialize;

use super::go_duration;
use crate::store::Seq;
use crate::subject::tokens;

pub const PREFIX: &[u8] = b"$JS.ACK.";

/// What an ack subject names.
#[derive(Debug, PartialEq, Eq)]
pub struct AckSubject<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
    pub stream_seq: Seq,
    pub consumer_seq: u64,
}

/// What a client says about a delivery.
#[derive(Debug, PartialEq, Eq)]
pub enum Ack<'a> {
    Done,
    Nak { delay: Option<Duration> },
    Progress,
    Next { request: &'a [u8] },
    Term { reason: &'a str },
}

impl<'a> AckSubject<'a> {
    /// Accepts the nine-token form and the longer one with domain and account hash.
    pub fn parse(subject: &'a [u8]) -> Option<AckSubject<'a>> {
        let tokens: Vec<&str> = tokens(subject)
            .map(std::str::from_utf8)
            .collect::<Result<_, _>>()
            .ok()?;
        let named = match tokens.as_slice() {
            ["$JS", "ACK", rest @ ..] if rest.len() == 7 => rest,
            ["$JS", "ACK", _domain, _account, rest @ ..] if rest.len() >= 7 => rest,
            _ => return None,
        };
        Some(AckSubject {
            stream: named[0],
            consumer: named[1],
            stream_seq: named[3].parse().ok()?,
            consumer_seq: named[4].parse().ok()?,
        })
    }
}

impl<'a> Ack<'a> {
    /// `None` for words nobody knows; nats-server then does nothing either.
    pub fn parse(payload: &'a [u8]) -> Option<Ack<'a>> {
        let after = |word: &[u8]| payload.strip_prefix(word).map(<[u8]>::trim_ascii);
        if payload.is_empty() || payload == b"+ACK" || payload == b"+OK" {
            return Some(Ack::Done);
        }
        if payload == b"+WPI" {
            return Some(Ack::Progress);
        }
        if let Some(arguments) = after(b"-NAK") {
            return Some(Ack::Nak {
                delay: parse_delay(arguments),
            });
        }
        if let Some(request) = after(b"+NXT") {
            return Some(Ack::Next { request });
        }
        let reason = after(b"+TERM")?;
        Some(Ack::Term {
            reason: std::str::from_utf8(reason).unwrap_or_default(),
        })
    }
}

/// `{"delay": nanoseconds}` or a Go duration; anything else is no delay, as in nats-server.
fn parse_delay(text: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Options {
        delay: i64,
    }
    if text.starts_with(b"{") {
        let options: Options = serde_json::from_slice(text).ok()?;
        return u64::try_from(options.delay)
            .ok()
            .map(Duration::from_nanos)
            .filter(|delay| !delay.is_zero());
    }
    go_duration::parse(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        let expect = AckSubject {
            stream: "S",
            consumer: "C",
            stream_seq: 5,
            consumer_seq: 7,
        };
        assert_eq!(
            AckSubject::parse(b"$JS.ACK.S.C.1.5.7.1795427375409336445.2"),
            Some(expect)
        );
        let long = AckSubject::parse(b"$JS.ACK._.hash.S.C.1.5.7.17.2.rnd").unwrap();
        assert_eq!((long.stream, long.consumer_seq), ("S", 7));
        for bad in [
            "$JS.ACK.S.C.1.5.7",
            "$JS.ACK.S.C.1.x.7.1.2",
            "$JS.NAK.S.C.1.5.7.1.2",
            "",
        ] {
            assert_eq!(AckSubject::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn payloads() {
        let check = |payload: &str, expect: Option<Ack<'_>>| {
            assert_eq!(Ack::parse(payload.as_bytes()), expect, "{payload}");
        };
        let nak = |millis: u64| {
            Some(Ack::Nak {
                delay: Some(Duration::from_millis(millis)),
            })
        };
        check("", Some(Ack::Done));
        check("+ACK", Some(Ack::Done));
        check("+OK", Some(Ack::Done));
        check("+WPI", Some(Ack::Progress));
        check("-NAK", Some(Ack::Nak { delay: None }));
        check("-NAK {\"delay\": 5000000}", nak(5));
        check("-NAK 1.5s", nak(1500));
        check("-NAK 1m2s", nak(62_000));
        check("-NAK junk", Some(Ack::Nak { delay: None }));
        check("+NXT 5", Some(Ack::Next { request: b"5" }));
        check("+NXT", Some(Ack::Next { request: b"" }));
        check("+TERM", Some(Ack::Term { reason: "" }));
        check(
            "+TERM bad address",
            Some(Ack::Term {
                reason: "bad address",
            }),
        );
        check("what", None);
    }
}
