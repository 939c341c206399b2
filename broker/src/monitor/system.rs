//! `$SYS`: what users and tools ask the server about itself by request, and what it tells of its own accord.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::router::{Message, Wakes};
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
                login,
                ..
            }) => {
                if let Some(answer) = answer(&server, &subject, &login) {
                    publish(&login.account, &reply, &answer);
                }
            }
            Some(_) => {}
            None => return,
        }
    }
}

fn answer(server: &Shared, subject: &[u8], login: &Login) -> Option<Value> {
    match subject {
        b"$SYS.REQ.USER.INFO" => Some(
            json!({"server": {"name": server.server_name}, "data": {"user": login.user, "account": login.account.name}}),
        ),
        _ => None,
    }
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
