//! Monitoring beside nats-server's: pages, requests and events have the same keys with the same types, but for those
//! that docs/monitoring.md names; and no secrets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};
use suite::raw::Raw;
use suite::server::{Server, ours, reference};
use tempfile::TempDir;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring.md");
const SECRET: &str = "hunter2-secret";

const PAGES: [&str; 16] = [
    "/varz",
    "/connz",
    "/connz?subs=true&auth=true",
    "/connz?subs=detail&auth=true",
    "/subsz",
    "/subsz?subs=1",
    "/jsz",
    "/jsz?accounts=true&streams=true&consumers=true&config=true",
    "/healthz",
    "/accountz",
    "/accountz?acc=A",
    "/accstatz",
    "/routez",
    "/leafz",
    "/gatewayz",
    "/connz?state=closed",
];
const REQUESTS: [&str; 21] = [
    "USER.INFO",
    "SERVER.PING",
    "SERVER.PING.STATSZ",
    "SERVER.PING.IDZ",
    "SERVER.PING.VARZ",
    "SERVER.PING.CONNZ",
    "SERVER.PING.JSZ",
    "SERVER.PING.SUBSZ",
    "SERVER.PING.HEALTHZ",
    "SERVER.PING.ACCOUNTZ",
    "SERVER.PING.ROUTEZ",
    "SERVER.PING.LEAFZ",
    "SERVER.PING.GATEWAYZ",
    "ACCOUNT.PING.STATZ",
    "ACCOUNT.A.CONNZ",
    "ACCOUNT.A.SUBSZ",
    "ACCOUNT.A.INFO",
    "ACCOUNT.A.JSZ",
    "ACCOUNT.A.CONNS",
    "ACCOUNT.A.LEAFZ",
    "ACCOUNT.A.STATZ",
];
/// After the server's id, where there is one.
const EVENTS: [&str; 5] = [
    "$SYS.ACCOUNT.A.CONNECT",
    "$SYS.ACCOUNT.A.DISCONNECT",
    "$SYS.ACCOUNT.A.SERVER.CONNS",
    "$SYS.SERVER.ACCOUNT.A.CONNS",
    "$SYS.SERVER.STATSZ",
];

#[test]
fn the_keys_of_nats_server_and_no_secrets() {
    let [ours, theirs] = [ours(), reference()].map(|program| Watched::start(&program).look());
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    let mut left_out = LeftOut::read();
    let mut wrong = Vec::new();
    for (place, shown) in &theirs {
        let [here, there] = [&ours[place], shown].map(|shown| {
            let mut keys = BTreeMap::new();
            collect(shown, String::new(), &mut keys);
            keys
        });
        for (key, kind) in there {
            match here.get(&key) {
                Some(same) if *same == kind => {}
                Some(other) => wrong.push(format!("{place}: {key} is a {other}, not a {kind}")),
                None if left_out.covers(place, &key) => {}
                None => wrong.push(format!("{place}: {key} is missing")),
            }
        }
    }
    assert!(wrong.is_empty(), "not in {TABLE}:\n{}", wrong.join("\n"));
    assert_eq!(left_out.unused(), [""; 0], "of {TABLE}, there is no need for");
    let all = format!("{ours:?}");
    assert!(!all.contains(SECRET), "{all}");
}

#[test]
fn metrics_for_prometheus() {
    let watched = Watched::start(&ours());
    let _ann = ann(&watched, "n");
    let text = page(watched.monitoring, "/metrics");
    assert!(text.contains("\nbroker_connections 1\n"), "{text}");
    assert!(!text.contains(SECRET));
}

/// A server, with the address of its pages.
struct Watched {
    server: Server,
    monitoring: SocketAddr,
    _folder: TempDir,
}

impl Watched {
    fn start(program: &str) -> Watched {
        let folder = TempDir::new().unwrap();
        let monitoring = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let store = folder.path().join("store");
        let config = folder.path().join("server.conf");
        let text = format!(
            "listen: '127.0.0.1:-1', http: '{monitoring}', jetstream {{ store_dir: {store:?} }}
             accounts {{
               SYS {{ users: [{{user: sys, password: '{SECRET}'}}] }}
               A {{ jetstream: enabled, users: [{{user: ann, password: '{SECRET}'}}] }}
             }}
             system_account: SYS\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&config);
        Watched {
            server: Server::spawn(command),
            monitoring,
            _folder: folder,
        }
    }

