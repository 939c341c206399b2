//! Settings as people write them, rightly and wrongly.

use postroom::Rate;

use super::*;
use crate::ingest::After;
use crate::tls::Security;

const ACCOUNT: &str = r#"
[[accounts]]
name = "help"
address = "help@shop.example"
[accounts.imap]
host = "imap.shop.example"
user = "help"
password = "s3cret-word"
[accounts.smtp]
host = "smtp.shop.example"
"#;

fn sources(text: &str, variables: &[(&str, &str)]) -> Sources {
    Sources {
        file: Some((PathBuf::from("postroom.toml"), text.to_owned())),
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: Vec::new(),
    }
}

fn read(text: &str, variables: &[(&str, &str)]) -> Config {
    Config::read(&sources(text, variables)).unwrap_or_else(|error| panic!("{error}"))
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> String {
    Config::read(&sources(text, variables)).unwrap_err().to_string()
}

#[test]
fn nothing_said_is_the_default() {
    let config = Config::read(&Sources::default()).unwrap();
    assert_eq!(
        (&config.nats_url, &config.database_url, config.http),
        (&None, &None, None)
    );
    assert_eq!(config.data_dir, Path::new("postroom-data"));
    assert!(config.accounts.is_empty());
    assert_eq!(config.settings().database_url, postroom::DEFAULT_DATABASE_URL);
}

#[test]
fn an_empty_variable_says_nothing() {
    let config = read("", &[("NATS_URL", ""), ("POSTROOM_IMAP_HOST", "")]);
    assert_eq!(config.nats_url, None);
    assert!(config.accounts.is_empty());
}

/// A block of settings in the documentation of the module.
fn example(index: usize) -> String {
    let mut blocks = include_str!("mod.rs").split("//! ```toml\n").skip(1);
    let block = blocks.nth(index).unwrap().split("//! ```").next().unwrap();
    block
        .lines()
        .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
        .collect()
}

#[test]
fn the_example_in_the_documentation_is_read() {
    let config = read(
        &example(0),
        &[
            ("HELP_PASSWORD", "s3cret-word"),
            ("HELP_REPLIES", "0123456789abcdef"),
        ],
    );
    assert_eq!(config.drain, Some(Duration::from_secs(35)));
    let account = config.account("help").unwrap();
    assert_eq!(account.addresses, ["help@shop.example", "support@shop.example"]);
    assert_eq!(account.imap.endpoint.port, 993);
    assert_eq!(account.imap.password.as_ref().unwrap().expose(), "s3cret-word");
    assert_eq!(account.imap.policy.after, After::Move("Archive".to_owned()));
    assert_eq!(account.imap.policy.authserv_ids, ["mx.shop.example"]);
    assert_eq!(account.smtp.endpoint.port, 465);
    assert_eq!(account.smtp.hello, "shop.example");
    assert_eq!(account.smtp.login.as_ref().unwrap().0, "help");
}

#[test]
fn ports_follow_from_the_protection() {
    for (tls, imap, smtp) in [("tls", 993, 465), ("starttls", 143, 587), ("none", 143, 25)] {
        let tls = format!("tls = \"{tls}\"\n[accounts.smtp]\ntls = \"{tls}\"");
        let account = read(&ACCOUNT.replace("[accounts.smtp]", &tls), &[])
            .accounts
            .remove(0);
        assert_eq!(
            (account.imap.endpoint.port, account.smtp.endpoint.port),
            (imap, smtp)
        );
    }
    let account = read(&ACCOUNT.replace("user =", "port = 1143\nuser ="), &[])
        .accounts
        .remove(0);
    assert_eq!(account.imap.endpoint.port, 1143);
    assert_eq!(account.imap.endpoint.security, Security::Tls);
}

#[test]
fn flags_beat_environment_beats_file() {
    let text = "nats_url = \"nats://file\"\ndatabase_url = \"sqlite:file\"\ndata_dir = \"file\"\n";
    let mut sources = sources(
        text,
        &[
            ("NATS_URL", "nats://variable"),
            ("DATABASE_URL", "sqlite:variable"),
        ],
    );
    let flags = Flags {
        nats_url: Some("nats://flag".into()),
        ..Flags::default()
    };
    sources.flags = flags.settings();
    let config = Config::read(&sources).unwrap();
    assert_eq!(config.nats_url.as_deref(), Some("nats://flag"));
    assert_eq!(config.database_url.as_deref(), Some("sqlite:variable"));
    assert_eq!(config.data_dir, Path::new("file"));
}

#[test]
fn an_account_of_variables_alone() {
    let variables = [
        ("POSTROOM_ADDRESS", "help@shop.example"),
        ("POSTROOM_IMAP_HOST", "localhost"),
        ("POSTROOM_IMAP_PORT", "1143"),
        ("POSTROOM_IMAP_TLS", "none"),
        ("POSTROOM_IMAP_USER", "help"),
        ("POSTROOM_IMAP_PASSWORD", "s3cret-word"),
        ("POSTROOM_SMTP_HOST", "localhost"),
        ("POSTROOM_SMTP_TLS", "starttls"),
        ("POSTROOM_ON_UNKNOWN", "hold"),
    ];
    let config = read("", &variables);
    let account = config.account("main").unwrap();
    assert_eq!(account.imap.endpoint.port, 1143);
    assert_eq!(account.imap.mailboxes, ["INBOX"]);
    assert_eq!(account.smtp.endpoint.security, Security::StartTls);
    assert!(account.smtp.login.is_none());
    assert_eq!(account.on_unknown, OnUnknown::Hold);
}

#[test]
fn variables_lie_over_the_only_account_of_the_file() {
    let text = ACCOUNT.replace("password = \"s3cret-word\"", "password_env = \"NOT_SET\"");
    let config = read(
        &text,
        &[
            ("POSTROOM_IMAP_PASSWORD", "other"),
            ("POSTROOM_IMAP_HOST", "other.example"),
        ],
    );
    assert_eq!(
        config.accounts[0].imap.password.as_ref().unwrap().expose(),
        "other"
    );
    assert_eq!(config.accounts[0].imap.endpoint.host, "other.example");

    let two = format!(
        "{ACCOUNT}{}",
        ACCOUNT.replace("\"help\"\naddress", "\"sales\"\naddress")
    );
    assert_eq!(read(&two, &[]).accounts.len(), 2);
    let error = mistakes(&two, &[("POSTROOM_IMAP_HOST", "other.example")]);
    assert!(
        error.contains("POSTROOM_IMAP_HOST") && error.contains("the file has several"),
        "{error}"
    );
}

#[test]
fn passwords_come_from_variables_and_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "fr\u{f6}m file\n").unwrap();
    let text = ACCOUNT.replace("password = \"s3cret-word\"", "password_file = \"password\"");
    let mut sources = sources(&text, &[]);
    sources.file.as_mut().unwrap().0 = dir.path().join("postroom.toml");
    let config = Config::read(&sources).unwrap();
    assert_eq!(
        config.accounts[0].imap.password.as_ref().unwrap().expose(),
        "fr\u{f6}m file"
    );
}

