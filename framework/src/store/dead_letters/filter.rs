//! Which letters: one filter, one SQL condition, for everything that reads or handles many of them.

use super::row::{DeadLetter, columns};
use crate::on_tx;
use crate::store::{StoreError, Tx};

/// A condition on letters; what is `None` is not asked for, so the default matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `dead`, `replaying`, `replayed` or `discarded`.
    pub state: Option<String>,
    /// The handler they died in.
    pub handler: Option<String>,
    /// One of [`Reason`](super::Reason)'s words.
    pub reason: Option<String>,
    /// The error's fingerprint.
    pub group: Option<String>,
    /// The subject they came on.
    pub subject: Option<String>,
    /// Died then or later, as [`time_text`](super::time_text) tells it.
    pub since: Option<String>,
    /// Died before then.
    pub until: Option<String>,
    /// The mail's Message-ID, with its angle brackets or without.
    pub message_id: Option<String>,
}

/// The condition; its parameters are the first eight of every statement that it is part of.
macro_rules! matching {
    () => {
        "($1 IS NULL OR state = $1) AND ($2 IS NULL OR handler = $2) AND ($3 IS NULL OR reason = $3) \
         AND ($4 IS NULL OR error_fingerprint = $4) AND ($5 IS NULL OR subject = $5) \
         AND ($6 IS NULL OR died_at >= $6) AND ($7 IS NULL OR died_at < $7) \
         AND ($8 IS NULL OR message_id IN ($8, '<' || $8 || '>'))"
    };
}
pub(super) use matching;

/// Binds a filter to the first eight parameters of a query.
macro_rules! bind_filter {
    ($query:expr, $filter:expr) => {
        $query
            .bind($filter.state.as_deref())
            .bind($filter.handler.as_deref())
            .bind($filter.reason.as_deref())
            .bind($filter.group.as_deref())
            .bind($filter.subject.as_deref())
            .bind($filter.since.as_deref())
            .bind($filter.until.as_deref())
            .bind(
                $filter
                    .message_id
                    .as_deref()
                    .map($crate::store::dead_letters::filter::bare),
            )
    };
}
pub(super) use bind_filter;

/// A Message-ID without its angle brackets: some write them, some don't.
pub(super) fn bare(message_id: &str) -> &str {
    message_id.trim_start_matches('<').trim_end_matches('>')
}

const NEWEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM dead_letters WHERE ",
    matching!(),
    " ORDER BY died_at DESC, id DESC LIMIT $9"
);

/// The letters that died last, at most `limit`.
///
/// # Errors
/// When the database refuses.
pub async fn newest(tx: &mut Tx, filter: &Filter, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
    Ok(
        on_tx!(tx, connection => bind_filter!(sqlx::query_as(NEWEST), filter)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?,
    )
}

/// The newest letters in `state` (`None`: in any), at most `limit`.
///
/// # Errors
/// When the database refuses.
pub async fn list(tx: &mut Tx, state: Option<&str>, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
    let filter = Filter {
        state: state.map(str::to_owned),
        ..Filter::default()
    };
    newest(tx, &filter, limit).await
}

/// How far a filter reached when it was asked. What dies later stays outside, so that work on many letters ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// So many letters match.
    pub letters: u64,
    /// The greatest id among them.
    last: Option<String>,
}

const EXTENT: &str = concat!("SELECT COUNT(*), MAX(id) FROM dead_letters WHERE ", matching!());

/// Counts what the filter matches now.
///
/// # Errors
/// When the database refuses.
pub async fn extent(tx: &mut Tx, filter: &Filter) -> Result<Extent, StoreError> {
    let (letters, last): (i64, Option<String>) = on_tx!(tx, connection => bind_filter!(sqlx::query_as(EXTENT), filter)
        .fetch_one(connection)
        .await)?;
    Ok(Extent {
        letters: u64::try_from(letters).unwrap_or(0),
        last,
    })
}

const IDS: &str = concat!(
    "SELECT id FROM dead_letters WHERE ",
    matching!(),
    " AND id > $9 AND id <= $10 ORDER BY id LIMIT $11"
);

/// The ids of the next matching letters within `extent` after the letter `after` (`""`: from the first), oldest first.
///
/// # Errors
/// When the database refuses.
pub async fn ids(
    tx: &mut Tx,
    filter: &Filter,
    extent: &Extent,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    Ok(
        on_tx!(tx, connection => bind_filter!(sqlx::query_scalar(IDS), filter)
        .bind(after)
        .bind(extent.last.as_deref())
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?,
    )
}

const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM dead_letters WHERE ",
    matching!(),
    " AND id > $9 AND id <= $10 ORDER BY id LIMIT $11"
);

/// As [`ids`], the letters whole.
///
/// # Errors
/// When the database refuses.
pub async fn page(
    tx: &mut Tx,
    filter: &Filter,
    extent: &Extent,
    after: &str,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    Ok(
        on_tx!(tx, connection => bind_filter!(sqlx::query_as(PAGE), filter)
        .bind(after)
        .bind(extent.last.as_deref())
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await)?,
    )
}
