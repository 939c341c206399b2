//! The accounts of a server: each with a router of its own, and streams in a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use crate::config::{AccountLimits, Auth, Config, GLOBAL_ACCOUNT};
use crate::jetstream::{JetStream, OpenError};
use crate::router::Router;
use crate::session::Account;
use crate::store::StoreError;

/// The global account's streams lie in the store directory itself; those of the others below this.
const ACCOUNTS_DIRECTORY: &str = "accounts";

/// The global account first, then the system account, then those that `auth` names.
pub async fn open(config: &Config, server_name: &str) -> Result<Vec<Arc<Account>>, StartError> {
    let system = config.auth.system_account();
    let mut accounts = Vec::new();
    for (name, limits) in named(&config.auth) {
        let router = Router::default();
        let limits = limits.filter(|_| name != system);
        let jetstream = match (&config.store_dir, limits) {
            (Some(root), Some(limits)) => {
                let directory = directory(root, &name);
                Some(open_jetstream(directory, config, &name, limits, router.clone(), server_name).await?)
            }
            _ => None,
        };
        let is_system = name == system;
        accounts.push(Arc::new(Account {
            name,
            router,
            jetstream,
            is_system,
        }));
    }
    Ok(accounts)
}

/// Every account's name and, if it may have streams, what it may have of them.
pub fn named(auth: &Auth) -> Vec<(String, Option<AccountLimits>)> {
    // The global account has streams unless others are there to have them.
    let has_others = auth.accounts.iter().any(|account| account.jetstream.is_some());
    let global = (!has_others).then(AccountLimits::default);
    let mut all = vec![(GLOBAL_ACCOUNT.to_owned(), global)];
    if auth
        .accounts
        .iter()
        .all(|account| account.name != auth.system_account())
    {
        all.push((auth.system_account().to_owned(), None));
    }
    all.extend(
        auth.accounts
            .iter()
            .map(|account| (account.name.clone(), account.jetstream)),
    );
    all
}

fn directory(root: &Path, account: &str) -> PathBuf {
    if account == GLOBAL_ACCOUNT {
        return root.to_owned();
    }
    root.join(ACCOUNTS_DIRECTORY).join(as_file_name(account))
}

/// Names come from the configuration and may hold anything; what is no letter or digit is written as its bytes.
fn as_file_name(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

/// Opening reads whole logs, so it happens off the runtime's threads.
async fn open_jetstream(
    root: PathBuf,
    config: &Config,
    account: &str,
    limits: AccountLimits,
    router: Router,
    server_name: &str,
) -> Result<JetStream, StartError> {
    let limits = within(limits, config.jetstream);
    let (sync, server_name, account) = (config.sync, server_name.to_owned(), account.to_owned());
    let opening = tokio::task::spawn_blocking(move || {
        JetStream::open(&root, sync, router, &server_name, &account, limits)
    });
    match opening.await {
        Ok(Ok(jetstream)) => Ok(jetstream),
        Ok(Err(OpenError::Locked { path })) => Err(StartError::StoreLocked { path }),
        Ok(Err(OpenError::NotWritable { path, source })) => {
            Err(StartError::StoreNotWritable { path, source })
        }
        Ok(Err(OpenError::Store(StoreError::NewerFormat {
            path,
            found,
            supported,
        }))) => Err(StartError::StoreNewer {
            path,
            found,
            supported,
        }),
        Ok(Err(OpenError::Store(error))) => Err(StartError::Store(error)),
        Err(_cancelled) => Err(StartError::Interrupted),
    }
}

/// An account may never have more than the server.
fn within(account: AccountLimits, server: AccountLimits) -> AccountLimits {
    let least = |own: Option<u64>, all: Option<u64>| match (own, all) {
        (Some(own), Some(all)) => Some(own.min(all)),
        (own, all) => own.or(all),
    };
    AccountLimits {
        max_memory: least(account.max_memory, server.max_memory),
        max_storage: least(account.max_storage, server.max_storage),
        ..account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_directory() {
        for (name, expect) in [
            ("A-b_1", "A-b_1"),
            ("../x", "%2e%2e%2fx"),
            ("$SYS", "%24SYS"),
            ("ä", "%c3%a4"),
        ] {
            assert_eq!(as_file_name(name), expect);
        }
    }
}
