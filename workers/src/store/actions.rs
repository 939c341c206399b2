//! Table `mailbox_actions`: what is to be done on the server with mails that were announced or answered.
//!
//! ```text
//! due → done       the server said OK; it says so, too, for a mail that somebody else has taken away meanwhile
//!     → copied     where there is no MOVE: the copy is in the folder, the mail is still to be expunged
//!     → gone       the server's UIDs began anew, and the mail was not found again
//!     → refused    the mailbox does not keep this flag
//! ```

use std::time::Duration;

use postroom::{StoreError, Tx, execute, on_tx};
use serde::Serialize;
use uuid::Uuid;

use super::mails::Place;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A reply was sent: `\Answered`.
    Answered,
    Expunge,
    /// The argument is the flag.
    Flag,
    /// The argument is the folder.
    Move,
}

impl Action {
    /// As in the table, and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Expunge => "expunge",
            Self::Flag => "flag",
            Self::Move => "move",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Answered, Self::Expunge, Self::Flag, Self::Move]
            .into_iter()
            .find(|action| action.as_str() == word)
    }
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Gone,
    Refused,
}

impl End {
    /// As in the table, and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Gone => "gone",
            Self::Refused => "refused",
        }
    }
}

/// An action whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub event_id: String,
    pub action: Action,
    pub argument: String,
    pub is_copied: bool,
    /// Where the mail was when it was announced.
    pub place: Place,
}

const DECIDE: &str = "\
INSERT INTO mailbox_actions (event_id, action, account, mailbox, argument, published_as, state, attempts, retry_at, created)
VALUES ($1, $2, $3, $4, $5, $6, 'due', 0, 0, (SELECT now_ms FROM clock))
ON CONFLICT (event_id, action) DO NOTHING";

/// Decides that it is to be done, once the broker has confirmed the outbox row `published_as`.
///
/// # Errors
/// When the database refuses.
pub async fn decide(
    tx: &mut Tx,
    event_id: Uuid,
    (account, mailbox): (&str, &str),
    (action, argument): (Action, &str),
    published_as: Option<&str>,
) -> Result<(), StoreError> {
    let id = event_id.to_string();
    execute!(
        tx,
        DECIDE,
        id,
        action.as_str(),
        account,
        mailbox,
        argument,
        published_as
    )?;
    Ok(())
}

const ANSWERED: &str = "\
INSERT INTO mailbox_actions (event_id, action, account, mailbox, argument, state, attempts, retry_at, created)
SELECT m.event_id, 'answered', m.account, m.mailbox, '\\Answered', 'due', 0, 0, (SELECT now_ms FROM clock)
FROM replies r JOIN mails m ON m.event_id = r.event_id
WHERE r.send_id = $1 AND m.state <> 'gone'
ON CONFLICT (event_id, action) DO NOTHING";

/// Decides that the mail that this send answers is to be marked; nothing where the send answers none.
///
/// # Errors
/// When the database refuses.
pub async fn decide_answered(tx: &mut Tx, send_id: &str) -> Result<(), StoreError> {
    execute!(tx, ANSWERED, send_id)?;
    Ok(())
}

/// A row that the broker has confirmed is in the outbox no more.
const DUE: &str = "\
SELECT a.event_id, a.action, a.argument, a.state, m.epoch, m.uid
FROM mailbox_actions a JOIN mails m ON m.event_id = a.event_id
WHERE a.account = $1 AND a.mailbox = $2 AND a.settled IS NULL AND a.retry_at <= (SELECT now_ms FROM clock)
    AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = a.published_as)
ORDER BY a.action, a.argument, a.state, m.uid LIMIT $3";

type Row = (String, String, String, String, i64, i64);

