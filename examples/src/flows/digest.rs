//! A digest: what has come since the last one, by the clock, in one mail. Here it is due every second; a real one says
//! `"0 7 * * MON-FRI"`.

use postroom::{App, Cron, Cx, CxError, Handle, Handler, Message, Missed, StoreError, execute, on_tx};
use postroom_workers::messages::{Mailbox, NewMail, Send};
use serde::{Deserialize, Serialize};

use crate::stage::{ADDRESS, AnyError, Stage};

const TABLE: &str = "CREATE TABLE digest_lines (line TEXT NOT NULL)";
const ADD: &str = "INSERT INTO digest_lines (line) VALUES ($1)";
const TAKE: &str = "DELETE FROM digest_lines RETURNING line";

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "digests.due", id = "digests.due.v1")]
struct DigestDue {
    at: String,
}

#[derive(Handler)]
#[handler(on = NewMail, id = "note-mail", idempotent(key = [account, message_id], ttl = "30d"))]
struct NoteMail;

impl Handle<NewMail> for NoteMail {
    type Error = CxError;

    async fn handle(&self, mail: NewMail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let from = mail.from.map_or_else(|| "nobody".to_owned(), |from| from.address);
        let tx = cx.tx().await?;
        execute!(tx, ADD, format!("{} ({from})", mail.subject)).map_err(StoreError::from)?;
        Ok(())
    }
}

#[derive(Handler)]
#[handler(on = DigestDue, id = "send-digest", idempotent(key = [at], ttl = "30d"))]
struct SendDigest;

impl Handle<DigestDue> for SendDigest {
    type Error = CxError;

    async fn handle(&self, due: DigestDue, cx: &mut Cx<'_>) -> Result<(), CxError> {
        // Taken and sent in one transaction: no line is lost, and none comes twice.
        let tx = cx.tx().await?;
        let mut lines: Vec<String> =
            on_tx!(tx, connection => sqlx::query_scalar(TAKE).fetch_all(connection).await)
                .map_err(StoreError::from)?;
        if lines.is_empty() {
            return Ok(());
        }
        lines.sort();
        let [from, to] = [ADDRESS, "boss@mail.example"].map(Mailbox::bare);
        let digest = Send {
            subject: format!("{} new mails", lines.len()),
            text: lines.join("\n"),
            ..Send::new(format!("digest/{}", due.at), "help", from, to)
        };
        cx.publish(&digest).await
    }
}

/// Gives the digests.
pub async fn play() -> Result<Vec<String>, AnyError> {
    let stage = Stage::set("", &[]).await?;
    let mut tx = stage.app.store().begin().await?;
    execute!(tx, TABLE)?;
    tx.commit().await?;

    let every_second = Cron::new("digest", "* * * * * *", "Europe/Berlin").missed(Missed::Coalesce);
    let due = |fire: &postroom::Fire| DigestDue {
        at: fire.at.to_string(),
    };
    let play = stage
        .play(|app: App| app.cron(every_second, due).handler(NoteMail).handler(SendDigest))
        .await?;
    let subjects = ["My order", "A lamp", "Opening hours"];
    for subject in subjects {
        play.arrives("Ada <ada@mail.example>", subject, "", "Hello")
            .await?;
    }
    play.until(async || {
        let digests = play.mails().await?.concat();
        Ok(subjects.iter().all(|subject| digests.contains(subject)))
    })
    .await?;
    play.end().await
}
