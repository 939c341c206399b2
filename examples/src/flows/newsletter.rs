//! A newsletter: one edition becomes one mail for each subscriber, with one click to unsubscribe. Whose address is refused,
//! or comes back, gets no further one.

use postroom::{App, Cx, CxError, Handle, Handler, Message};
use postroom_workers::messages::{Mailbox, Send};
use postroom_workers::store::suppressions;
use serde::{Deserialize, Serialize};

use crate::stage::{ADDRESS, AnyError, Play, Stage};

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "editions.written", id = "editions.written.v1")]
struct Edition {
    number: u32,
    title: String,
    text: String,
    subscribers: Vec<String>,
}

#[derive(Handler)]
#[handler(on = Edition, id = "send-edition", idempotent(key = [number], ttl = "30d"))]
struct SendEdition;

impl Handle<Edition> for SendEdition {
    type Error = CxError;

    async fn handle(&self, edition: Edition, cx: &mut Cx<'_>) -> Result<(), CxError> {
        for address in &edition.subscribers {
            // Its id is the key: one edition comes once, however often this runs.
            let id = id(edition.number, address);
            let mail = Send {
                subject: edition.title.clone(),
                text: edition.text.clone(),
                unsubscribe: Some(format!(
                    "https://shop.example/unsubscribe?id={}",
                    id.replace('/', "-")
                )),
                ..Send::new(id, "help", Mailbox::bare(ADDRESS), Mailbox::bare(address))
            };
            cx.publish(&mail).await?;
        }
        Ok(())
    }
}

fn id(edition: u32, address: &str) -> String {
    format!("edition/{edition}/{address}")
}

/// Gives the mails of two editions, and who is suppressed after them.
pub async fn play() -> Result<Vec<String>, AnyError> {
    let refused = "rcpt gone@mail.example 550 5.1.1 No such user";
    let play = Stage::set("", &[refused])
        .await?
        .play(|app: App| app.handler(SendEdition))
        .await?;
    let subscribers = ["ada", "gone", "moved"].map(|name| format!("{name}@mail.example"));
    let edition = |number: u32| Edition {
        number,
        title: format!("News {number}"),
        text: "All lamps are on.".to_owned(),
        subscribers: subscribers.to_vec(),
    };
    play.publish(&edition(1)).await?;
    play.sent(2).await?;
    comes_back(&play, &subscribers[2]).await?;
    play.until(async || Ok(suppressed(&play).await?.len() == 2))
        .await?;
    play.publish(&edition(2)).await?;
    play.sent(3).await?;
    let suppressed = format!("suppressed: {}", suppressed(&play).await?.join(", "));
    let mut told = play.end().await?;
    told.push(suppressed);
    Ok(told)
}

async fn suppressed(play: &Play) -> Result<Vec<String>, AnyError> {
    let mut tx = play.store().read().await?;
    let list = suppressions::list(&mut tx, "", 100).await?;
    Ok(list.into_iter().map(|suppression| suppression.address).collect())
}

/// The report of a mail system further on, which took the mail and then could not deliver it.
async fn comes_back(play: &Play, address: &str) -> Result<(), AnyError> {
    let sent = Send::new(
        id(1, address),
        "help",
        Mailbox::bare(ADDRESS),
        Mailbox::bare(address),
    )
    .message_id;
    let header = "Return-Path: <>\r\nMIME-Version: 1.0\r\n\
                  Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n";
    let text = format!(
        "--b\r\n\r\nIt could not be delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.mail.example\r\n\r\nFinal-Recipient: rfc822; {address}\r\nAction: failed\r\n\
         Status: 5.1.6\r\nDiagnostic-Code: smtp; 550 5.1.6 The mailbox has moved, no such user here\r\n--b\r\n\
         Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{sent}>\r\n--b--"
    );
    play.arrives(
        "MAILER-DAEMON@mx.mail.example",
        "Undelivered Mail Returned to Sender",
        header,
        &text,
    )
    .await
}
