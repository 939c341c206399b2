//! What is told and written down once a mail's fate is known, and how it becomes known where the answer was lost.

use postroom::store::dead_letters::{self, Letter};
use postroom::{Cx, CxError, headers};

use super::outbound::Outbound;
use super::smtp;
use super::verdict::{REFUSED, SendError, is_undecided, may_have_arrived};
use crate::ingest::imap::ImapError;
use crate::messages::{Failed, Send, Sent};
use crate::mime::bounce::cause;
use crate::store::{outgoing, sends, suppressions};

/// The relay has it.
pub(super) async fn told(sent: &Sent, account: &Outbound, cx: &mut Cx<'_>) -> Result<(), CxError> {
    cx.publish(sent).await?;
    let tx = cx.tx().await?;
    if !account.files_copies() {
        outgoing::forget(tx, &sent.id).await?;
    }
    Ok(sends::record(tx, sent).await?)
}

/// As [`SmtpError`] shows a refusal that is about the recipient and nothing else.
const AT_RCPT: &str = "the relay answered RCPT with ";

/// The mail is about to be dead-lettered. Tells the others, unless nobody can say that it did not arrive.
pub(super) async fn failed(send: &Send, letter: &Letter, cx: &mut Cx<'_>) -> Result<(), SendError> {
    if is_undecided(letter) {
        return Ok(());
    }
    outgoing::forget(cx.tx().await?, &send.id)
        .await
        .map_err(CxError::from)?;
    let (code, enhanced) = smtp::refusal_in(&letter.error).unzip();
    if letter.error_class == REFUSED && letter.error.contains(AT_RCPT) {
        let why = cause(enhanced.as_ref().and_then(Option::as_deref), &letter.error);
        if why.is_of_the_address() {
            let (tx, detail) = (cx.tx().await?, &letter.error);
            let added = suppressions::add(tx, &send.to.address, why.as_str(), detail, &send.id).await;
            added.map_err(CxError::from)?;
        }
    }
    let failed = Failed {
        id: send.id.clone(),
        account: send.account.clone(),
        to: send.to.address.clone(),
        message_id: send.message_id.clone(),
        code,
        enhanced: enhanced.flatten(),
        error: letter.error.clone(),
    };
    Ok(cx.publish(&failed).await?)
}

/// Whether a person has sent a mail on its way again of which nobody knows that it did not arrive.
pub(super) async fn replays_a_doubt(cx: &Cx<'_>) -> Result<bool, CxError> {
    let Some(id) = cx.headers().get(headers::REPLAY) else {
        return Ok(false);
    };
    let mut tx = cx.store().read().await?;
    Ok(dead_letters::find(&mut tx, id)
        .await?
        .is_some_and(|letter| may_have_arrived(&letter)))
}

/// Whether the mail is in the folder that the provider fills; `None` where there is no such folder.
pub(super) async fn look(account: &Outbound, send: &Send) -> Option<Result<bool, ImapError>> {
    let found = account.proof()?.has(&send.message_id).await;
    tracing::info!(account = send.account, found = ?found.as_ref().ok(), "an answer was lost; looked for the mail among what was sent");
    Some(found)
}
