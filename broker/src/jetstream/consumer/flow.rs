//! How fast a push consumer may send: as its client reads, and as its configuration says. Pure.

use crate::jetstream::names;

/// nats-server's window: it starts at a sixteenth and doubles with each answer.
const WINDOW_MAX: u64 = 32 * 1024 * 1024;
const WINDOW_MIN: u64 = WINDOW_MAX / 16;
/// Four characters tell one request from the next.
const ID_LEN: usize = 4;
pub const FLOW_PREFIX: &str = "$JS.FC.";

/// Bytes on their way to a client that says when it has read them.
#[derive(Debug)]
pub struct FlowControl {
    window: u64,
    /// Sent and not yet known to be read.
    outstanding: u64,
    /// The subject of the request that is not answered yet, and what its answer confirms.
    request: Option<(String, u64)>,
}

impl Default for FlowControl {
    fn default() -> FlowControl {
        FlowControl {
            window: WINDOW_MIN,
            outstanding: 0,
            request: None,
        }
    }
}

impl FlowControl {
    pub fn has_room(&self) -> bool {
        self.outstanding <= self.window
    }

    /// The subject of the request that is waited for.
    pub fn outstanding(&self) -> Option<String> {
        self.request.as_ref().map(|(id, _)| id.clone())
    }

    /// Counts a message, and tells the subject of the request that is to follow it, if it is time for one.
    pub fn on_sent(&mut self, bytes: u64, stream: &str, consumer: &str) -> Option<String> {
        self.outstanding += bytes;
        match &mut self.request {
            Some((_, confirms)) => {
                if self.outstanding - *confirms >= self.window {
                    *confirms += bytes;
                }
                None
            }
            None if self.outstanding > self.window / 2 => {
                let id = format!("{FLOW_PREFIX}{stream}.{consumer}.{}", names::random_name(ID_LEN));
                self.request = Some((id.clone(), self.outstanding));
                Some(id)
            }
            None => None,
        }
    }

    pub fn on_answer(&mut self, id: &[u8]) {
        if let Some((_, confirmed)) = self.request.take_if(|(asked, _)| asked.as_bytes() == id) {
            self.window = (self.window * 2).min(WINDOW_MAX);
            self.outstanding = self.outstanding.saturating_sub(confirmed);
        }
    }
}

/// So many bits a second, on average. Times are nanoseconds of the steady clock.
#[derive(Debug)]
pub struct RateLimit {
    bits_per_second: u64,
    opens_at: u64,
    is_closed: bool,
}

impl RateLimit {
    pub fn new(bits_per_second: u64) -> Option<RateLimit> {
        (bits_per_second > 0).then_some(RateLimit {
            bits_per_second,
            opens_at: 0,
            is_closed: false,
        })
    }

    pub fn is_open(&mut self, now: u64) -> bool {
        self.is_closed = self.opens_at > now;
        !self.is_closed
    }

    pub fn opens_at(&self) -> Option<u64> {
        self.is_closed.then_some(self.opens_at)
    }

    pub fn on_sent(&mut self, bytes: u64, now: u64) {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.bits_per_second);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.opens_at = self.opens_at.max(now).saturating_add(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_window_asks_and_an_answer_doubles_it() {
        let mut flow = FlowControl::default();
        assert_eq!(flow.on_sent(WINDOW_MIN / 2, "S", "C"), None);
        let id = flow.on_sent(1, "S", "C").unwrap();
        assert!(id.starts_with("$JS.FC.S.C."));
        assert_eq!(flow.on_sent(WINDOW_MIN / 2 - 1, "S", "C"), None);
        assert!(flow.has_room());
        flow.on_sent(1, "S", "C");
        assert!(!flow.has_room());
        flow.on_answer(b"other");
        assert!(!flow.has_room());
        flow.on_answer(id.as_bytes());
        assert!(flow.has_room());
        assert_eq!((flow.window, flow.outstanding()), (WINDOW_MIN * 2, None));
    }

    #[test]
    fn so_many_bits_a_second() {
        let mut rate = RateLimit::new(8000).unwrap();
        assert!(rate.is_open(5) && rate.opens_at().is_none());
        rate.on_sent(100, 5);
        assert!(!rate.is_open(100_000_004));
        assert_eq!(rate.opens_at(), Some(100_000_005));
        assert!(rate.is_open(100_000_005));
    }
}
