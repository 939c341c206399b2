//! `$SYS`: what users and tools ask the server about itself by request.

use std::sync::Arc;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::events::{self, Heartbeat};
use super::{accounts, connz, healthz, jsz, varz};
use crate::protocol::info::VERSION;
use crate::server::Shared;
use crate::session::{Login, Notice};

/// Takes notices until the server ends, and tells at times how it is.
pub async fn answer_notices(
    mut notices: mpsc::Receiver<Notice>,
    server: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let mut heartbeat = Heartbeat::start();
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = heartbeat.next() => {
                events::tell_statistics(&server);
                continue;
            }
            () = shutdown.cancelled() => return,
        };
        match notice {
            Some(Notice::Request {
                subject,
                reply,
                body,
                login,
            }) => {
                let answer = answer(&server, &subject, &body, &login).await;
                if let Some(answer) = answer.filter(|_| !reply.is_empty()) {
                    events::publish(&login.account, &reply, &answer);
                }
            }
            Some(Notice::Connected { client, login }) => events::tell(&server, &client, &login, None),
            Some(Notice::Disconnected {
                client,
                login,
                reason,
            }) => events::tell(&server, &client, &login, Some(reason)),
            None => return,
        }
    }
}

/// The answer's envelope; `None` for what nobody knows an answer to, as from nats-server.
async fn answer(server: &Shared, subject: &[u8], body: &[u8], login: &Login) -> Option<Value> {
    let subject = std::str::from_utf8(subject).ok()?;
    let tokens: Vec<&str> = subject.split('.').skip(2).collect();
    let own = &login.account.name;
    let content = match tokens.as_slice() {
        ["USER", "INFO"] => json!({"user": login.user, "account": own, "account_name": own}),
        ["SERVER", "PING"] => return Some(statistics(server)),
        ["SERVER", who, what] if *who == "PING" || *who == server.server_id => match *what {
            "STATSZ" => return Some(statistics(server)),
            "IDZ" => return Some(identity(server)),
            what => about_server(server, what, body).await?,
        },
        ["ACCOUNT", name, "CONNS"] => {
            let accounts = server.accounts();
            let account = accounts.iter().find(|account| account.name == *name)?;
            return Some(events::connections(server, account));
        }
        ["ACCOUNT", "PING", what] => about_account(server, own, what, body).await?,
        ["ACCOUNT", name, what] => about_account(server, name, what, body).await?,
        _ => return None,
    };
    Some(json!({"server": about(server), "data": content}))
}

async fn about_server(server: &Shared, what: &str, body: &[u8]) -> Option<Value> {
    match what {
        "VARZ" => serde_json::to_value(varz::varz(server)).ok(),
        "CONNZ" => serde_json::to_value(connz::connz(server, &options(body))).ok(),
        "JSZ" => serde_json::to_value(jsz::jsz(server, &options(body)).await).ok(),
        "HEALTHZ" => Some(healthz::told(server)),
        "SUBSZ" => Some(accounts::subsz(server, &options(body))),
        "ACCOUNTZ" => Some(accounts::accountz(server, &options(body))),
        "ROUTEZ" => Some(accounts::routez(server)),
        "LEAFZ" => Some(accounts::leafz(server)),
        "GATEWAYZ" => Some(accounts::gatewayz(server)),
        _ => None,
    }
}

async fn about_account(server: &Shared, name: &str, what: &str, body: &[u8]) -> Option<Value> {
    match what {
        "CONNZ" => {
            let mut paging: connz::Paging = options(body);
            paging.acc = Some(name.to_owned());
            serde_json::to_value(connz::connz(server, &paging)).ok()
        }
        "SUBSZ" => {
            let mut asked: accounts::SubscriptionsAsked = options(body);
            asked.acc = Some(name.to_owned());
            asked.subs = "detail".to_owned();
            Some(accounts::subsz(server, &asked))
        }
        "STATZ" => Some(accounts::accstatz(server, Some(name))),
        "INFO" => accounts::account(server, name),
        "LEAFZ" => Some(accounts::leafz(server)),
        "JSZ" => {
            let accounts = server.accounts();
            let account = accounts.iter().find(|account| account.name == name)?;
            Some(jsz::of_account(name, account.jetstream.as_ref()?, &options(body)).await)
        }
        _ => None,
    }
}

/// What is asked for in particular; nothing, if it can not be read.
fn options<T: DeserializeOwned + Default>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_default()
}

fn identity(server: &Shared) -> Value {
    json!({"name": server.server_name, "id": server.server_id, "host": server.address.ip()})
}

/// Heads whatever the server tells.
pub fn about(server: &Shared) -> Value {
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

pub fn statistics(server: &Shared) -> Value {
    let figures = serde_json::to_value(varz::varz(server)).unwrap_or(Value::Null);
    let sent = json!({"msgs": figures["out_msgs"], "bytes": figures["out_bytes"]});
    let received = json!({"msgs": figures["in_msgs"], "bytes": figures["in_bytes"]});
    let mut statistics = json!({
        "start": figures["start"],
        "mem": figures["mem"],
        "cores": figures["cores"],
        "cpu": figures["cpu"],
        "connections": figures["connections"],
        "total_connections": figures["total_connections"],
        "active_accounts": server.accounts().len(),
        "subscriptions": figures["subscriptions"],
        "sent": sent,
        "sent_to_clients": sent,
        "received": received,
        "received_from_clients": received,
        "slow_consumers": figures["slow_consumers"],
        "active_servers": 1,
    });
    if let Some(jetstream) = varz::jetstream(server) {
        statistics["jetstream"] = json!(jetstream);
    }
    json!({"server": about(server), "statsz": statistics})
}
