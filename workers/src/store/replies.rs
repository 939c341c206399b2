//! Table `replies`: which mail was answered by which send, and whom an account has answered of late.

use postroom::{StoreError, Tx, execute};
use uuid::Uuid;

/// An answer on its way.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Of `actions.send`.
    pub send_id: &'a str,
    /// Of the mail that is answered.
    pub event_id: Uuid,
    pub account: &'a str,
    pub peer: &'a str,
    /// No person wrote it.
    pub automatic: bool,
}

const RECORD: &str = "\
INSERT INTO replies (send_id, event_id, account, peer, automatic, created)
VALUES ($1, $2, $3, $4, $5, (SELECT now_ms FROM clock))
ON CONFLICT (send_id) DO NOTHING";

/// Notes which mail is answered by which send.
///
/// # Errors
/// When the database refuses.
pub async fn record(tx: &mut Tx, answer: Answer<'_>) -> Result<(), StoreError> {
    execute!(
        tx,
        RECORD,
        answer.send_id,
        answer.event_id.to_string(),
        answer.account,
        answer.peer.to_lowercase(),
        i64::from(answer.automatic)
    )?;
    Ok(())
}
