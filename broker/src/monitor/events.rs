//! What the server tells the system account of its own accord: who comes and goes, and at times how it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{accounts, system};
use crate::jetstream::names;
use crate::protocol::ClientError;
use crate::router::{Client, Message, Wakes};
use crate::server::Shared;
use crate::session::{Account, Login};

/// Whoever watches a server that has just started need not wait for long.
const FIRST_AFTER: Duration = Duration::from_millis(250);
/// nats-server's interval.
const EVERY: Duration = Duration::from_secs(10);

/// When to tell statistics: soon, and then more and more seldom.
#[derive(Debug)]
pub struct Heartbeat {
    pause: Duration,
    due: Instant,
}

impl Heartbeat {
    pub fn start() -> Heartbeat {
        Heartbeat {
            pause: FIRST_AFTER,
            due: Instant::now() + FIRST_AFTER,
        }
    }

    /// May be dropped and called again: what is due stays due.
    pub async fn next(&mut self) {
        sleep_until(self.due).await;
        self.pause = (self.pause * 2).min(EVERY);
        self.due += self.pause;
    }
}

/// `$SYS.SERVER.<id>.STATSZ`.
pub fn tell_statistics(server: &Shared) {
    let subject = format!("$SYS.SERVER.{}.STATSZ", server.server_id);
    tell_those_who_listen(server, &[subject], || system::statistics(server));
}

/// Who came, or who went and why; and how many of its account are there now.
pub fn tell(server: &Shared, client: &Client, login: &Login, reason: Option<ClientError>) {
    let account = &login.account.name;
    let word = if reason.is_some() { "DISCONNECT" } else { "CONNECT" };
    let subject = format!("$SYS.ACCOUNT.{account}.{word}");
    tell_those_who_listen(server, &[subject], || about_client(server, client, login, reason));
    let subjects = [
        format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"),
        format!("$SYS.ACCOUNT.{account}.SERVER.CONNS"),
    ];
    tell_those_who_listen(server, &subjects, || connections(server, &login.account));
}

/// How many connections an account has, and what they do.
pub fn connections(server: &Shared, account: &Account) -> Value {
    let mut event = event(server, "account_connections");
    if let (Some(event), Value::Object(figures)) =
        (event.as_object_mut(), accounts::statistics(server, account))
    {
        event.extend(figures);
    }
    event
}

fn about_client(server: &Shared, client: &Client, login: &Login, reason: Option<ClientError>) -> Value {
    let mut event = event(
        server,
        if reason.is_some() {
            "client_disconnect"
        } else {
            "client_connect"
        },
    );
    let identity = client.identity();
    event["client"] = json!({
        "start": super::time(client.started),
        "host": client.address.ip(),
        "id": client.id.0,
        "acc": login.account.name,
        "name_tag": login.account.name,
        "user": login.user,
        "name": identity.name,
        "lang": identity.lang,
        "ver": identity.version,
        "kind": "Client",
        "client_type": "nats",
    });
    if let Some(reason) = reason {
        event["client"]["stop"] = super::time(SystemTime::now()).into();
        if let Some(took) = client.activity.round_trip() {
            event["client"]["rtt"] = json!(took.as_nanos());
        }
        event["reason"] = reason.to_string().into();
        let traffic = &client.traffic;
        let figure = |count: &AtomicU64| count.load(Ordering::Relaxed);
        event["sent"] = json!({"msgs": figure(&traffic.out_msgs), "bytes": figure(&traffic.out_bytes)});
        event["received"] = json!({"msgs": figure(&traffic.in_msgs), "bytes": figure(&traffic.in_bytes)});
    }
    event
}

fn event(server: &Shared, kind: &str) -> Value {
    json!({
        "type": format!("io.nats.server.advisory.v1.{kind}"),
        "id": names::random_token(),
        "timestamp": super::time(SystemTime::now()),
        "server": system::about(server),
    })
}

/// Nothing is put together that nobody hears: many may come at once.
fn tell_those_who_listen(server: &Shared, subjects: &[String], event: impl FnOnce() -> Value) {
    let realm = server.realm();
    let Some(system) = realm.system_account() else {
        return;
    };
    let heard: Vec<&String> = subjects
        .iter()
        .filter(|subject| system.router.has_interest(subject.as_bytes()))
        .collect();
    if heard.is_empty() {
        return;
    }
    let event = event();
    for subject in heard {
        publish(system, subject.as_bytes(), &event);
    }
}

pub fn publish(account: &Account, subject: &[u8], body: &Value) {
    let body = Bytes::from(body.to_string());
    let message = Message {
        subject,
        reply: b"",
        header_len: 0,
        body: &body,
        backing: &body,
    };
    account.router.publish(subject, &message, &mut Wakes::default());
}
