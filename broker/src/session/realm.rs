//! Who is who: users by their credentials, and the accounts they are in.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use tokio::sync::Semaphore;

use super::permissions::Permissions;
use crate::config::{Auth, Credentials, Secret};
use crate::jetstream::JetStream;
use crate::protocol::Connect;
use crate::router::Router;

/// Hashes that are computed at a time: each takes a core for a good part of a second.
const HASHES_AT_A_TIME: usize = 2;
/// bcrypt takes no notice of what follows.
const PASSWORD_MAX: usize = 1024;

static HASHING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(HASHES_AT_A_TIME));

/// A subject space with its streams.
#[derive(Debug)]
pub struct Account {
    pub name: String,
    pub router: Router,
    pub jetstream: Option<JetStream>,
    pub is_system: bool,
}

/// Somebody whose credentials were right.
#[derive(Debug)]
pub struct Login {
    /// Empty for whoever gave no credentials where none are needed.
    pub user: String,
    pub account: Arc<Account>,
    pub permissions: Permissions,
}

#[derive(Debug)]
pub struct Realm {
    users: Vec<(Credentials, Arc<Login>)>,
    /// Who a client is that gives no credentials.
    nobody: Option<Arc<Login>>,
    accounts: Vec<Arc<Account>>,
    maps_certificates: bool,
}

/// What a client has shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub connect: &'a Connect,
    /// What the client was given to sign.
    pub nonce: Option<&'a str>,
    /// The names in its TLS certificate, which was verified before.
    pub certificate: &'a [String],
}

impl Realm {
    /// `accounts` hold every account that `auth` names, the global one first.
    pub fn new(auth: &Auth, accounts: Vec<Arc<Account>>, maps_certificates: bool) -> Realm {
        let account = |name: &str| accounts.iter().find(|account| account.name == name).cloned();
        let mut users = Vec::new();
        for user in &auth.users {
            // One in an account that is not there can not log in.
            let Some(account) = account(&user.account) else {
                continue;
            };
            let permissions = user
                .permissions
                .as_ref()
                .map(Permissions::new)
                .unwrap_or_default();
            let user_name = user.name().to_owned();
            let login = Login {
                user: user_name,
                account,
                permissions,
            };
            users.push((user.credentials.clone(), Arc::new(login)));
        }
        let named = |name: &String| {
            users
                .iter()
                .find(|(_, login)| login.user == *name)
                .map(|(_, login)| Arc::clone(login))
        };
        let open = accounts.first().filter(|_| auth.users.is_empty()).map(|account| {
            let (account, permissions) = (Arc::clone(account), Permissions::default());
            Arc::new(Login {
                user: String::new(),
                account,
                permissions,
            })
        });
        let nobody = open.or_else(|| auth.no_auth_user.as_ref().and_then(named));
        Realm {
            users,
            nobody,
            accounts,
            maps_certificates,
        }
    }

    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    pub fn system_account(&self) -> Option<&Arc<Account>> {
        self.accounts.iter().find(|account| account.is_system)
    }

    /// Who a client is before it has said anything.
    pub fn nobody(&self) -> Option<&Arc<Login>> {
        self.nobody.as_ref()
    }

    pub fn is_auth_required(&self) -> bool {
        !self.users.is_empty()
    }

    pub fn needs_nonce(&self) -> bool {
        self.users
            .iter()
            .any(|(credentials, _)| matches!(credentials, Credentials::Nkey(_)))
    }

    /// Checks what was shown; hashes are computed off the runtime's threads.
    pub async fn log_in(&self, shown: Shown<'_>) -> Option<Arc<Login>> {
        let Connect {
            user,
            pass,
            auth_token,
            nkey,
            jwt,
            ..
        } = shown.connect;
        if self.maps_certificates && !shown.certificate.is_empty() {
            return self.by_certificate(shown.certificate);
        }
        if let Some(nkey) = nkey.as_deref().filter(|_| self.is_auth_required()) {
            return self.by_nkey(nkey, shown);
        }
        let user = user.as_deref().unwrap_or_default();
        let password = pass.as_deref().unwrap_or_default();
        let token = auth_token.as_deref().unwrap_or_default();
        let gives_nothing = user.is_empty() && password.is_empty() && token.is_empty() && jwt.is_none();
        // Without users anybody may name any.
        if gives_nothing || self.users.is_empty() {
            return self.nobody.clone();
        }
        // A client may show all that it has, for whichever server it finds.
        if !user.is_empty() {
            let login = self.by_password(user, password).await;
            if login.is_some() || token.is_empty() {
                return login;
            }
        }
        self.by_token(token).await
    }

