//! From the tree to the types: which keys there are, and what each may hold.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::section::{Given, Section, note};
use super::{Account, Config, Imap, Secret, Smtp, after, oauth, replies, sending};
use crate::ingest::{Policy, Start};
use crate::reply::{Rule, Rules};
use crate::send::OnUnknown;
use crate::tls::{Endpoint, Security};

const DEFAULT_DATA_DIR: &str = "postroom-data";
const DEFAULT_MAILBOX: &str = "INBOX";

/// What passwords and paths are looked up in.
pub(super) struct Surroundings<'s> {
    /// The settings file's directory.
    pub(super) dir: &'s Path,
    pub(super) variables: &'s BTreeMap<String, String>,
}

/// Reads everything. Where there were mistakes the result is not to be used.
pub(super) fn config(mut top: Section<'_>, surroundings: &Surroundings<'_>) -> Config {
    let text = |given: Given<String>| given.value;
    let nats_url = top.text("nats_url").map(text);
    let database_url = top.text("database_url").map(text);
    let data_dir = top
        .text("data_dir")
        .map_or_else(|| DEFAULT_DATA_DIR.to_owned(), text)
        .into();
    let http = top
        .parsed("http", "write an address and port, such as \"127.0.0.1:9090\"")
        .map(|given| given.value);
    let dlq_retention = top.parsed_by(
        "dlq_retention",
        "write an age, such as \"30d\", or \"never\"",
        |text| postroom::parse_retention(text).ok(),
    );
    let drain = top.parsed_by("drain", "write a duration, such as \"35s\"", |text| {
        humantime::parse_duration(text).ok()
    });
    let sending = sending::read(&mut top, surroundings);
    let mut accounts: Vec<Account> = Vec::new();
    let mut names = HashSet::new();
    for section in top.sections("accounts", "[[accounts]]") {
        let account = account(section, surroundings, &mut names);
        accounts.extend(account);
    }
    top.finish();
    Config {
        nats_url,
        database_url,
        data_dir,
        http,
        drain: drain.map(|given| given.value),
        dlq_retention: dlq_retention.map(|given| given.value),
        sending,
        accounts,
    }
}

fn account(
    mut section: Section<'_>,
    surroundings: &Surroundings<'_>,
    names: &mut HashSet<String>,
) -> Option<Account> {
    let name = section
        .required("name", "help")
        .and_then(|given| plain_name(&section, given));
    if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
        section.wrong(format_args!(
            "named \"{name}\" are two; give each a name of its own"
        ));
    }
    let address = section.required("address", "help@shop.example");
    let aliases = section.texts("aliases");
    let addresses: Vec<String> = address
        .into_iter()
        .chain(aliases)
        .filter_map(|given| checked_address(&section, given))
        .collect();
    let sender = section
        .text("sender")
        .and_then(|given| one_line(&section, "sender", given));
    let on_unknown = section.choice(
        "on_unknown",
        &[("resend", OnUnknown::Resend), ("hold", OnUnknown::Hold)],
    );
    let ca_file = section.text("ca_file").map(|given| path(surroundings, &given));
    let rules = rules(&mut section);
    let replies = replies::read(&mut section, surroundings);
    let imap = section.section("imap", "[accounts.imap]");
    let smtp = section.section("smtp", "[accounts.smtp]");
    let sending = sending::of_account(&mut section);
    let oauth = section.section("oauth", "[accounts.oauth]");
    if imap.is_none() {
        section.wrong("needs [accounts.imap] with host, user and password_env");
    }
    if smtp.is_none() {
        section.wrong("needs [accounts.smtp] with host");
    }
    section.finish();
    let hello = addresses
        .first()
        .and_then(|address| address.rsplit_once('@'))
        .map(|(_, domain)| domain.to_owned());
    let has_oauth = oauth.is_some();
    let oauth = oauth.map(|it| oauth::read(it, surroundings));
    let (imap, smtp) = (
        imap.and_then(|it| read_imap(it, surroundings, has_oauth)),
        smtp.and_then(|it| read_smtp(it, surroundings, hello, has_oauth)),
    );
    let oauth = match oauth {
        None => None,
        Some(oauth) => Some(oauth?),
    };
    let on_unknown = on_unknown.unwrap_or_default();
    Some(Account {
        name: name?,
        sender,
        addresses,
        on_unknown,
        ca_file,
        oauth,
        sending,
        imap: imap?,
        smtp: smtp?,
        rules: rules?,
        replies: replies.ok()?,
    })
}