/// Actions whose time has come, alike ones beside each other.
///
/// # Errors
/// When the database refuses.
pub async fn due(tx: &mut Tx, account: &str, mailbox: &str, limit: i64) -> Result<Vec<Due>, StoreError> {
    let rows: Vec<Row> = on_tx!(tx, connection => sqlx::query_as(DUE)
        .bind(account)
        .bind(mailbox)
        .bind(limit)
        .fetch_all(connection)
        .await)?;
    let row = |(event_id, action, argument, state, epoch, uid): Row| {
        Some(Due {
            event_id,
            action: Action::of(&action)?,
            argument,
            is_copied: state == "copied",
            place: Place {
                account: account.to_owned(),
                mailbox: mailbox.to_owned(),
                epoch,
                uid: u32::try_from(uid).ok()?,
            },
        })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

const UNCONFIRMED: &str = "\
SELECT COUNT(*) FROM (SELECT 1 AS one FROM mailbox_actions a JOIN outbox o ON o.id = a.published_as
    WHERE a.account = $1 AND a.mailbox = $2 AND a.settled IS NULL LIMIT 1) AS found";

/// Whether there are actions that wait for nothing but the broker's word.
///
/// # Errors
/// When the database refuses.
pub async fn are_unconfirmed(tx: &mut Tx, account: &str, mailbox: &str) -> Result<bool, StoreError> {
    let found: i64 = on_tx!(tx, connection => sqlx::query_scalar(UNCONFIRMED)
        .bind(account)
        .bind(mailbox)
        .fetch_one(connection)
        .await)?;
    Ok(found > 0)
}

const CARRIED: &str = "\
SELECT carried_to, carried_uid FROM mails WHERE account = $1 AND mailbox = $2 AND epoch = $3 AND uid = $4";

/// The mail's UID in this epoch, where it was found again however often UIDs began anew; `None` where it was not.
///
/// # Errors
/// When the database refuses.
pub async fn uid_in(tx: &mut Tx, place: &Place, epoch: i64) -> Result<Option<u32>, StoreError> {
    let mut at = place.clone();
    // Each step leads into a later epoch.
    while at.epoch < epoch {
        let found: Option<(Option<i64>, Option<i64>)> = on_tx!(tx, connection => sqlx::query_as(CARRIED)
            .bind(&at.account)
            .bind(&at.mailbox)
            .bind(at.epoch)
            .bind(i64::from(at.uid))
            .fetch_optional(connection)
            .await)?;
        let Some((Some(to), Some(uid))) = found else {
            return Ok(None);
        };
        let (true, Ok(uid)) = (to > at.epoch, u32::try_from(uid)) else {
            return Ok(None);
        };
        (at.epoch, at.uid) = (to, uid);
    }
    Ok((at.epoch == epoch).then_some(at.uid))
}

#[derive(Serialize)]
struct Event<'a> {
    event_id: &'a str,
}

fn events(due: &[Due]) -> Result<String, StoreError> {
    let rows: Vec<Event<'_>> = due
        .iter()
        .map(|due| Event {
            event_id: &due.event_id,
        })
        .collect();
    serde_json::to_string(&rows).map_err(|source| StoreError::Json {
        table: "mailbox_actions",
        column: "event_id",
        source,
    })
}

const SETTLE: &str = "\
UPDATE mailbox_actions SET state = $3, error = $4, settled = (SELECT now_ms FROM clock)
WHERE action = $2 AND settled IS NULL AND event_id IN (SELECT value ->> 'event_id' FROM json_each($1))";

/// They are over. All are of one kind.
///
/// # Errors
/// When the database refuses.
pub async fn settle(tx: &mut Tx, due: &[Due], end: End, error: Option<&str>) -> Result<(), StoreError> {
    if let Some(first) = due.first() {
        execute!(
            tx,
            SETTLE,
            events(due)?,
            first.action.as_str(),
            end.as_str(),
            error
        )?;
    }
    Ok(())
}

const COPIED: &str = "\
UPDATE mailbox_actions SET state = 'copied'
WHERE action = $2 AND settled IS NULL AND event_id IN (SELECT value ->> 'event_id' FROM json_each($1))";

/// The copies are made; a repeat does not make them again.
///
/// # Errors
/// When the database refuses.
pub async fn copied(tx: &mut Tx, due: &[Due]) -> Result<(), StoreError> {
    if let Some(first) = due.first() {
        execute!(tx, COPIED, events(due)?, first.action.as_str())?;
    }
    Ok(())
}

/// The wait doubles with each refusal.
const POSTPONE: &str = "\
UPDATE mailbox_actions SET attempts = attempts + 1, error = $3,
    retry_at = (SELECT now_ms FROM clock) + CASE WHEN attempts >= 10 THEN $5
        WHEN $4 * (1 << CAST(attempts AS INTEGER)) > $5 THEN $5 ELSE $4 * (1 << CAST(attempts AS INTEGER)) END
WHERE action = $2 AND settled IS NULL AND event_id IN (SELECT value ->> 'event_id' FROM json_each($1))";

/// The server refused them, in these words. They are tried again after `wait.0`, twice that, and so on up to `wait.1`.
///
/// # Errors
/// When the database refuses.
pub async fn postpone(
    tx: &mut Tx,
    due: &[Due],
    error: &str,
    wait: (Duration, Duration),
) -> Result<(), StoreError> {
    let millis = |wait: Duration| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    if let Some(first) = due.first() {
        let (first_wait, cap) = (millis(wait.0), millis(wait.1));
        execute!(
            tx,
            POSTPONE,
            events(due)?,
            first.action.as_str(),
            error,
            first_wait,
            cap
        )?;
    }
    Ok(())
}

const COUNT: &str =
    "SELECT action, state, COUNT(*) FROM mailbox_actions GROUP BY action, state ORDER BY action, state";

/// How many actions are in each state, over all mailboxes.
///
/// # Errors
/// When the database refuses.
pub async fn count(tx: &mut Tx) -> Result<Vec<(String, String, i64)>, StoreError> {
    Ok(on_tx!(tx, connection => sqlx::query_as(COUNT).fetch_all(connection).await)?)
}
