//! Who may connect, and what they may do then.

use std::fmt;
use std::time::Duration;

/// The account of everybody for whom no other one is named.
pub const GLOBAL_ACCOUNT: &str = "$G";
/// The account whose users may ask the server about itself.
pub const SYSTEM_ACCOUNT: &str = "$SYS";

/// What must be neither logged nor shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

/// Users, and the accounts that keep them apart. Without users everybody may do everything.
///
/// ```
/// use postroom_broker::{Auth, Config};
/// let config = Config::new().auth(Auth::user("ann", "s3cret"));
/// assert!(!format!("{config:?}").contains("s3cret"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    pub users: Vec<User>,
    /// Accounts beside [`GLOBAL_ACCOUNT`].
    pub accounts: Vec<Account>,
    /// Who a client is that gives no credentials; the name of one of `users`.
    pub no_auth_user: Option<String>,
    /// [`SYSTEM_ACCOUNT`] unless another one is named.
    pub system_account: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub credentials: Credentials,
    /// The name of the account that the user is in.
    pub account: String,
    /// `None` is without restriction.
    pub permissions: Option<Permissions>,
}

/// What a client has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    Password {
        user: String,
        /// As it is, or its bcrypt (`$2a$…`) or argon2 (`$argon2id$…`) hash. Without one only a client's certificate
        /// makes somebody this user.
        password: Option<Secret>,
    },
    Token(Secret),
    /// A public key (`U…`); the client signs the server's nonce with the other half.
    Nkey(String),
}

/// A subject space of its own, with streams of its own if it has JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub jetstream: Option<AccountLimits>,
}

/// What one account may take of JetStream; `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// Bytes of all streams in memory.
    pub max_memory: Option<u64>,
    /// Bytes of all streams on disk.
    pub max_storage: Option<u64>,
    pub max_streams: Option<usize>,
    /// Consumers of all streams.
    pub max_consumers: Option<usize>,
}

/// What a user may publish on and subscribe to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    pub publish: Rule,
    pub subscribe: Rule,
    /// Whoever is sent a request may answer it, though `publish` has no word of the reply subject.
    pub responses: Option<Responses>,
}

/// Subjects, wildcards included; for subscriptions also `subject queue`, which is about members of that queue group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// `None` allows everything.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Answers per request; `None` is without limit.
    pub max: Option<u64>,
    /// How long after the request answers may come; `None` is without limit.
    pub expires: Option<Duration>,
}

impl Default for Responses {
    fn default() -> Responses {
        Responses {
            max: Some(1),
            expires: Some(Duration::from_secs(120)),
        }
    }
}

impl Secret {
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// The secret itself, to be compared and not to be kept.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Auth {
    /// Everybody may do everything.
    pub fn open() -> Auth {
        Auth::default()
    }

    /// One user, who may do everything.
    pub fn user(user: impl Into<String>, password: impl Into<String>) -> Auth {
        Auth::with(Credentials::Password {
            user: user.into(),
            password: Some(Secret::new(password)),
        })
    }

    /// Whoever knows the token may do everything.
    pub fn token(token: impl Into<String>) -> Auth {
        Auth::with(Credentials::Token(Secret::new(token)))
    }

    fn with(credentials: Credentials) -> Auth {
        Auth {
            users: vec![User::new(credentials)],
            ..Auth::default()
        }
    }

    pub fn is_required(&self) -> bool {
        !self.users.is_empty()
    }

    pub fn system_account(&self) -> &str {
        self.system_account.as_deref().unwrap_or(SYSTEM_ACCOUNT)
    }
}

impl User {
    /// In the global account and without restriction.
    pub fn new(credentials: Credentials) -> User {
        User {
            credentials,
            account: GLOBAL_ACCOUNT.to_owned(),
            permissions: None,
        }
    }

    /// What the user is known by where no secret may stand.
    pub fn name(&self) -> &str {
        match &self.credentials {
            Credentials::Password { user, .. } => user,
            Credentials::Token(_) => "[token]",
            Credentials::Nkey(key) => key,
        }
    }
}
