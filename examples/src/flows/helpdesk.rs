//! A helpdesk: the first mail of a thread gets a ticket number, and an answer that says it; later ones join their ticket.

use postroom::{App, Cx, CxError, Handle, Handler, StoreError, on_tx};
use postroom_workers::messages::{Mailbox, NewMail, Send};

use crate::stage::{ADDRESS, AnyError, Stage};

const TABLE: &str =
    "CREATE TABLE tickets (number INTEGER PRIMARY KEY, opened_by TEXT NOT NULL, mails INTEGER NOT NULL)";
const OPEN: &str = "INSERT INTO tickets (opened_by, mails) VALUES ($1, 1) RETURNING number";
const JOIN: &str = "UPDATE tickets SET mails = mails + 1 WHERE number = $1 RETURNING number";
const MAILS: &str = "SELECT mails FROM tickets ORDER BY number";

#[derive(Handler)]
#[handler(on = NewMail, id = "helpdesk", idempotent(key = [account, message_id], ttl = "30d"))]
struct Helpdesk;

impl Handle<NewMail> for Helpdesk {
    type Error = CxError;

    async fn handle(&self, mail: NewMail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let Some(customer) = mail.from.filter(|_| mail.automatic.is_none()) else {
            return Ok(());
        };
        // Table, answer and "this mail is done" commit together, or not at all: no number is given twice.
        let tx = cx.tx().await?;
        if let Some(number) = number_in(&mail.subject) {
            let joined: Option<i64> =
                on_tx!(tx, connection => sqlx::query_scalar(JOIN).bind(number).fetch_optional(connection).await)
                    .map_err(StoreError::from)?;
            if joined.is_some() {
                return Ok(());
            }
        }
        let number: i64 =
            on_tx!(tx, connection => sqlx::query_scalar(OPEN).bind(&customer.address).fetch_one(connection).await)
                .map_err(StoreError::from)?;
        let answer = Send {
            subject: format!("[#{number}] {}", mail.subject),
            text: format!("Thank you. Your request has the number {number}; please leave it in the subject."),
            in_reply_to: Some(mail.message_id.clone()),
            references: vec![mail.message_id],
            auto_submitted: true,
            ..Send::new(
                format!("ticket/{number}"),
                mail.account,
                Mailbox::bare(ADDRESS),
                customer,
            )
        };
        cx.publish(&answer).await
    }
}

/// 17 in `Re: [#17] My order`.
fn number_in(subject: &str) -> Option<i64> {
    let (_, rest) = subject.split_once("[#")?;
    rest.split_once(']')?.0.parse().ok()
}

/// Gives the answers, and in the end how many mails each ticket has.
pub async fn play() -> Result<Vec<String>, AnyError> {
    let stage = Stage::set("", &[]).await?;
    let mut tx = stage.app.store().begin().await?;
    postroom::execute!(tx, TABLE)?;
    tx.commit().await?;

    let play = stage.play(|app: App| app.handler(Helpdesk)).await?;
    play.arrives("Ada <ada@mail.example>", "My order", "", "Where is it?")
        .await?;
    play.sent(1).await?;
    play.arrives("Bob <bob@mail.example>", "A lamp", "", "It is dark.")
        .await?;
    play.arrives("Ada <ada@mail.example>", "Re: [#1] My order", "", "It has come.")
        .await?;
    play.sent(2).await?;
    let store = play.store().clone();
    let tickets = async || -> Result<Vec<i64>, AnyError> {
        let mut tx = store.read().await?;
        Ok(on_tx!(tx, connection => sqlx::query_scalar(MAILS).fetch_all(connection).await)?)
    };
    play.until(async || Ok(tickets().await?.iter().sum::<i64>() == 3))
        .await?;
    let mails_of_each = format!("mails of each ticket: {:?}", tickets().await?);
    let mut told = play.end().await?;
    told.push(mails_of_each);
    Ok(told)
}
