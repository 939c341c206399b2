//! Messages grow too old: by the stream's limit, or by what each says of itself. Markers take their place.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Stream;
use super::publish::Stamp;
use crate::jetstream::clock::Now;
use crate::jetstream::go_duration;
use crate::protocol::headers;
use crate::store::{Nanos, Seq, StoreError};

pub(super) const TTL: &[u8] = b"Nats-TTL";
/// The shortest life that a message may ask for.
const TTL_MIN: Nanos = 1_000_000_000;
/// A millisecond late rather than a turn per nanosecond.
const SLACK_NANOS: u64 = 1_000_000;

/// How long a message wants to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    Nanos(Nanos),
    /// Whatever the stream's own limit is.
    Never,
}

/// What messages said about their lives. Some may have gone otherwise.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    by_time: BTreeSet<(Nanos, Seq)>,
    never: BTreeSet<Seq>,
}

impl Ttl {
    /// Seconds, a Go duration, or `never`; `None` if it is nothing of these or too short.
    pub(super) fn parse(text: &[u8]) -> Option<Ttl> {
        let text = std::str::from_utf8(text).ok()?;
        if text == "never" {
            return Some(Ttl::Never);
        }
        let nanos = match text.parse::<i64>() {
            Ok(seconds) => seconds.saturating_mul(1_000_000_000),
            Err(_) => Nanos::try_from(go_duration::parse(text)?.as_nanos()).ok()?,
        };
        (nanos >= TTL_MIN).then_some(Ttl::Nanos(nanos))
    }

    /// What a message's headers say, if they say it well.
    pub(super) fn of(block: &[u8]) -> Option<Ttl> {
        headers::value(block, TTL).and_then(Ttl::parse)
    }
}

impl Expiry {
    pub(super) fn note(&mut self, seq: Seq, stored: Nanos, ttl: Ttl) {
        match ttl {
            Ttl::Nanos(nanos) => drop(self.by_time.insert((stored.saturating_add(nanos), seq))),
            Ttl::Never => drop(self.never.insert(seq)),
        }
    }

    pub(super) fn forget(&mut self, seq: Seq) {
        self.never.remove(&seq);
    }

    fn take_due(&mut self, now: Nanos) -> Vec<Seq> {
        let later = self.by_time.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.by_time, later);
        due.into_iter().map(|(_, seq)| seq).collect()
    }

    fn next(&self) -> Option<Nanos> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

impl Stream {
    /// Takes out what is too old.
    pub(super) fn expire(&mut self, now: Now) -> Result<(), StoreError> {
        let is_plain = self.config.subject_delete_marker_ttl == 0 && self.expiry.never.is_empty();
        let mut due = self.expiry.take_due(now.wall);
        due.retain(|&seq| self.store.index().get(seq).is_some());
        if self.config.max_age > 0 {
            let horizon = now.wall.saturating_sub(self.config.max_age);
            let index = self.store.index();
            let first = index
                .first_since(horizon + 1)
                .map_or(index.last_seq() + 1, |entry| entry.seq);
            if is_plain {
                self.trim(first)?;
            } else {
                let aged = index.matching_below(first, &[]);
                due.extend(aged.into_iter().filter(|seq| !self.expiry.never.contains(seq)));
            }
        }
        due.sort_unstable();
        due.dedup();
        if due.is_empty() {
            return Ok(());
        }
        // Markers come first: a crash in between leaves both, and the old message is due again.
        for subject in self.unmarked_subjects(&due) {
            self.mark(&subject, now);
        }
        self.remove(&due).map(|_| ())
    }

