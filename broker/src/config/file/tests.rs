//! What files mean, and what is said about those that mean nothing.

use std::time::Duration;

use super::*;
use crate::config::{Auth, Credentials, HandshakeFirst, Responses, SyncPolicy};

fn parse(text: &str) -> ConfigFile {
    ConfigFile::parse(text, "t.conf", Unsupported::Refuse).unwrap()
}

fn told(text: &str) -> String {
    ConfigFile::parse(text, "t.conf", Unsupported::Refuse)
        .unwrap_err()
        .to_string()
}

#[test]
fn addresses_limits_and_files() {
    let file = parse(
        "listen: localhost:4333, http: 8333, server_name: one\n\
         max_payload: 128KB, max_pending: 1MB, max_connections: 5, max_subscriptions: 6, max_control_line: 1KB\n\
         ping_interval: '100ms', ping_max: 3, write_deadline: 2, lame_duck_duration: '1m', lame_duck_grace_period: 1s\n\
         log_file: l, pid_file: p, ports_file_dir: d, debug: true\n\
         jetstream { store_dir: s, sync_interval: 5s, max_file_store: 1GB, max_mem: -1 }",
    );
    let config = &file.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:4333");
    assert_eq!(config.monitoring.unwrap().to_string(), "127.0.0.1:8333");
    assert_eq!(config.server_name.as_deref(), Some("one"));
    let limits = &config.limits;
    assert_eq!(
        (limits.max_payload, limits.max_pending, limits.max_control_line),
        (131_072, 1_048_576, 1024)
    );
    assert_eq!((limits.max_connections, limits.max_subscriptions), (5, 6));
    assert_eq!(
        (limits.ping_interval, limits.ping_max),
        (Duration::from_millis(100), 3)
    );
    assert_eq!(limits.write_deadline, Duration::from_secs(2));
    assert_eq!(
        (limits.lame_duck, limits.lame_duck_grace),
        (Duration::from_secs(60), Duration::from_secs(1))
    );
    assert_eq!(config.store_dir, Some("s".into()));
    assert_eq!(config.sync, SyncPolicy::Interval(Duration::from_secs(5)));
    assert_eq!(
        (config.jetstream.max_storage, config.jetstream.max_memory),
        (Some(1 << 30), None)
    );
    assert_eq!(file.log_file, Some("l".into()));
    assert_eq!(
        (file.pid_file, file.ports_file_dir),
        (Some("p".into()), Some("d".into()))
    );
    assert!(file.debug && !file.trace);
}

#[test]
fn where_it_listens_unless_told() {
    let listen = |text: &str| parse(text).config.listen.to_string();
    assert_eq!(listen(""), "127.0.0.1:4222");
    assert_eq!(listen("authorization { token: t }"), "0.0.0.0:4222");
    assert_eq!(listen("allow_anyone: true"), "0.0.0.0:4222");
    assert_eq!(listen("port: -1\nhost: 127.0.0.2"), "127.0.0.2:0");
    assert_eq!(listen("listen: 4333"), "127.0.0.1:4333");
    assert_eq!(
        parse("http: '127.0.0.3:-1'")
            .config
            .monitoring
            .unwrap()
            .to_string(),
        "127.0.0.3:0"
    );
    assert_eq!(
        parse("jetstream: true").config.store_dir,
        Some("./postroom-store".into())
    );
    assert_eq!(parse("store_dir: x").config.store_dir, None);
    assert_eq!(
        parse("store_dir: x, jetstream: enabled").config.store_dir,
        Some("x".into())
    );
}

#[test]
fn users_and_permissions() {
    let config = parse(
        "authorization {\n default_permissions { publish: 'a.>' }\n timeout: 0.5\n users = [\n\
         {user: ann, password: $2a$11$x}\n\
         {user: bob, password: 12, permissions {publish {deny: [x, y]}, subscribe: ['q.>', 'q w.*'], allow_responses: true}}\n\
         {nkey: UCNGL4W5QX66CFX6A6DCBVDH5VOHMI7B2UZZU7TXAUQQSI2JPHULCKBR}\n ] }\n no_auth_user: bob",
    )
    .config;
    assert_eq!(config.limits.auth_timeout, Duration::from_millis(500));
    let [ann, bob, key] = config.auth.users.as_slice() else {
        panic!("{:?}", config.auth)
    };
    assert_eq!(
        ann.permissions.as_ref().unwrap().publish.allow,
        Some(vec!["a.>".to_owned()])
    );
    let permissions = bob.permissions.as_ref().unwrap();
    assert_eq!(permissions.publish.allow, None);
    assert_eq!(permissions.publish.deny, ["x", "y"]);
    assert_eq!(permissions.subscribe.allow.as_ref().unwrap().len(), 2);
    assert_eq!(permissions.responses, Some(Responses::default()));
    assert!(
        matches!(&bob.credentials, Credentials::Password { password: Some(it), .. } if it.reveal() == "12")
    );
    assert!(matches!(&key.credentials, Credentials::Nkey(_)));
    assert_eq!(
        parse("authorization {user: a, pass: b}").config.auth,
        Auth::user("a", "b")
    );
    assert_eq!(parse("authorization {token: b}").config.auth, Auth::token("b"));
}

