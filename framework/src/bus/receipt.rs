//! What the broker is told about a delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;

use super::{CONFIRM_TIMEOUT, written};
use crate::headers::Headers;

/// No broker counts nanoseconds beyond 292 years, and a clock that was set back must not hold a message for as long.
const LONGEST_DELAY: Duration = Duration::from_secs(60 * 60);

/// Where to tell the broker what became of a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    client: Client,
    reply: String,
    /// It was acked or terminated, which follows the commit of what became of it.
    settled: Arc<AtomicBool>,
}

impl Receipt {
    pub(super) fn new(client: Client, reply: String) -> Self {
        let settled = Arc::default();
        Self {
            client,
            reply,
            settled,
        }
    }

    /// Done. True once the broker has confirmed it; otherwise the message may come again.
    pub(crate) async fn ack(&self) -> bool {
        self.settled.store(true, Ordering::Relaxed);
        if lost!(BeforeAck) {
            return false;
        }
        let request = self
            .client
            .request(self.reply.clone(), Bytes::from_static(b"+ACK"));
        let confirmed = matches!(tokio::time::timeout(CONFIRM_TIMEOUT, request).await, Ok(Ok(_)));
        confirmed && !lost!(AfterAck)
    }

    /// Not now: deliver it again after `delay`. Never without one, which would come back at once, and again; and no
    /// longer than [`LONGEST_DELAY`], after which the ledger is asked again.
    pub(crate) async fn nak(&self, delay: Duration) {
        if lost!(BeforeNak) {
            return;
        }
        self.tell(not_before(delay)).await;
    }

    /// Still at it.
    pub(crate) async fn progress(&self) {
        self.tell("+WPI".to_owned()).await;
    }

    /// A word to somebody else than the broker, in no stream.
    pub(crate) async fn publish(&self, to: &str, headers: &Headers, payload: &str) {
        let sent =
            self.client
                .publish_with_headers(to.to_owned(), written(headers), payload.to_owned().into());
        if let Err(error) = sent.await {
            tracing::debug!(%error, "an answer was not sent; its requester has to ask again");
        }
    }

    /// Never again, and why.
    pub(crate) async fn term(&self, reason: &str) {
        self.settled.store(true, Ordering::Relaxed);
        if lost!(BeforeTerm) {
            return;
        }
        self.tell(format!("+TERM {}", reason.replace(['\r', '\n'], " ")))
            .await;
    }

    /// Whether the message was settled, so that it need not come again.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    async fn tell(&self, verdict: String) {
        // Lost with the connection, the broker redelivers after ack_wait, and the ledger knows what to do.
        if let Err(error) = self.client.publish(self.reply.clone(), verdict.into()).await {
            tracing::debug!(%error, "a verdict did not reach the broker; the message will come again");
        }
    }
}

fn not_before(delay: Duration) -> String {
    let delay = delay.clamp(Duration::from_millis(1), LONGEST_DELAY);
    format!("-NAK {{\"delay\":{}}}", delay.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nak_always_has_a_delay_and_never_a_long_one() {
        let check = |delay, nanos: u64| {
            assert_eq!(not_before(delay), format!("-NAK {{\"delay\":{nanos}}}"));
        };
        check(Duration::ZERO, 1_000_000);
        check(Duration::from_secs(2), 2_000_000_000);
        check(LONGEST_DELAY, 3_600_000_000_000);
        check(LONGEST_DELAY + Duration::from_nanos(1), 3_600_000_000_000);
    }
}
