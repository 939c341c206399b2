//! `authorization` and `accounts`: who may connect, and what they may do then.

use std::collections::BTreeSet;

use super::directives::{bytes, put};
use super::permissions::permissions;
use super::read::{self, Directive, apply, block, duration, flag, secret, text, wrong};
use super::syntax::{Entry, Item, Value};
use super::{Draft, Problem};
use crate::config::{Account, AccountLimits, Auth, Credentials, GLOBAL_ACCOUNT, Permissions, Secret, User};

#[derive(Default)]
struct Access {
    user: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    nkey: Option<String>,
    users: Vec<User>,
    permissions: Option<Permissions>,
    default_permissions: Option<Permissions>,
    timeout: Option<std::time::Duration>,
    jetstream: Option<AccountLimits>,
    problems: Vec<Problem>,
}

const CALLOUT: &str = "users stand in the configuration file";
const BETWEEN_ACCOUNTS: &str = "accounts share nothing with each other";

const AUTHORIZATION: &[Directive<Access>] = &[
    ("user", |access, item| put(&mut access.user, text(item))),
    ("username", |access, item| put(&mut access.user, text(item))),
    ("pass", |access, item| {
        put(&mut access.password, secret(item).map(Secret::new))
    }),
    ("password", |access, item| {
        put(&mut access.password, secret(item).map(Secret::new))
    }),
    ("token", |access, item| {
        put(&mut access.token, secret(item).map(Secret::new))
    }),
    ("users", users),
    ("default_permissions", |access, item| {
        put(&mut access.default_permissions, permissions(item))
    }),
    ("permissions", |access, item| {
        put(&mut access.default_permissions, permissions(item))
    }),
    ("timeout", |access, item| put(&mut access.timeout, duration(item))),
];

const AUTHORIZATION_UNSUPPORTED: &[(&str, &str)] = &[("auth_callout", CALLOUT), ("proxy_required", CALLOUT)];

const USER: &[Directive<Access>] = &[
    ("user", |access, item| put(&mut access.user, text(item))),
    ("username", |access, item| put(&mut access.user, text(item))),
    ("pass", |access, item| {
        put(&mut access.password, secret(item).map(Secret::new))
    }),
    ("password", |access, item| {
        put(&mut access.password, secret(item).map(Secret::new))
    }),
    ("nkey", |access, item| put(&mut access.nkey, nkey(item))),
    ("permissions", |access, item| {
        put(&mut access.permissions, permissions(item))
    }),
    ("permission", |access, item| {
        put(&mut access.permissions, permissions(item))
    }),
    ("authorization", |access, item| {
        put(&mut access.permissions, permissions(item))
    }),
];

const USER_UNSUPPORTED: &[(&str, &str)] = &[
    ("connection_types", "users are the same on all listeners"),
    ("allowed_connection_types", "users are the same on all listeners"),
    ("clients", "users are the same on all listeners"),
    ("proxy_required", CALLOUT),
];

const ACCOUNT: &[Directive<Access>] = &[
    ("users", users),
    ("default_permissions", |access, item| {
        put(&mut access.default_permissions, permissions(item))
    }),
    ("jetstream", account_jetstream),
    ("js", account_jetstream),
];

const ACCOUNT_UNSUPPORTED: &[(&str, &str)] = &[
    ("imports", BETWEEN_ACCOUNTS),
    ("exports", BETWEEN_ACCOUNTS),
    ("mappings", "subjects are mapped in streams only"),
    ("maps", "subjects are mapped in streams only"),
    ("nkey", "accounts are known by their names"),
    ("limits", "an account's limits are those of its jetstream block"),
    ("msg_trace", "messages are not traced"),
    ("trace_dest", "messages are not traced"),
];

const ACCOUNT_JETSTREAM: &[Directive<AccountLimits>] = &[
    ("max_memory", |limits, item| bytes(&mut limits.max_memory, item)),
    ("max_mem", |limits, item| bytes(&mut limits.max_memory, item)),
    ("memory", |limits, item| bytes(&mut limits.max_memory, item)),
    ("mem", |limits, item| bytes(&mut limits.max_memory, item)),
    ("max_store", |limits, item| bytes(&mut limits.max_storage, item)),
    ("max_file", |limits, item| bytes(&mut limits.max_storage, item)),
    ("max_disk", |limits, item| bytes(&mut limits.max_storage, item)),
    ("store", |limits, item| bytes(&mut limits.max_storage, item)),
    ("disk", |limits, item| bytes(&mut limits.max_storage, item)),
    ("max_streams", |limits, item| count(&mut limits.max_streams, item)),
    ("streams", |limits, item| count(&mut limits.max_streams, item)),
    ("max_consumers", |limits, item| {
        count(&mut limits.max_consumers, item)
    }),
    ("consumers", |limits, item| count(&mut limits.max_consumers, item)),
];

const ACCOUNT_JETSTREAM_UNSUPPORTED: &[(&str, &str)] = &[
    ("max_bytes_required", "set max_bytes on the streams"),
    ("mem_max_stream_bytes", "set max_bytes on the streams"),
    ("disk_max_stream_bytes", "set max_bytes on the streams"),
    ("max_ack_pending", "set max_ack_pending on the consumers"),
    ("cluster_traffic", "this server is one node"),
];

