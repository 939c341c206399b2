//! A report about a mail that was sent: tied to that mail, told as `inbox.bounced`, and minded at the next send.

use postroom::{StoreError, Tx};

use crate::messages::{Bounce, BounceKind, Bounced, NewMail, Undelivered};
use crate::store::sends::{self, SentMail};
use crate::store::suppressions;

/// Publishes what came back, in the transaction that announces the report itself.
pub(super) async fn publish(tx: &mut Tx, report: &NewMail, bounce: &Bounce) -> Result<(), StoreError> {
    let sent = match &bounce.message_id {
        Some(id) => sends::find(tx, id).await?,
        None => None,
    };
    for recipient in &bounce.recipients {
        if ends_it(bounce.kind, recipient) && is_ours(tx, recipient, sent.as_ref()).await? {
            let detail = recipient.diagnostic.as_deref().unwrap_or_default();
            let source = report.event_id.to_string();
            suppressions::add(tx, &recipient.address, recipient.cause.as_str(), detail, &source).await?;
        }
    }
    let event = Bounced {
        event_id: report.event_id,
        account: report.account.clone(),
        bounce: bounce.clone(),
        send_id: sent.as_ref().map(|sent| sent.id.clone()),
        sent_to: sent.map(|sent| sent.recipient),
    };
    tx.publish(&event).await
}

/// Whether the address is to be written to no more.
fn ends_it(kind: BounceKind, recipient: &Undelivered) -> bool {
    match kind {
        BounceKind::Failed => recipient.cause.is_of_the_address(),
        BounceKind::Complaint => true,
        BounceKind::Delayed => false,
    }
}

/// A report is only as true as whoever wrote it: without a mail of ours to that address it suppresses nobody.
async fn is_ours(tx: &mut Tx, recipient: &Undelivered, sent: Option<&SentMail>) -> Result<bool, StoreError> {
    match sent {
        Some(sent) if sent.recipient == recipient.address.to_lowercase() => Ok(true),
        _ => sends::was_sent_to(tx, &recipient.address).await,
    }
}