fn read_imap(mut section: Section<'_>, surroundings: &Surroundings<'_>, has_oauth: bool) -> Option<Imap> {
    let endpoint = endpoint(&mut section, "imap.shop.example", |security| match security {
        Security::Tls => 993,
        Security::StartTls | Security::None => 143,
    });
    let user = section.required("user", "help");
    let password = secret(&mut section, surroundings, &PASSWORD);
    if matches!(password, Ok(None)) && !has_oauth {
        section.wrong(
            "needs a password: password_env = \"NAME_OF_A_VARIABLE\", password_file or password; or the account \
             needs [accounts.oauth]",
        );
    }
    let mailboxes = section.text_or_texts("mailbox");
    let start = section
        .choice("start", &[("new", Start::New), ("all", Start::All)])
        .unwrap_or_default();
    let mailboxes = if mailboxes.is_empty() {
        vec![DEFAULT_MAILBOX.to_owned()]
    } else {
        mailboxes
    };
    let after = after::read(&mut section, &mailboxes);
    let authserv_ids = section.texts("authserv_ids");
    section.finish();
    Some(Imap {
        endpoint: endpoint?,
        user: user?.value,
        password: password.ok()?,
        mailboxes,
        start,
        policy: Policy {
            after: after?,
            authserv_ids: authserv_ids.into_iter().map(|given| given.value).collect(),
            reply_secret: None,
        },
    })
}

fn read_smtp(
    mut section: Section<'_>,
    surroundings: &Surroundings<'_>,
    hello: Option<String>,
    has_oauth: bool,
) -> Option<Smtp> {
    let endpoint = endpoint(&mut section, "smtp.shop.example", |security| match security {
        Security::Tls => 465,
        Security::StartTls => 587,
        Security::None => 25,
    });
    let user = section.text("user");
    let password = secret(&mut section, surroundings, &PASSWORD);
    let said = section.text("hello").map(|given| given.value);
    let login = match (user, password) {
        (_, Err(Noted)) => Err(Noted),
        (None, Ok(None)) => Ok(None),
        (Some(user), Ok(Some(password))) => Ok(Some((user.value, Some(password)))),
        (Some(user), Ok(None)) if has_oauth => Ok(Some((user.value, None))),
        (Some(_), Ok(None)) => {
            section.wrong("has a user and no password; add password_env, password_file or password; or the account needs [accounts.oauth]");
            Err(Noted)
        }
        (None, Ok(Some(_))) => {
            section.wrong("has a password and no `user`; add the user, or take the password away");
            Err(Noted)
        }
    };
    section.finish();
    Some(Smtp {
        endpoint: endpoint?,
        login: login.ok()?,
        hello: said.or(hello)?,
    })
}

fn endpoint(
    section: &mut Section<'_>,
    example: &str,
    default_port: impl Fn(Security) -> u16,
) -> Option<Endpoint> {
    let host = section.required("host", example);
    let words = [
        ("tls", Security::Tls),
        ("starttls", Security::StartTls),
        ("none", Security::None),
    ];
    let security = section.choice("tls", &words).unwrap_or_default();
    let port = section.parsed_by("port", "write a number between 1 and 65535", |text| {
        text.parse().ok().filter(|port: &u16| *port > 0)
    });
    let port = port.map_or_else(|| default_port(security), |given| given.value);
    Some(Endpoint {
        host: host?.value,
        port,
        security,
    })
}

/// The three ways to say one secret.
pub(super) struct SecretKeys {
    pub(super) plain: &'static str,
    pub(super) variable: &'static str,
    pub(super) file: &'static str,
}

const PASSWORD: SecretKeys = SecretKeys {
    plain: "password",
    variable: "password_env",
    file: "password_file",
};

/// Something was given and cannot be had, which is noted.
pub(super) struct Noted;

