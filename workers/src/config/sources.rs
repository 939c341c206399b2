//! The three places that settings come from, each over the one before: the file, the environment, the flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::section::{Mistakes, note};
use super::suggest::nearest;
use super::tree::{self, Node, Origin, SyntaxError, Table, Value};

/// Variables for the top level, and the key that each stands for.
const VARIABLES: [(&str, &str); 6] = [
    ("NATS_URL", "nats_url"),
    ("DATABASE_URL", "database_url"),
    ("POSTROOM_DATA_DIR", "data_dir"),
    ("POSTROOM_HTTP", "http"),
    ("POSTROOM_DRAIN", "drain"),
    ("POSTROOM_DLQ_RETENTION", "dlq_retention"),
];

/// Variables for the account, when there is only one.
const ACCOUNT_VARIABLES: [(&str, &[&str]); 21] = [
    ("POSTROOM_ACCOUNT", &["name"]),
    ("POSTROOM_ADDRESS", &["address"]),
    ("POSTROOM_SENDER", &["sender"]),
    ("POSTROOM_ON_UNKNOWN", &["on_unknown"]),
    ("POSTROOM_IMAP_HOST", &["imap", "host"]),
    ("POSTROOM_IMAP_PORT", &["imap", "port"]),
    ("POSTROOM_IMAP_TLS", &["imap", "tls"]),
    ("POSTROOM_IMAP_CA_FILE", &["imap", "ca_file"]),
    ("POSTROOM_IMAP_USER", &["imap", "user"]),
    ("POSTROOM_IMAP_PASSWORD_FILE", &["imap", "password_file"]),
    ("POSTROOM_IMAP_PASSWORD", &["imap", "password"]),
    ("POSTROOM_IMAP_MAILBOX", &["imap", "mailbox"]),
    ("POSTROOM_IMAP_START", &["imap", "start"]),
    ("POSTROOM_SMTP_HOST", &["smtp", "host"]),
    ("POSTROOM_SMTP_PORT", &["smtp", "port"]),
    ("POSTROOM_SMTP_TLS", &["smtp", "tls"]),
    ("POSTROOM_SMTP_CA_FILE", &["smtp", "ca_file"]),
    ("POSTROOM_SMTP_USER", &["smtp", "user"]),
    ("POSTROOM_SMTP_PASSWORD_FILE", &["smtp", "password_file"]),
    ("POSTROOM_SMTP_PASSWORD", &["smtp", "password"]),
    ("POSTROOM_SMTP_HELLO", &["smtp", "hello"]),
];

/// Read elsewhere, and so no mistakes.
const OTHER_VARIABLES: [&str; 2] = ["POSTROOM_CONFIG", "POSTROOM_LOG"];

/// An account that is made of variables alone has this name unless they give it one.
const DEFAULT_ACCOUNT: &str = "main";

/// What was said, and where; pure.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Path and text of the file.
    pub(super) file: Option<(PathBuf, String)>,
    pub(super) variables: BTreeMap<String, String>,
    /// Name of the flag, key, value.
    pub(super) flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// One tree of all three.
    pub(super) fn merge(&self, mistakes: &Mistakes) -> Result<Table, SyntaxError> {
        let mut table = match &self.file {
            Some((path, text)) => tree::parse(path, text)?,
            None => Table::new(),
        };
        for (variable, key) in VARIABLES {
            self.lay_over(&mut table, variable, &[key]);
        }
        self.lay_account_over(&mut table, mistakes);
        self.check_names(mistakes);
        for (flag, key, value) in &self.flags {
            tree::set(&mut table, &[key], value.clone(), Origin::Flag(flag));
        }
        Ok(table)
    }

    fn lay_over(&self, table: &mut Table, variable: &str, path: &[&str]) {
        if let Some(value) = self.variable(variable) {
            tree::set(table, path, value.clone(), Origin::Variable(variable.to_owned()));
        }
    }

    /// An empty variable is one that was not given: compose files and units often pass them on so.
    fn variable(&self, name: &str) -> Option<&String> {
        self.variables.get(name).filter(|value| !value.is_empty())
    }

    /// The variables describe one account: the only one of the file, or one of their own.
    fn lay_account_over(&self, table: &mut Table, mistakes: &Mistakes) {
        let given = ACCOUNT_VARIABLES
            .iter()
            .find(|(variable, _)| self.variable(variable).is_some());
        let Some((first, _)) = given else { return };
        let origin = Origin::Variable((*first).to_owned());
        let fresh = || {
            let name = Node {
                origin: origin.clone(),
                value: Value::Text(DEFAULT_ACCOUNT.to_owned()),
            };
            let account = Table::from([("name".to_owned(), name)]);
            Value::List(vec![Node {
                origin: origin.clone(),
                value: Value::Table(account),
            }])
        };
        let accounts = table.entry("accounts".to_owned()).or_insert_with(|| Node {
            origin: origin.clone(),
            value: fresh(),
        });
        let Value::List(accounts) = &mut accounts.value else {
            return;
        };
        match &mut accounts[..] {
            [
                Node {
                    value: Value::Table(account),
                    ..
                },
            ] => {
                for (variable, path) in ACCOUNT_VARIABLES {
                    self.lay_over(account, variable, path);
                }
            }
            many => {
                let sentence = "speaks of one account and the file has several; say it in the file";
                note(
                    mistakes,
                    &origin,
                    format_args!("it {sentence} ({} accounts)", many.len()),
                );
            }
        }
    }

    /// A mistyped variable would be passed over in silence. One that is nothing like ours may be somebody else's.
    fn check_names(&self, mistakes: &Mistakes) {
        let known: Vec<&str> = VARIABLES
            .iter()
            .map(|(name, _)| *name)
            .chain(ACCOUNT_VARIABLES.iter().map(|(name, _)| *name))
            .chain(OTHER_VARIABLES)
            .collect();
        let ours = |name: &&String| name.starts_with("POSTROOM_") && !known.contains(&name.as_str());
        for name in self.variables.keys().filter(ours) {
            if let Some(near) = nearest(name, &known) {
                let origin = Origin::Variable(name.clone());
                note(
                    mistakes,
                    &origin,
                    format_args!("it is not known; did you mean {near}?"),
                );
            }
        }
    }
}
