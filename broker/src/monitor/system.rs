//! `$SYS`: what users and tools ask the server about itself by request, and what it tells of its own accord.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{accounts, connz, healthz, jsz, varz};
use crate::jetstream::names;
use crate::protocol::ClientError;
use crate::protocol::info::VERSION;
use crate::router::{Client, Message, Wakes};
use crate::server::Shared;
use crate::session::{Account, Login, Notice};

/// Takes notices until the server ends.
pub async fn answer_notices(
    mut notices: mpsc::Receiver<Notice>,
    server: Arc<Shared>,
    shutdown: CancellationToken,
) {
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = shutdown.cancelled() => return,
        };
        match notice {
            Some(Notice::Request {
                subject,
                reply,
                body,
                login,
            }) => {
                if let Some(answer) = answer(&server, &subject, &body, &login).filter(|_| !reply.is_empty()) {
                    publish(&login.account, &reply, &answer);
                }
            }
            Some(Notice::Connected { client, login }) => tell(&server, &client, &login, None),
            Some(Notice::Disconnected {
                client,
                login,
                reason,
            }) => tell(&server, &client, &login, Some(reason)),
            None => return,
        }
    }
}

/// The answer's envelope; `None` for what nobody knows an answer to, as from nats-server.
fn answer(server: &Shared, subject: &[u8], body: &[u8], login: &Login) -> Option<Value> {
    let subject = std::str::from_utf8(subject).ok()?;
    let tokens: Vec<&str> = subject.split('.').skip(2).collect();
    let content = match tokens.as_slice() {
        ["USER", "INFO"] => json!({"user": login.user, "account": login.account.name}),
        ["SERVER", "PING"] => {
            return Some(json!({"server": about(server), "statsz": statsz(server)}));
        }
        ["SERVER", "PING", what] => about_server(server, what, body)?,
        ["SERVER", id, what] if *id == server.server_id => about_server(server, what, body)?,
        ["ACCOUNT", "PING", what] => about_account(server, &login.account.name, what, body)?,
        ["ACCOUNT", name, what] => about_account(server, name, what, body)?,
        _ => return None,
    };
    Some(json!({"server": about(server), "data": content}))
}

fn about_server(server: &Shared, what: &str, body: &[u8]) -> Option<Value> {
    match what {
        "STATSZ" => Some(statsz(server)),
        "IDZ" => {
            Some(json!({"name": server.server_name, "id": server.server_id, "host": server.address.ip()}))
        }
        "VARZ" => serde_json::to_value(varz::varz(server)).ok(),
        "CONNZ" => serde_json::to_value(connz::connz(server, &options(body))).ok(),
        "JSZ" => serde_json::to_value(jsz::jsz(server, &options(body))).ok(),
        "HEALTHZ" => serde_json::to_value(healthz::healthz(server)).ok(),
        "SUBSZ" => Some(accounts::subsz(server)),
        "ACCOUNTZ" => Some(accounts::accountz(server)),
        "ROUTEZ" => Some(accounts::routez(server)),
        "LEAFZ" => Some(accounts::leafz(server)),
        "GATEWAYZ" => Some(accounts::gatewayz(server)),
        _ => None,
    }
}

fn about_account(server: &Shared, name: &str, what: &str, body: &[u8]) -> Option<Value> {
    match what {
        "CONNZ" => {
            let mut paging: connz::Paging = options(body);
            paging.acc = Some(name.to_owned());
            serde_json::to_value(connz::connz(server, &paging)).ok()
        }
        "STATZ" => Some(accounts::accstatz(server, Some(name))),
        "INFO" => {
            Some(json!({"account_name": name, "is_system": name == server.config().auth.system_account()}))
        }
        "JSZ" => serde_json::to_value(jsz::of_account(server, name)).ok(),
        _ => None,
    }
}

/// What is asked for in particular; nothing, if it can not be read.
fn options<T: DeserializeOwned + Default>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_default()
}

fn about(server: &Shared) -> Value {
    json!({
        "name": server.server_name,
        "host": server.address.ip(),
        "id": server.server_id,
        "ver": VERSION,
        "jetstream": !server.jetstreams().is_empty(),
        "seq": 0,
        "time": super::time(SystemTime::now()),
    })
}

fn statsz(server: &Shared) -> Value {
    let figures = serde_json::to_value(varz::varz(server)).unwrap_or(Value::Null);
    json!({
        "start": figures["start"],
        "cores": figures["cores"],
        "connections": figures["connections"],
        "total_connections": figures["total_connections"],
        "active_accounts": server.accounts().len(),
        "subscriptions": figures["subscriptions"],
        "sent": {"msgs": figures["out_msgs"], "bytes": figures["out_bytes"]},
        "received": {"msgs": figures["in_msgs"], "bytes": figures["in_bytes"]},
        "slow_consumers": figures["slow_consumers"],
    })
}

/// Tells the system account who came or went.
fn tell(server: &Shared, client: &Client, login: &Login, reason: Option<ClientError>) {
    let realm = server.realm();
    let Some(system) = realm.system_account() else {
        return;
    };
    let (kind, word) = match reason {
        None => ("connect", "CONNECT"),
        Some(_) => ("disconnect", "DISCONNECT"),
    };
    let identity = client.identity();
    let mut event = json!({
        "type": format!("io.nats.server.advisory.v1.client_{kind}"),
        "id": names::random_token(),
        "timestamp": super::time(SystemTime::now()),
        "server": about(server),
        "client": {
            "start": super::time(client.started),
            "host": client.address.ip(),
            "id": client.id.0,
            "acc": login.account.name,
            "user": login.user,
            "name": identity.name,
            "lang": identity.lang,
            "ver": identity.version,
        },
    });
    if let Some(reason) = reason {
        event["reason"] = reason.to_string().into();
    }
    publish(
        system,
        format!("$SYS.ACCOUNT.{}.{word}", login.account.name).as_bytes(),
        &event,
    );
}

fn publish(account: &Account, subject: &[u8], body: &Value) {
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