/// `None` where none was given.
pub(super) fn secret(
    section: &mut Section<'_>,
    surroundings: &Surroundings<'_>,
    keys: &SecretKeys,
) -> Result<Option<Secret>, Noted> {
    let plain = section.text(keys.plain);
    let variable = section.text(keys.variable);
    let file = section.text(keys.file);
    if [plain.is_some(), variable.is_some(), file.is_some()]
        .into_iter()
        .filter(|given| *given)
        .count()
        > 1
    {
        section.wrong(format_args!(
            "has more than one of {}, {} and {}; keep one",
            keys.plain, keys.variable, keys.file
        ));
        return Err(Noted);
    }
    let found = match (plain, variable, file) {
        (Some(plain), _, _) => Some(plain.value),
        (_, Some(variable), _) => from_variable(section, surroundings, keys.variable, &variable),
        (_, _, Some(file)) => from_file(section, surroundings, keys.file, &file),
        _ => return Ok(None),
    };
    if found.as_deref() == Some("") {
        section.wrong(format_args!("has an empty {}", keys.plain));
        return Err(Noted);
    }
    found.map(Secret::new).map(Some).ok_or(Noted)
}

fn from_variable(
    section: &Section<'_>,
    surroundings: &Surroundings<'_>,
    key: &str,
    name: &Given<String>,
) -> Option<String> {
    let found = surroundings.variables.get(&name.value);
    if found.is_none() {
        let sentence = format_args!("{key} names {}, which is not set; export it", name.value);
        note(section.mistakes(), &name.origin, sentence);
    }
    found.cloned()
}

fn from_file(
    section: &Section<'_>,
    surroundings: &Surroundings<'_>,
    key: &str,
    name: &Given<String>,
) -> Option<String> {
    let path = path(surroundings, name);
    match std::fs::read_to_string(&path) {
        // Editors end files with a line end that is no part of the secret.
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            note(
                section.mistakes(),
                &name.origin,
                format_args!("{key} {} cannot be read: {error}", path.display()),
            );
            None
        }
    }
}

/// The file's paths start from its directory, all others from where postroom runs.
pub(super) fn path(surroundings: &Surroundings<'_>, given: &Given<String>) -> PathBuf {
    if given.origin.is_file() {
        surroundings.dir.join(&given.value)
    } else {
        PathBuf::from(&given.value)
    }
}

fn rules(account: &mut Section<'_>) -> Option<Rules> {
    let mut rules = Vec::new();
    for (index, mut section) in account
        .sections("reply", "[[accounts.reply]]")
        .into_iter()
        .enumerate()
    {
        let text = |given: Given<String>| given.value;
        let name = section
            .text("name")
            .map_or_else(|| format!("rule {}", index + 1), text);
        let from = section.text("from").map(text);
        let subject = section.text("subject").map(text);
        let to = section.text("to").map(text);
        let answer = section.required("text", "Dear {name}, thank you.").map(text);
        if let Some(text) = answer {
            let rule = Rule {
                name,
                from,
                subject,
                to,
                text,
            };
            // One by one, so that each mistake has its place.
            if let Err(error) = Rules::new(vec![rule.clone()]) {
                section.wrong(format_args!("is not usable: {error}"));
            }
            rules.push(rule);
        }
        section.finish();
    }
    Rules::new(rules).ok()
}

/// Names go into subjects of events, labels of metrics and file names.
fn plain_name(section: &Section<'_>, given: Given<String>) -> Option<String> {
    let is_plain = !given.value.is_empty()
        && given.value.len() <= 64
        && given
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !is_plain {
        let sentence = format_args!(
            "`name` is \"{}\"; use up to 64 letters, digits and - _ .",
            given.value
        );
        note(section.mistakes(), &given.origin, sentence);
    }
    is_plain.then_some(given.value)
}

fn checked_address(section: &Section<'_>, given: Given<String>) -> Option<String> {
    let is_address = given.value.parse::<lettre::Address>().is_ok();
    if !is_address {
        let sentence = format_args!("\"{}\" is no mail address; write name@domain", given.value);
        note(section.mistakes(), &given.origin, sentence);
    }
    is_address.then_some(given.value)
}

/// A header value: a line end in it would begin another header.
fn one_line(section: &Section<'_>, key: &str, given: Given<String>) -> Option<String> {
    if given.value.contains(char::is_control) {
        note(
            section.mistakes(),
            &given.origin,
            format_args!("`{key}` must be one line without control characters"),
        );
        return None;
    }
    Some(given.value)
}