    /// Everything that can be seen, by where it is seen.
    fn look(self) -> BTreeMap<String, Value> {
        let mut seen = BTreeMap::new();
        let mut system = client(self.server.address, "sys", "s");
        system.send(b"SUB $SYS.SERVER.> 1\r\nSUB $SYS.ACCOUNT.> 2\r\nSUB _INBOX.> 3\r\nPING\r\n");
        system.expect("PONG\r\n");
        let _ann = ann(&self, "n");
        drop(ann(&self, "gone"));
        while EVENTS.iter().any(|event| !seen.contains_key(*event)) {
            let message = system.message();
            note(&mut seen, &message.subject, &message.payload);
        }
        for path in PAGES {
            let text = page(self.monitoring, path);
            seen.insert(path.to_owned(), serde_json::from_str(&text).unwrap());
        }
        for request in REQUESTS {
            system.publish(
                &format!("$SYS.REQ.{request}"),
                &format!("_INBOX.{request}"),
                &[],
                "",
            );
            let answer = loop {
                let message = system.message();
                if message.subject.starts_with("_INBOX.") {
                    break message;
                }
            };
            assert_eq!(answer.subject, format!("_INBOX.{request}"));
            seen.insert(request.to_owned(), serde_json::from_str(&answer.payload).unwrap());
        }
        seen
    }
}

fn note(seen: &mut BTreeMap<String, Value>, subject: &str, payload: &str) {
    let is_id = |token: &&str| !(token.len() == 56 && token.starts_with('N'));
    let subject = subject.split('.').filter(is_id).collect::<Vec<_>>().join(".");
    if EVENTS.contains(&subject.as_str()) {
        seen.insert(subject, serde_json::from_str(payload).unwrap());
    }
}

fn client(address: SocketAddr, user: &str, name: &str) -> Raw {
    let options =
        json!({"verbose": false, "user": user, "pass": SECRET, "name": name, "lang": "go", "version": "1"});
    Raw::ready(address, &options.to_string())
}

/// Somebody with subscriptions, a stream and a consumer.
fn ann(watched: &Watched, name: &str) -> Raw {
    let mut ann = client(watched.server.address, "ann", name);
    ann.send(b"SUB _INBOX.> 1\r\nSUB a q 2\r\n");
    ann.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]}));
    ann.store("s", &[], "x");
    let config = json!({"durable_name": "c", "name": "c", "ack_policy": "explicit"});
    ann.api(
        "CONSUMER.CREATE.S.c",
        &json!({"stream_name": "S", "config": config}),
    );
    ann
}

fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // Without chunks, which HTTP/1.0 does not know.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {head}");
    body.to_owned()
}

/// Each key below `value`, with the type of what it holds. Items of a list count as one.
fn collect(value: &Value, at: String, keys: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            for item in items {
                collect(item, format!("{at}[]"), keys);
            }
            "list"
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                collect(field, format!("{at}.{name}"), keys);
            }
            "object"
        }
    };
    keys.insert(at, kind);
}

/// The keys that the table names, some of them for one page only; and whether each was met.
struct LeftOut(Vec<(String, Option<String>, bool)>);

impl LeftOut {
    fn read() -> LeftOut {
        let text = fs::read_to_string(TABLE).unwrap();
        let mut rows = Vec::new();
        for row in text.lines().filter(|line| line.starts_with("| `.")) {
            let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
            assert!(cells.len() == 2 && !cells[1].is_empty(), "{row}");
            let names: Vec<&str> = cells[0].split('`').skip(1).step_by(2).collect();
            let page = names
                .iter()
                .find(|name| name.starts_with('/'))
                .map(|page| (*page).to_owned());
            let keys = names.into_iter().filter(|name| name.starts_with('.'));
            rows.extend(keys.map(|key| (key.to_owned(), page.clone(), false)));
        }
        LeftOut(rows)
    }

    /// Does a row name the key, or one above it?
    fn covers(&mut self, place: &str, key: &str) -> bool {
        let names = |row: &&mut (String, Option<String>, bool)| {
            let start = key.find(row.0.as_str());
            let end = start.and_then(|start| key[start + row.0.len()..].chars().next());
            start.is_some()
                && matches!(end, None | Some('.' | '['))
                && row.1.as_ref().is_none_or(|page| page == place)
        };
        let row = self.0.iter_mut().find(names);
        row.map(|row| row.2 = true).is_some()
    }

    fn unused(&self) -> Vec<&str> {
        let unused = self.0.iter().filter(|(_, _, is_met)| !is_met);
        unused.map(|(key, _, _)| key.as_str()).collect()
    }
}
