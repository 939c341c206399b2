//! How an account proves to a mail server who it is: by a password, or by an OAuth 2.0 access token.
//!
//! ```text
//! sasl       what is said to the server, pure
//! provider   where tokens come from: Google, Microsoft, or any other by URL
//! tokens     one account's access token: kept, renewed ahead of its end and when it is refused
//! exchange   the token server over HTTPS
//! sign_in    the one time that a person is asked, in the browser
//! ```

mod exchange;
mod provider;
pub mod sasl;
pub mod sign_in;
mod tokens;

use std::fmt;

pub use exchange::OAuthError;
pub use provider::{OAuth, Provider, TokenUrl};
pub use tokens::{Access, Tokens};

use crate::config::Secret;

/// Who logs in, and by what.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub credential: Credential,
}

/// What proves it.
#[derive(Debug, Clone)]
pub enum Credential {
    Password(Secret),
    /// Shared by all connections of the account, so that they renew it once.
    OAuth(Tokens),
}

impl Login {
    /// With a password.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            credential: Credential::Password(Secret::new(password)),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