#[test]
fn secrets_are_not_in_debug_output_nor_in_errors() {
    let config = read(ACCOUNT, &[]);
    assert!(!format!("{config:?}").contains("s3cret-word"));
    let error = mistakes(
        &format!("{ACCOUNT}user = \"x\"\npassword = \"s3cret-word\"\npasswort = \"s3cret-word\"\n"),
        &[],
    );
    assert!(
        error.contains("`passwort`") && !error.contains("s3cret-word"),
        "{error}"
    );
}

/// One of the mistakes of `text` reads like this.
fn check(text: &str, expect: &str) {
    let error = mistakes(text, &[]);
    assert!(
        error.lines().any(|line| line == expect),
        "expected {expect}\ngot {error}"
    );
}

fn with(from: &str, to: &str) -> String {
    ACCOUNT.replacen(from, to, 1)
}

#[test]
fn unknown_and_missing_keys_have_their_line() {
    check(
        "nats_ulr = \"x\"\n",
        "postroom.toml:1: `nats_ulr` is no key of the top level; did you mean `nats_url`?",
    );
    let renamed = with("name =", "nmae =");
    check(
        &renamed,
        "postroom.toml:3: `nmae` is no key of [[accounts]]; did you mean `name`?",
    );
    check(
        &renamed,
        "postroom.toml:2: [[accounts]] needs `name`, for example name = \"help\"",
    );
    let renamed = with("host =", "hots =");
    check(
        &renamed,
        "postroom.toml:6: `hots` is no key of [accounts.imap]; did you mean `host`?",
    );
    check(
        "accounts = 1\n",
        "postroom.toml:1: `accounts` is a number; write [[accounts]]",
    );
    assert!(mistakes("a = \n", &[]).starts_with("postroom.toml:1: "));
}

