//! Table `sign_ins`: the refresh tokens that token servers gave in place of earlier ones.

use std::fmt::Write as _;

use postroom::{StoreError, Tx, execute, on_tx};
use sha2::{Digest, Sha256};

use crate::config::Secret;

/// What a kept token descends from: a sign-in, or a token of the configuration. A token that was configured anew has no
/// descendants yet, so it counts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Of the configured token, or of `postroom login` where none is.
    #[must_use]
    pub fn of(configured: Option<&Secret>) -> Self {
        let Some(token) = configured else {
            return Self("sign-in".to_owned());
        };
        let mut hex = "sha256:".to_owned();
        for byte in Sha256::digest(token.expose()) {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }
}

const FIND: &str = "SELECT refresh_token FROM sign_ins WHERE account = $1 AND origin = $2";

/// The newest refresh token of this origin.
///
/// # Errors
/// When the database refuses.
pub async fn find(tx: &mut Tx, account: &str, origin: &Origin) -> Result<Option<Secret>, StoreError> {
    let token: Option<String> = on_tx!(tx, connection => sqlx::query_scalar(FIND)
        .bind(account)
        .bind(&origin.0)
        .fetch_optional(connection)
        .await)?;
    Ok(token.map(Secret::new))
}

const KEEP: &str = "\
INSERT INTO sign_ins (account, origin, refresh_token, updated)
VALUES ($1, $2, $3, (SELECT now_ms FROM clock))
ON CONFLICT (account) DO UPDATE SET
    origin = excluded.origin, refresh_token = excluded.refresh_token, updated = excluded.updated";

/// Keeps a token in place of whatever the account had.
///
/// # Errors
/// When the database refuses.
pub async fn keep(tx: &mut Tx, account: &str, origin: &Origin, token: &Secret) -> Result<(), StoreError> {
    execute!(tx, KEEP, account, &origin.0, token.expose())?;
    Ok(())
}
