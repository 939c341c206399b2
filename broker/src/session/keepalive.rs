//! When to ping a client and when to give it up. Pure: `now` is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::ClientError;

/// The first PING comes early, so that a client's clock for round trips starts early too.
const FIRST_PING_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Keepalive {
    interval: Duration,
    max_unanswered: u32,
    unanswered: u32,
    next_ping: Instant,
    pinged_at: Option<Instant>,
    /// Until when credentials must have come; `None` once they have or when none are needed.
    auth_deadline: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Ping,
}

impl Keepalive {
    pub fn new(
        now: Instant,
        interval: Duration,
        max_unanswered: u32,
        auth_timeout: Option<Duration>,
    ) -> Self {
        Keepalive {
            interval,
            max_unanswered,
            unanswered: 0,
            next_ping: now + FIRST_PING_AFTER.min(interval),
            pinged_at: None,
            auth_deadline: auth_timeout.map(|timeout| now + timeout),
        }
    }

    pub fn wake_at(&self) -> Instant {
        self.auth_deadline
            .map_or(self.next_ping, |deadline| deadline.min(self.next_ping))
    }

    /// How long the client took for the last PING.
    pub fn on_pong(&mut self, now: Instant) -> Option<Duration> {
        self.unanswered = 0;
        self.pinged_at.take().map(|pinged_at| now - pinged_at)
    }

    pub fn on_authenticated(&mut self) {
        self.auth_deadline = None;
    }

    pub fn on_timer(&mut self, now: Instant) -> Result<Due, ClientError> {
        if self.auth_deadline.is_some_and(|deadline| deadline <= now) {
            return Err(ClientError::AuthTimeout);
        }
        if now < self.next_ping {
            return Ok(Due::Nothing);
        }
        if self.unanswered + 1 > self.max_unanswered {
            return Err(ClientError::StaleConnection);
        }
        self.unanswered += 1;
        self.next_ping = now + self.interval;
        self.pinged_at = Some(now);
        Ok(Due::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_until_stale() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut keepalive = Keepalive::new(start, Duration::from_secs(120), 2, None);
        assert_eq!(keepalive.on_timer(at(1)), Ok(Due::Nothing));
        assert_eq!(keepalive.on_timer(at(2)), Ok(Due::Ping));
        assert_eq!(keepalive.on_pong(at(3)), Some(Duration::from_secs(1)));
        assert_eq!(keepalive.on_pong(at(4)), None, "nobody asked");
        assert_eq!(keepalive.on_timer(at(122)), Ok(Due::Ping));
        assert_eq!(keepalive.on_timer(at(242)), Ok(Due::Ping));
        assert_eq!(keepalive.on_timer(at(362)), Err(ClientError::StaleConnection));
    }

    #[test]
    fn credentials_are_awaited_for_a_while() {
        let start = Instant::now();
        let timeout = Duration::from_secs(1);
        let new = || Keepalive::new(start, Duration::from_secs(120), 2, Some(timeout));
        assert_eq!(new().wake_at(), start + timeout);
        assert_eq!(new().on_timer(start + timeout), Err(ClientError::AuthTimeout));
        let mut keepalive = new();
        keepalive.on_authenticated();
        assert_eq!(keepalive.on_timer(start + timeout), Ok(Due::Nothing));
    }
}