#[test]
fn accounts_listeners_and_tls() {
    let config = parse(
        "accounts { A { users [{user: a, password: p}], jetstream {max_streams: 2, max_file: 1MB} }, SYS { users [{user: s, password: p}] } }\n\
         system_account: SYS\n\
         tls { cert_file: c, key_file: k, ca_file: a, verify: true, timeout: 3, handshake_first: 300ms }\n\
         websocket { port: -1, no_tls: true, allowed_origins: [a], same_origin: true }",
    )
    .config;
    assert_eq!(config.auth.users[0].account, "A");
    assert_eq!(config.auth.accounts[0].jetstream.unwrap().max_streams, Some(2));
    assert_eq!(config.auth.accounts[1].jetstream, None);
    assert_eq!(config.auth.system_account(), "SYS");
    let tls = config.tls.unwrap();
    assert!(tls.verify && !tls.verify_and_map);
    assert_eq!(
        tls.handshake_first,
        HandshakeFirst::Within(Duration::from_millis(300))
    );
    let websocket = config.websocket.unwrap();
    assert_eq!(websocket.listen.port(), 0);
    assert!(websocket.tls.is_none() && websocket.same_origin);
}

#[test]
fn mistakes_are_told_with_their_place_and_what_was_meant() {
    let check = |text: &str, expect: &str| assert_eq!(told(text), expect, "{text}");
    check(
        "prot: 1",
        "t.conf:1:1: unknown field `prot`; did you mean `port`?",
    );
    check(
        "a: 1\nmax_paylod: 1",
        "t.conf:1:1: unknown field `a`\nt.conf:2:1: unknown field `max_paylod`; did you mean `max_payload`?",
    );
    check(
        "jetstream {\n  stor_dir: x\n}",
        "t.conf:2:3: unknown field `stor_dir`; did you mean `store_dir`?",
    );
    check(
        "port: 70000",
        "t.conf:1:7: 70000 is not a port from 1 to 65535, or -1 for a random one",
    );
    check("max_payload: 0", "t.conf:1:14: 0 is not a size above 0");
    check(
        "ping_interval: fast",
        "t.conf:1:16: \"fast\" is not a duration such as \"2s\" or \"100ms\"",
    );
    check(
        "cluster { port: 1 }",
        "t.conf:1:1: `cluster` is not supported: this server is one node; past that, use a nats-server cluster",
    );
    check(
        "accounts { A { exports: [] } }",
        "t.conf:1:16: `exports` is not supported: accounts share nothing with each other",
    );
    check(
        "authorization { user: a }",
        "t.conf:1:15: give `user` with `password`, or `token`, or `users`",
    );
    check(
        "authorization { users: [{user: a, password: b}, {user: a, password: c}] }",
        "t.conf:1:1: the user \"a\" is there twice",
    );
    check(
        "authorization { users: [{nkey: UX}] }",
        "t.conf:1:32: \"UX\" is not the public nkey of a user, which starts with U",
    );
    check(
        "authorization { users: [{user: a, password: b, permissions: {publish: 'a..b'}}] }",
        "t.conf:1:71: \"a..b\" is not a subject",
    );
    check(
        "no_auth_user: x",
        "t.conf:1:1: no_auth_user: there is no user \"x\"",
    );
    check(
        "tls { verify: true }",
        "t.conf:1:6: tls with `verify` needs `ca_file`: whose certificates may clients show?"
            .replace("1:6", "1:5")
            .as_str(),
    );
    check(
        "websocket { port: 80 }",
        "t.conf:1:11: websocket needs `tls`, or `no_tls: true` where a proxy in front speaks it",
    );
    // Nothing secret in what is said.
    assert!(!told("authorization { user: a, password: [hunter2] }").contains("hunter2"));
}

#[test]
fn what_only_nats_server_has_may_be_ignored() {
    let file = ConfigFile::parse("leafnodes { listen: 1 }\nport: 1", "t.conf", Unsupported::Ignore).unwrap();
    assert_eq!(file.config.listen.port(), 1);
    assert!(
        file.warnings[0]
            .to_string()
            .contains("`leafnodes` is not supported")
    );
    assert!(ConfigFile::parse("lefnodes {}", "t.conf", Unsupported::Ignore).is_err());
}