    async fn by_password(&self, user: &str, password: &str) -> Option<Arc<Login>> {
        let found = self
            .users
            .iter()
            .find_map(|(credentials, login)| match credentials {
                Credentials::Password {
                    user: name,
                    password: Some(secret),
                } if name == user => Some((secret, login)),
                _ => None,
            });
        match found {
            Some((secret, login)) => is_right(secret, password).await.then(|| Arc::clone(login)),
            None => {
                // Somebody else's password is checked, so that a wrong user takes as long as a wrong password.
                let other = self.users.iter().find_map(|(credentials, _)| match credentials {
                    Credentials::Password {
                        password: Some(secret),
                        ..
                    } => Some(secret),
                    _ => None,
                });
                if let Some(secret) = other {
                    is_right(secret, password).await;
                }
                None
            }
        }
    }

    async fn by_token(&self, token: &str) -> Option<Arc<Login>> {
        for (credentials, login) in &self.users {
            if let Credentials::Token(secret) = credentials
                && is_right(secret, token).await
            {
                return Some(Arc::clone(login));
            }
        }
        None
    }

    fn by_nkey(&self, nkey: &str, shown: Shown<'_>) -> Option<Arc<Login>> {
        let is_it = |credentials: &Credentials| matches!(credentials, Credentials::Nkey(key) if key == nkey);
        let (_, login) = self.users.iter().find(|(credentials, _)| is_it(credentials))?;
        let signature = shown.connect.sig.as_deref()?.trim_end_matches('=');
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .or_else(|_| STANDARD_NO_PAD.decode(signature))
            .ok()?;
        let key = nkeys::KeyPair::from_public_key(nkey).ok()?;
        key.verify(shown.nonce?.as_bytes(), &signature).ok()?;
        Some(Arc::clone(login))
    }

    /// The first of a certificate's names that is a user's.
    fn by_certificate(&self, names: &[String]) -> Option<Arc<Login>> {
        names.iter().find_map(|name| {
            let is_it = |login: &Login| same_name(&login.user, name);
            self.users
                .iter()
                .find(|(_, login)| is_it(login))
                .map(|(_, login)| Arc::clone(login))
        })
    }
}

/// Distinguished names are the same in whatever order their parts stand.
fn same_name(user: &str, name: &str) -> bool {
    let parts = |text: &str| {
        let mut parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort();
        parts
    };
    user == name || (user.contains('=') && parts(user) == parts(name))
}

async fn is_right(secret: &Secret, given: &str) -> bool {
    let expected = secret.reveal();
    if given.len() > PASSWORD_MAX {
        return false;
    }
    if !is_hash(expected) {
        return same(expected.as_bytes(), given.as_bytes());
    }
    let Ok(_permit) = HASHING.acquire().await else {
        return false;
    };
    let (expected, given) = (expected.to_owned(), given.to_owned());
    let checking = tokio::task::spawn_blocking(move || is_preimage(&expected, &given));
    checking.await.unwrap_or(false)
}

pub fn is_hash(text: &str) -> bool {
    ["$2a$", "$2b$", "$2y$", "$argon2"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

fn is_preimage(hash: &str, given: &str) -> bool {
    if hash.starts_with("$argon2") {
        let parsed = PasswordHash::new(hash);
        return parsed.is_ok_and(|hash| {
            argon2::Argon2::default()
                .verify_password(given.as_bytes(), &hash)
                .is_ok()
        });
    }
    bcrypt::verify(given, hash).unwrap_or(false)
}

/// The time depends on the length of what was given only, which the peer knows anyway.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = u8::from(expected.len() != given.len());
    for (at, byte) in given.iter().enumerate() {
        let want = expected.get(at).or(expected.first()).copied().unwrap_or(0);
        difference = std::hint::black_box(difference | (want ^ byte));
    }
    difference == 0
}

#[cfg(test)]
mod tests;
