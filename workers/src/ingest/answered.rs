//! A reply was sent: its original is marked as answered, by whoever watches the mailbox.

use std::time::Duration;

use postroom::{Cx, CxError, Handle, Handler, Key, Spec};

use crate::messages::Sent;
use crate::store::actions;

/// Marks the mails whose replies were sent; sends that answer nothing are none of its business.
#[derive(Debug, Clone, Copy, Default)]
pub struct MarkAnswered;

impl Handler for MarkAnswered {
    type Message = Sent;

    fn spec() -> Spec<Sent> {
        /// As long as events are kept.
        const TTL: Duration = Duration::from_secs(30 * 24 * 3600);
        Spec::new("mark-answered")
            .idempotent(|sent: &Sent| Key::of(&[&sent.id, &sent.response]), TTL)
            .retry(8, Duration::from_secs(2), Duration::from_secs(900))
            .timeout(Duration::from_secs(30))
            .concurrency(4)
    }
}

impl Handle<Sent> for MarkAnswered {
    type Error = CxError;

    async fn handle(&self, sent: Sent, cx: &mut Cx<'_>) -> Result<(), CxError> {
        Ok(actions::decide_answered(cx.tx().await?, &sent.id).await?)
    }
}