    /// The subjects that would have no message left, and whose last one is no marker itself.
    fn unmarked_subjects(&mut self, going: &[Seq]) -> Vec<Bytes> {
        if self.config.subject_delete_marker_ttl == 0 {
            return Vec::new();
        }
        let index = self.store.index();
        let mut by_subject: BTreeMap<Bytes, (usize, Seq)> = BTreeMap::new();
        for entry in going.iter().filter_map(|&seq| index.get(seq)) {
            let subject = Bytes::copy_from_slice(index.subject_of(entry));
            let (count, last) = by_subject.entry(subject).or_default();
            *count += 1;
            *last = entry.seq;
        }
        by_subject
            .retain(|subject, (count, _)| index.seqs_of(subject).is_some_and(|all| all.len() == *count));
        by_subject.retain(|_, (_, last)| match self.store.load(*last) {
            Ok(Some(message)) => !is_marker(&message.body[..message.header_len]),
            _ => true,
        });
        by_subject.into_keys().collect()
    }

    fn mark(&mut self, subject: &Bytes, now: Now) {
        let ttl = go_duration::format(self.config.subject_delete_marker_ttl.unsigned_abs());
        let lines = format!("Nats-Marker-Reason: MaxAge\r\nNats-TTL: {ttl}\r\nNats-Rollup: sub\r\n");
        let block = headers::with_lines(&[], &lines);
        let stamp = Stamp {
            time: now.wall,
            seq: None,
            part: None,
        };
        // The roll-up is for those who follow the stream; here it would only do what is done next anyway.
        if let Err(error) = self.keep(subject, &block, &[], stamp) {
            tracing::debug!(stream = self.config.name, error = %error.description, "no marker stored");
        }
    }

    /// When the next message is too old, on the steady clock.
    pub(super) fn next_expires_at(&self) -> Option<u64> {
        if self.store.poison().is_some() {
            return None;
        }
        let by_age = || {
            let age = u64::try_from(self.config.max_age).ok().filter(|&age| age > 0)?;
            let index = self.store.index();
            let mut oldest = index.first()?;
            while self.expiry.never.contains(&oldest.seq) {
                oldest = index.next(oldest.seq + 1)?;
            }
            Some(oldest.time.saturating_add_unsigned(age))
        };
        let at = [by_age(), self.expiry.next()].into_iter().flatten().min()?;
        Some(self.on_steady_clock(at))
    }

    pub(super) fn on_steady_clock(&self, at: Nanos) -> u64 {
        let now = self.around.clock.now();
        let left = u64::try_from(at.saturating_sub(now.wall)).unwrap_or(0);
        now.steady.saturating_add(left + SLACK_NANOS)
    }

    /// The headers to store: a life shorter than a marker's is prolonged to that, as by nats-server.
    pub(super) fn prolonged(&self, block: &[u8]) -> Option<Vec<u8>> {
        let marker = self.config.subject_delete_marker_ttl;
        match Ttl::of(block)? {
            Ttl::Nanos(nanos) if nanos < marker => {
                let seconds = (marker / 1_000_000_000).to_string();
                Some(headers::replace(block, TTL, seconds.as_bytes()))
            }
            _ => None,
        }
    }
}

fn is_marker(block: &[u8]) -> bool {
    let names: [&[u8]; 2] = [b"Nats-Marker-Reason", b"KV-Operation"];
    names.iter().any(|name| headers::value(block, name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_bounds() {
        let check =
            |text: &str, expect: Option<Ttl>| assert_eq!(Ttl::parse(text.as_bytes()), expect, "{text}");
        check("1", Some(Ttl::Nanos(TTL_MIN)));
        check("1s", Some(Ttl::Nanos(TTL_MIN)));
        check("999ms", None);
        check("1h", Some(Ttl::Nanos(3_600_000_000_000)));
        check("never", Some(Ttl::Never));
        check("0", None);
        check("-1", None);
        check("soon", None);
    }

    #[test]
    fn due_in_order() {
        let mut expiry = Expiry::default();
        expiry.note(2, 100, Ttl::Nanos(50));
        expiry.note(1, 100, Ttl::Nanos(60));
        expiry.note(3, 100, Ttl::Never);
        assert_eq!(expiry.next(), Some(150));
        assert_eq!(expiry.take_due(149), [] as [Seq; 0]);
        assert_eq!(expiry.take_due(150), [2]);
        assert_eq!(expiry.take_due(1000), [1]);
        assert_eq!(expiry.next(), None);
    }
}
