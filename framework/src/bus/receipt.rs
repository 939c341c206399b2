//! What the broker is told about a delivery.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;

use super::CONFIRM_TIMEOUT;

/// No broker counts nanoseconds beyond 292 years, and a clock that was set back must not hold a message for as long.
const LONGEST_DELAY: Duration = Duration::from_secs(60 * 60);

/// Where to tell the broker what became of a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(super) client: Client,
    pub(super) reply: String,
}

impl Receipt {
    /// Done. True once the broker has confirmed it; otherwise the message may come again.
    pub(crate) async fn ack(&self) -> bool {
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
        let delay = delay.clamp(Duration::from_millis(1), LONGEST_DELAY);
        self.tell(format!("-NAK {{\"delay\":{}}}", delay.as_nanos()))
            .await;
    }

    /// Still at it.
    pub(crate) async fn progress(&self) {
        self.tell("+WPI".to_owned()).await;
    }

    /// Never again, and why.
    pub(crate) async fn term(&self, reason: &str) {
        if lost!(BeforeTerm) {
            return;
        }
        self.tell(format!("+TERM {}", reason.replace(['\r', '\n'], " ")))
            .await;
    }

    async fn tell(&self, verdict: String) {
        // Lost with the connection, the broker redelivers after ack_wait, and the ledger knows what to do.
        if let Err(error) = self.client.publish(self.reply.clone(), verdict.into()).await {
            tracing::debug!(%error, "a verdict did not reach the broker; the message will come again");
        }
    }
}
