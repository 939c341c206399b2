//! One account's access token: kept while it is good, renewed ahead of its end, and at once when a server refuses it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use postroom::redact::for_log;
use postroom::{Store, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::exchange::{self, Given, OAuthError};
use super::provider::OAuth;
use crate::config::Secret;
use crate::messages::OauthRefresh;
use crate::store::sign_ins;
use crate::tls::Dialer;

/// A token is renewed so long before it ends: longer than any login takes, and than clocks differ.
const AHEAD: Duration = Duration::from_secs(300);

/// A handle: clones share the token.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    account: String,
    oauth: OAuth,
    dialer: Dialer,
    /// Where a refresh token that was replaced is kept, once there is a database.
    store: OnceLock<Store>,
    /// Held while a token is renewed, so that all who want one wait for the same.
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    access: Option<Kept>,
    /// The newest refresh token, while the database does not have it yet.
    unsaved: Option<Secret>,
}

struct Kept {
    token: Secret,
    renew_at: Instant,
    ends_at: Instant,
}

/// A token to log in with.
#[derive(Debug, Clone)]
pub struct Access {
    pub token: Secret,
    /// It was given out just now: refused, it is not the token's age that is wrong.
    pub is_new: bool,
}

impl Tokens {
    /// Of this account; `dialer` reaches its token server.
    pub fn new(account: impl Into<String>, oauth: OAuth, dialer: Dialer) -> Self {
        Self(Arc::new(Inner {
            account: account.into(),
            oauth,
            dialer,
            store: OnceLock::new(),
            held: Mutex::default(),
        }))
    }

    /// Where replaced refresh tokens are kept and renewals are told, from now on. The first store counts.
    pub fn keep_in(&self, store: &Store) {
        let _ = self.0.store.set(store.clone());
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// When none is left and the token server gives no other.
    pub async fn access(&self) -> Result<Access, OAuthError> {
        let mut held = self.0.held.lock().await;
        let now = Instant::now();
        if let Some(kept) = held.access.as_ref().filter(|kept| now < kept.renew_at) {
            return Ok(Access {
                token: kept.token.clone(),
                is_new: false,
            });
        }
        match self.renew(&mut held).await {
            Ok(token) => Ok(Access { token, is_new: true }),
            Err(error) => match held.access.as_ref().filter(|kept| now < kept.ends_at) {
                Some(kept) => {
                    tracing::warn!(account = self.0.account, error = %for_log(&error.to_string()),
                        "the access token was not renewed ahead of its end; it is good for a while yet");
                    Ok(Access {
                        token: kept.token.clone(),
                        is_new: false,
                    })
                }
                None => Err(error),
            },
        }
    }

    /// A mail server would not have this token: the next one is new.
    pub async fn refused(&self, access: &Access) {
        let mut held = self.0.held.lock().await;
        if held
            .access
            .as_ref()
            .is_some_and(|kept| kept.token == access.token)
        {
            held.access = None;
        }
    }

    async fn renew(&self, held: &mut Held) -> Result<Secret, OAuthError> {
        let asked_at = Instant::now();
        let given = match self.ask(held).await {
            Ok(given) => given,
            Err(error) => {
                if error.is_refused() {
                    self.tell(None, Some(&error)).await;
                }
                return Err(error);
            }
        };
        held.access = Some(Kept {
            token: given.access_token.clone(),
            renew_at: asked_at + given.lifetime.saturating_sub(AHEAD.min(given.lifetime / 4)),
            ends_at: asked_at + given.lifetime,
        });
        if given.refresh_token.is_some() {
            held.unsaved = given.refresh_token;
        }
        let ends = Timestamp::now() + given.lifetime.min(Duration::from_secs(u64::from(u32::MAX)));
        if self.tell(Some((ends, held.unsaved.as_ref())), None).await {
            held.unsaved = None;
        }
        Ok(given.access_token)
    }

    async fn ask(&self, held: &Held) -> Result<Given, OAuthError> {
        let Inner { oauth, dialer, .. } = &*self.0;
        let token = match &held.unsaved {
            Some(token) => token.clone(),
            None => self.refresh_token().await?,
        };
        let asked = exchange::refresh(dialer, oauth, &token).await;
        if !asked.as_ref().is_err_and(OAuthError::is_refused) {
            return asked;
        }
        // Where each refresh token is good once, another process may have used it, and kept the next.
        let newest = self.refresh_token().await?;
        match newest == token {
            true => asked,
            false => exchange::refresh(dialer, oauth, &newest).await,
        }
    }

    /// The newest: what was kept in place of the configured one, or the configured one.
    async fn refresh_token(&self) -> Result<Secret, OAuthError> {
        let configured = self.0.oauth.refresh_token.as_ref();
        let origin = sign_ins::Origin::of(configured);
        let kept = match self.0.store.get() {
            Some(store) => find(store, &self.0.account, &origin)
                .await
                .unwrap_or_else(|error| {
                    tracing::warn!(account = self.0.account, %error, "the kept sign-in can't be read");
                    None
                }),
            None => None,
        };
        kept.or_else(|| configured.cloned())
            .ok_or_else(|| OAuthError::NotSignedIn {
                account: self.0.account.clone(),
            })
    }

    /// Keeps a replaced refresh token, and publishes what came of the renewal, in one transaction. Whether it is written.
    async fn tell(&self, renewed: Option<(Timestamp, Option<&Secret>)>, error: Option<&OAuthError>) -> bool {
        let Some(store) = self.0.store.get() else {
            return false;
        };
        let account = &self.0.account;
        let event = OauthRefresh {
            account: account.clone(),
            expires_at: renewed.map(|(ends, _)| ends),
            error: error.map(ToString::to_string),
        };
        let written = async {
            let mut tx = store.begin().await?;
            if let Some((_, Some(token))) = renewed {
                let origin = sign_ins::Origin::of(self.0.oauth.refresh_token.as_ref());
                sign_ins::keep(&mut tx, account, &origin, token).await?;
            }
            tx.publish(&event).await?;
            tx.commit().await
        };
        let written: Result<(), StoreError> = written.await;
        if let Err(error) = &written {
            tracing::warn!(account, %error, "the renewed sign-in is not written down yet");
        }
        written.is_ok()
    }
}

async fn find(store: &Store, account: &str, origin: &sign_ins::Origin) -> Result<Option<Secret>, StoreError> {
    let mut tx = store.read().await?;
    let found = sign_ins::find(&mut tx, account, origin).await?;
    tx.rollback().await?;
    Ok(found)
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("account", &self.0.account)
            .finish_non_exhaustive()
    }
}