#[test]
fn values_say_what_would_be_right() {
    let tls = with("user =", "tls = \"ssl\"\nuser =");
    check(
        &tls,
        "postroom.toml:7: `tls` is \"ssl\"; write \"tls\" or \"starttls\" or \"none\"",
    );
    let port = with("user =", "port = 0\nuser =");
    check(
        &port,
        "postroom.toml:7: `port` is \"0\"; write a number between 1 and 65535",
    );
    let port = with("user =", "port = true\nuser =");
    check(
        &port,
        "postroom.toml:7: `port` is true or false; write a number between 1 and 65535",
    );
    let address = with("\"help@shop.example\"", "\"help\"");
    check(
        &address,
        "postroom.toml:4: \"help\" is no mail address; write name@domain",
    );
    let name = with("\"help\"", "\"help desk\"");
    check(
        &name,
        "postroom.toml:3: `name` is \"help desk\"; use up to 64 letters, digits and - _ .",
    );
    check(
        &with("\"help\"", "7"),
        "postroom.toml:3: `name` is a number; write \"text in quotes\"",
    );
    check(
        "drain = \"soon\"\n",
        "postroom.toml:1: `drain` is \"soon\"; write a duration, such as \"35s\"",
    );
}

#[test]
fn passwords_are_one_and_can_be_had() {
    let password = "password = \"s3cret-word\"";
    check(
        &with(password, "password_env = \"NOT_SET\""),
        "postroom.toml:8: password_env names NOT_SET, which is not set; export it",
    );
    check(
        &with(password, ""),
        "postroom.toml:5: [accounts.imap] needs a password: password_env = \"NAME_OF_A_VARIABLE\", \
         password_file or password; or the account needs [accounts.oauth]",
    );
    check(
        &with("user =", "password_env = \"X\"\nuser ="),
        "postroom.toml:5: [accounts.imap] has more than one of password, password_env and password_file; keep one",
    );
    check(
        &format!("{ACCOUNT}user = \"help\"\n"),
        "postroom.toml:9: [accounts.smtp] has a user and no password; add password_env, password_file or password; or the account needs [accounts.oauth]",
    );
}

#[test]
fn accounts_and_rules_fit_together() {
    let twice = format!("{ACCOUNT}{ACCOUNT}");
    check(
        &twice,
        "postroom.toml:12: [[accounts]] named \"help\" are two; give each a name of its own",
    );
    check(
        &format!("{ACCOUNT}[[accounts.reply]]\ntext = \"Dear {{nmae}}\"\n"),
        "postroom.toml:11: [[accounts.reply]] is not usable: rule \"rule 1\": {nmae} is not known; \
         use {name}, {from}, {subject} or {account}",
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = mistakes(
        "nats_ulr = \"x\"\nhttp = \"here\"\ndrain = \"soon\"\n",
        &[("POSTROOM_IMAP_HOTS", "x")],
    );
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains(
        "environment variable POSTROOM_IMAP_HOTS: it is not known; did you mean POSTROOM_IMAP_HOST?"
    ));
}

#[test]
fn a_named_file_must_be_there() {
    let flags = Flags {
        config: Some("/nowhere/postroom.toml".into()),
        ..Flags::default()
    };
    let error = Config::load(&flags).unwrap_err();
    assert!(matches!(error, ConfigError::File { .. }), "{error}");
    assert!(error.to_string().contains("name another file with --config"));
}