pub fn authorization(draft: &mut Draft, item: &Item) -> Result<(), Problem> {
    let mut access = Access::default();
    apply(
        block(item)?,
        AUTHORIZATION,
        &mut access,
        AUTHORIZATION_UNSUPPORTED,
        &mut draft.problems,
    );
    draft.problems.append(&mut access.problems);
    if let Some(timeout) = access.timeout {
        draft.file.config.limits.auth_timeout = timeout;
    }
    let single = match (access.user, access.password, access.token) {
        (None, None, None) => None,
        (None, None, Some(token)) => Some(Credentials::Token(token)),
        (Some(user), Some(password), None) => Some(password_of(user, Some(password))),
        _ => {
            return Err(Problem::new(
                &item.at,
                "give `user` with `password`, or `token`, or `users`",
            ));
        }
    };
    let mut users = access.users;
    if single.is_some() && !users.is_empty() {
        return Err(Problem::new(
            &item.at,
            "give one user here or many in `users`, not both",
        ));
    }
    users.extend(single.map(User::new));
    for user in &mut users {
        user.permissions = user
            .permissions
            .take()
            .or_else(|| access.default_permissions.clone());
    }
    draft.file.config.auth.users.extend(users);
    Ok(())
}

pub fn accounts(draft: &mut Draft, item: &Item) -> Result<(), Problem> {
    for entry in block(item)? {
        let mut access = Access::default();
        let read = block(&entry.item);
        let Ok(entries) = read else {
            draft.problems.extend(read.err());
            continue;
        };
        apply(
            entries,
            ACCOUNT,
            &mut access,
            ACCOUNT_UNSUPPORTED,
            &mut draft.problems,
        );
        draft.problems.append(&mut access.problems);
        for mut user in access.users {
            user.permissions = user.permissions.or_else(|| access.default_permissions.clone());
            user.account.clone_from(&entry.key);
            draft.file.config.auth.users.push(user);
        }
        let jetstream = access.jetstream;
        let name = entry.key.clone();
        draft.file.config.auth.accounts.push(Account { name, jetstream });
    }
    Ok(())
}

/// What is wrong with the users as a whole.
pub fn check(entries: &[Entry], auth: &Auth, problems: &mut Vec<Problem>) {
    let spot = |key: &str| {
        entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(key))
            .map(|entry| &entry.at)
    };
    let access = spot("accounts").or(spot("authorization"));
    let mut names = BTreeSet::new();
    for user in &auth.users {
        let is_named = !matches!(user.credentials, Credentials::Token(_));
        if let Some(at) = access.filter(|_| is_named && !names.insert(user.name())) {
            problems.push(Problem::new(
                at,
                format!("the user {:?} is there twice", user.name()),
            ));
        }
    }
    if let (Some(name), Some(at)) = (&auth.no_auth_user, spot("no_auth_user"))
        && !names.contains(name.as_str())
    {
        problems.push(Problem::new(
            at,
            format!("no_auth_user: there is no user {name:?}"),
        ));
    }
    let mut accounts = BTreeSet::from([GLOBAL_ACCOUNT]);
    for account in &auth.accounts {
        if let Some(at) = access.filter(|_| !accounts.insert(&account.name)) {
            problems.push(Problem::new(
                at,
                format!("the account {:?} is there twice, or always", account.name),
            ));
        }
    }
    if let (Some(name), Some(at)) = (&auth.system_account, spot("system_account").or(spot("system")))
        && !accounts.contains(name.as_str())
    {
        problems.push(Problem::new(
            at,
            format!("system_account: there is no account {name:?}"),
        ));
    }
}

fn users(access: &mut Access, item: &Item) -> Result<(), Problem> {
    let Value::List(items) = &item.value else {
        return Err(wrong(item, "a list of users"));
    };
    for item in items {
        let mut given = Access::default();
        let read = block(item).and_then(|entries| {
            let before = access.problems.len();
            apply(entries, USER, &mut given, USER_UNSUPPORTED, &mut access.problems);
            let is_told_already = access.problems.len() > before;
            let credentials = match (given.user, given.password, given.nkey) {
                (Some(user), password, None) => password_of(user, password),
                (None, None, Some(nkey)) => Credentials::Nkey(nkey),
                _ if is_told_already => return Ok(None),
                _ => {
                    return Err(Problem::new(
                        &item.at,
                        "a user has `user` with `password`, or `nkey`",
                    ));
                }
            };
            let permissions = given.permissions;
            Ok(Some(User {
                permissions,
                ..User::new(credentials)
            }))
        });
        match read {
            Ok(user) => access.users.extend(user),
            Err(problem) => access.problems.push(problem),
        }
    }
    Ok(())
}

fn password_of(user: String, password: Option<Secret>) -> Credentials {
    Credentials::Password { user, password }
}

fn nkey(item: &Item) -> Result<String, Problem> {
    let key = text(item)?;
    let is_user = key.starts_with('U') && nkeys::KeyPair::from_public_key(&key).is_ok();
    if is_user {
        Ok(key)
    } else {
        Err(wrong(item, "the public nkey of a user, which starts with U"))
    }
}

fn account_jetstream(access: &mut Access, item: &Item) -> Result<(), Problem> {
    if let Ok(entries) = block(item) {
        let mut limits = AccountLimits::default();
        apply(
            entries,
            ACCOUNT_JETSTREAM,
            &mut limits,
            ACCOUNT_JETSTREAM_UNSUPPORTED,
            &mut access.problems,
        );
        access.jetstream = Some(limits);
        return Ok(());
    }
    let wanted = match text(item).map(|word| word.to_ascii_lowercase()).as_deref() {
        Ok("enabled") => true,
        Ok("disabled") => false,
        _ => flag(item).map_err(|_| wrong(item, "true, false, or a block in braces"))?,
    };
    access.jetstream = wanted.then(AccountLimits::default);
    Ok(())
}

fn count(field: &mut Option<usize>, item: &Item) -> Result<(), Problem> {
    let number: i64 = read::number(item, "a number, or -1 for no limit")?;
    *field = usize::try_from(number).ok();
    Ok(())
}
