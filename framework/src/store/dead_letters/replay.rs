//! Sending a letter once more to the handler it died in.

use super::Reason;
use super::row::{find, replay_key};
use super::trail::{self, Act};
use super::{now_text, unreadable_headers, without_nul};
use crate::headers::{self, Headers};
use crate::store::deliveries::Claim;
use crate::store::outbox::OutboxRow;
use crate::store::{Store, StoreError, Tx, deliveries};
use crate::streams;
use crate::trace::TraceContext;
use crate::{execute, on_tx};

/// What came of asking for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// It is in the outbox.
    Begun,
    /// There is no such letter.
    NotFound,
    /// It is not `dead` but in this state: there is nothing to replay, or somebody was faster.
    Not(String),
    /// It died elsewhere and does not say on which subject, so it can't be sent there again.
    Nowhere,
}

const BEGIN_REPLAY: &str = "\
UPDATE dead_letters SET state = 'replaying', replays = replays + 1, settled_by = $2 WHERE id = $1 AND state = 'dead'";

/// Sends a dead letter once more to the handler it died in. Fenced: of many callers one begins it.
///
/// # Errors
/// When the database refuses.
pub async fn replay(store: &Store, id: &str, by: &str) -> Result<Replay, StoreError> {
    let mut tx = store.begin().await?;
    let begun = execute!(tx, BEGIN_REPLAY, id, by)?;
    let Some(letter) = find(&mut tx, id).await? else {
        return Ok(Replay::NotFound);
    };
    if begun == 0 {
        return Ok(Replay::Not(letter.state));
    }
    let received: Headers = serde_json::from_str(&letter.headers).map_err(unreadable_headers)?;
    let mut headers = received.for_resending();
    if let Some(context) = letter.trace_id.as_deref().and_then(TraceContext::of_trace) {
        context.write(&mut headers);
    }
    let to = if Reason::is_elsewhere(&letter.reason) {
        if !streams::is_publishable(&letter.subject) {
            return Ok(Replay::Nowhere);
        }
        headers.set(headers::RESENT, id);
        format!("to {}", letter.subject)
    } else {
        deliveries::revive(&mut tx, &letter.handler, &letter.replay_key()).await?;
        headers.set(headers::REPLAY, id);
        headers.set(headers::HANDLER, letter.handler.as_str());
        format!("to {}", letter.handler)
    };
    trail::write(&mut tx, id, Act::Replay, by, &to).await?;
    tx.push(&OutboxRow::new(letter.subject, headers, letter.payload))
        .await?;
    tx.commit().await?;
    Ok(Replay::Begun)
}

const REPLAYED_KEY: &str =
    "SELECT key, edits FROM dead_letters WHERE id = $1 AND handler = $2 AND state = 'replaying'";

/// The ledger key under which `handler` runs the replay of letter `id`; `None` when no such replay is under way.
pub(crate) async fn replayed_key(tx: &mut Tx, id: &str, handler: &str) -> Result<Option<String>, StoreError> {
    let found: Option<(String, i64)> = on_tx!(tx, connection => sqlx::query_as(REPLAYED_KEY)
        .bind(without_nul(id))
        .bind(handler)
        .fetch_optional(connection)
        .await)?;
    Ok(found.map(|(key, edits)| replay_key(&key, edits)))
}

const REPLAYED: &str = "\
UPDATE dead_letters SET state = 'replayed', settled_at = $2 WHERE id = $1 AND state = 'replaying' RETURNING handler";

/// The replay has succeeded.
pub(crate) async fn replayed(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    let handler: Option<String> = on_tx!(tx, connection => sqlx::query_scalar(REPLAYED)
        .bind(id)
        .bind(now_text())
        .fetch_optional(connection)
        .await)?;
    if let Some(handler) = handler {
        trail::write(tx, id, Act::Replayed, &handler, "").await?;
    }
    Ok(())
}

/// In whose name the trail tells what became of a replay that no handler has seen.
const BROKER: &str = "the broker";

const RESENT: &str =
    "UPDATE dead_letters SET state = 'replayed', settled_at = $2 WHERE id = $1 AND state = 'replaying'";

/// The broker has the replay of a message that died elsewhere; what its consumers make of it is theirs.
pub(crate) async fn resent(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    if execute!(tx, RESENT, id, now_text())? == 1 {
        trail::write(tx, id, Act::Replayed, BROKER, "").await?;
    }
    Ok(())
}

const REFUSED: &str = "UPDATE dead_letters SET state = 'dead' WHERE id = $1 AND state = 'replaying'";

/// Only what was revived and not claimed since.
const PUT_TO_REST: &str = "\
UPDATE deliveries SET state = 'dead', retry_at = NULL, updated = (SELECT now_ms FROM clock)
WHERE scope = $1 AND key = $2 AND state = 'retry_at' AND attempts = 0";

/// The broker does not take the replay, so that its handler will not see it: the letter is dead as before.
pub(crate) async fn replay_refused(tx: &mut Tx, id: &str, why: &str) -> Result<(), StoreError> {
    if execute!(tx, REFUSED, id)? == 0 {
        return Ok(());
    }
    if let Some(letter) = find(tx, id).await? {
        execute!(tx, PUT_TO_REST, &letter.handler, letter.replay_key())?;
    }
    trail::write(tx, id, Act::Failed, BROKER, &format!("refused the replay: {why}")).await
}

const BACK_TO_DEAD: &str = "\
UPDATE dead_letters SET state = 'dead' WHERE id = $1 AND state = 'replaying' RETURNING handler";

/// The work was settled by another copy of the message before the replay of letter `id` came to it, so the replay is over.
pub(crate) async fn replay_ended_elsewhere(tx: &mut Tx, id: &str, found: &Claim) -> Result<(), StoreError> {
    match found {
        Claim::Done { .. } => replayed(tx, id).await,
        Claim::Dead => {
            let handler: Option<String> = on_tx!(tx, connection => sqlx::query_scalar(BACK_TO_DEAD)
                .bind(id)
                .fetch_optional(connection)
                .await)?;
            match handler {
                Some(handler) => trail::write(tx, id, Act::Failed, &handler, "another copy died").await,
                None => Ok(()),
            }
        }
        Claim::Granted(_) | Claim::Later(_) | Claim::KeyReused => Ok(()),
    }
}