/// An account without passwords, and what comes below `[accounts.oauth]`.
fn with_oauth(lines: &str) -> String {
    let account = ACCOUNT.replace("password = \"s3cret-word\"\n", "");
    format!("{account}user = \"help\"\n[accounts.oauth]\n{lines}")
}

#[test]
fn an_account_may_have_tokens_in_place_of_passwords() {
    let account = with_oauth("").replace("[accounts.oauth]\n", &example(1));
    let variables = [
        ("HELP_CLIENT_SECRET", "cl1ent"),
        ("HELP_REFRESH_TOKEN", "r3fresh"),
    ];
    let account = read(&account, &variables).accounts.remove(0);
    assert_eq!(account.imap.password, None);
    assert_eq!(account.smtp.login, Some(("help".to_owned(), None)));
    let oauth = account.oauth.unwrap();
    assert_eq!(oauth.provider.token_url.path, "/shop.example/oauth2/v2.0/token");
    assert_eq!(
        oauth.provider.sign_in_url.as_deref(),
        Some("https://id.shop.example")
    );
    assert_eq!(oauth.client_secret.unwrap().expose(), "cl1ent");
    assert_eq!(oauth.refresh_token.unwrap().expose(), "r3fresh");

    let google = with_oauth("provider = \"google\"\nclient_id = \"c\"\n");
    let oauth = read(&google, &[]).accounts.remove(0).oauth.unwrap();
    assert_eq!(oauth.provider.token_url.authority(), "oauth2.googleapis.com");
    assert_eq!((oauth.client_secret, oauth.refresh_token), (None, None));
}

#[test]
fn oauth_says_what_would_be_right() {
    let check = |lines: &str, expect: &str| {
        let said = mistakes(&with_oauth(lines), &[]);
        assert!(said.contains(expect), "no {expect:?} in: {said}");
    };
    check(
        "client_id = \"c\"\n",
        "[accounts.oauth] needs provider = \"google\" or \"microsoft\"",
    );
    check("provider = \"google\"\n", "[accounts.oauth] needs `client_id`");
    check(
        "provider = \"gmail\"\nclient_id = \"c\"\n",
        "`provider` is \"gmail\"; write \"google\" or \"microsoft\"",
    );
    check(
        "token_url = \"http://id.example/\"\nclient_id = \"c\"\n",
        "`token_url` is \"http://id.example/\"; write an https:// URL",
    );
    check(
        "provider = \"google\"\ntoken_url = \"https://id.example/\"\nclient_id = \"c\"\n",
        "has both provider and token_url",
    );
    check(
        "provider = \"google\"\ntenant = \"t\"\nclient_id = \"c\"\n",
        "only provider = \"microsoft\" knows",
    );
    check(
        "provider = \"microsoft\"\ntenant = \"a/../b\"\nclient_id = \"c\"\n",
        "`tenant` is \"a/../b\"; write the directory's id or domain",
    );
    check(
        "provider = \"google\"\nclient_id = \"c\"\nrefresh_token_env = \"NO_SUCH\"\n",
        "refresh_token_env names NO_SUCH, which is not set",
    );
    check(
        "provider = \"google\"\nclient_idd = \"c\"\n",
        "did you mean `client_id`?",
    );
}

#[test]
fn templates_and_keys_are_read_before_anything_starts() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(at("mails")).unwrap();
    std::fs::write(at("mails/hi.txt"), "Hello {{ name }}").unwrap();
    std::fs::write(at("key.pem"), "nothing").unwrap();
    std::fs::set_permissions(at("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let sending = |templates: &str, selector: &str, key: &str| {
        format!(
            "templates = \"{templates}\"\n[[dkim]]\ndomain = \"shop.example\"\nselector = \"{selector}\"\nkey_file = \"{key}\""
        )
    };
    let text = mistakes(&sending(&at("mails"), "a", &at("key.pem")), &[]);
    assert!(
        text.contains("mode is 0644; run `chmod 600") && text.contains("key_file"),
        "{text}"
    );
    let text = mistakes(&sending(&at("none"), "a; d=evil", &at("key.pem")), &[]);
    assert!(
        text.contains("/none") && text.contains("`selector` is \"a; d=evil\""),
        "{text}"
    );
    std::fs::write(at("mails/hi.html"), "{% endif %}").unwrap();
    let text = mistakes(&format!("templates = \"{}\"", at("mails")), &[]);
    assert!(text.contains("hi.html") && text.contains("line 1"), "{text}");
}

