//! Table `sent_per_day`: the mails of each day, for accounts that are warming up.

use postroom::{StoreError, Tx, execute};

const TAKE: &str = "\
INSERT INTO sent_per_day (account, day, mails) VALUES ($1, $2, 1)
ON CONFLICT (account, day) DO UPDATE SET mails = sent_per_day.mails + 1 WHERE sent_per_day.mails < $3";

/// Takes one of the day's places; false when there is none left. `limit` is at least 1.
///
/// # Errors
/// When the database refuses.
pub async fn take(tx: &mut Tx, account: &str, day: &str, limit: i64) -> Result<bool, StoreError> {
    Ok(execute!(tx, TAKE, account, day, limit)? == 1)
}

const GIVE_BACK: &str =
    "UPDATE sent_per_day SET mails = mails - 1 WHERE account = $1 AND day = $2 AND mails > 0";

/// Gives a place back whose mail did not go out.
///
/// # Errors
/// When the database refuses.
pub async fn give_back(tx: &mut Tx, account: &str, day: &str) -> Result<(), StoreError> {
    execute!(tx, GIVE_BACK, account, day)?;
    Ok(())
}