#[test]
fn what_becomes_of_announced_mails_is_checked() {
    let with = |keys: &str| ACCOUNT.replace("user = \"help\"", &format!("user = \"help\"\n{keys}"));
    let after = |keys: &str| read(&with(keys), &[]).accounts[0].imap.policy.after.clone();
    assert_eq!(after(""), After::Keep);
    assert_eq!(after("after = 'flag'"), After::Flag("\\Seen".into()));
    assert_eq!(
        after("after = 'flag'\nafter_flag = '$Done'"),
        After::Flag("$Done".into())
    );
    assert_eq!(after("after = 'expunge'"), After::Expunge);
    let check = |keys: &str, expect: &str| {
        let said = mistakes(&with(keys), &[]);
        assert!(said.contains(expect), "{keys}: {said}");
    };
    check(
        "after = 'burn'",
        "`after` is \"burn\"; write \"keep\" or \"flag\" or \"move\" or \"expunge\"",
    );
    check("after = 'move'", "needs `after_folder`");
    check(
        "after = 'move'\nafter_folder = 'INBOX'",
        "`after_folder` is \"INBOX\", which is watched itself",
    );
    check(
        "after = 'flag'\nafter_flag = '\\Deleted'",
        "`after_flag` is \"\\Deleted\"; write",
    );
    check("after_flag = '\\Seen'", "which only after = \"flag\" sets");
    check(
        "after = 'flag'\nafter_folder = 'Old'",
        "which only after = \"move\" fills",
    );
}

#[test]
fn what_an_account_sends_how_fast_and_where_it_is_kept() {
    let with = |more: &str| ACCOUNT.replace("[accounts.imap]", &format!("{more}\n[accounts.imap]"));
    let account = read(
        &(with("rate = \"20/m\"") + "[accounts.sent]\nmailbox = \"Sent\"\n[accounts.warm_up]\nbegins = \"2026-11-24\"\nper_day = \"50, 100\""),
        &[],
    )
    .accounts
    .remove(0)
    .sending;
    assert_eq!(account.rate, Some(Rate::new(20, Duration::from_secs(60))));
    assert_eq!(
        account.sent_folder.unwrap().kept_by,
        crate::send::KeptBy::Postroom
    );
    assert!(account.warm_up.is_some());
    let text = mistakes(
        &with("rate = \"fast\"\n[accounts.sent]\nkept_by = \"me\"\n[accounts.warm_up]\nper_day = \"0\""),
        &[],
    );
    for words in [
        "`rate` is \"fast\"; write mails and a time",
        "[accounts.sent] needs `mailbox`",
        "`kept_by` is \"me\"; write \"postroom\" or \"provider\"",
        "[accounts.warm_up] needs `begins`",
        "`per_day` is \"0\"",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let text = mistakes("domain_rate = \"0/s\"", &[]);
    assert!(text.contains("`domain_rate` is \"0/s\""), "{text}");
}

#[test]
fn a_reply_secret_is_long_and_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reply.key");
    let with = |text: &str, mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let key = format!("name = \"help\"\nreply_secret_file = \"{}\"", file.display());
        ACCOUNT.replacen("name = \"help\"", &key, 1)
    };
    let config = read(&with("0123456789abcdef\n", 0o600), &[]);
    assert!(config.accounts[0].replies.secret.is_some());
    assert!(read(ACCOUNT, &[]).accounts[0].replies.secret.is_none());
    let said = mistakes(&with("0123456789abcdef", 0o640), &[]);
    assert!(said.contains("its mode is 0640; run `chmod 600"), "{said}");
    let said = mistakes(&with("0123456789abcde", 0o600), &[]);
    assert!(said.contains("less than 16 bytes"), "{said}");
}
