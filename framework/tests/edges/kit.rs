//! The kit as its users see it.

use std::time::Duration;

use postroom::testing::{Edge, Kit, assert_published};
use postroom::{Cx, CxError, Handle, Handler, Message, Store, on_tx};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "mails.new", id = "mails.new.v1")]
struct Mail {
    id: String,
    subject: String,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "mails.answered", id = "mails.answered.v1")]
struct Answer {
    text: String,
}

#[derive(Handler)]
#[handler(on = Mail, id = "thank-you", idempotent(key = [id], ttl = "7d"))]
struct ThankYou;

impl Handle<Mail> for ThankYou {
    type Error = CxError;

    async fn handle(&self, mail: Mail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let text = format!("{}: it is on its way to accounting", mail.subject);
        cx.publish(&Answer { text }).await
    }
}

fn mail() -> Mail {
    Mail {
        id: "1".to_owned(),
        subject: "invoice".to_owned(),
    }
}

#[tokio::test]
async fn a_handler_is_tested_at_every_edge() {
    let mut struck = 0;
    for edge in Edge::ALL {
        let kit = Kit::start(|app| app.handler(ThankYou)).await;
        struck += kit.deliver(&mail()).twice().crash_at(*edge).await.struck;
        kit.assert_effects(1);
        assert_published!(kit, Answer { text } if text.contains("accounting"));
    }
    assert!(struck >= 9, "of {} edges, it met {struck}", Edge::ALL.len());
}

/// More than one purge takes at a time.
const MANY: i64 = 1_200;

#[tokio::test]
async fn what_has_expired_is_forgotten_however_much_it_is() {
    let kit = Kit::start(|app| app.handler(ThankYou)).await;
    let store = Store::open(kit.database_url()).await.expect("the database opens");
    let mut tx = store.begin().await.expect("begin");
    for key in 0..MANY {
        postroom::execute!(tx, EXPIRED, key.to_string()).expect("a row");
    }
    tx.commit().await.expect("commit");
    // Until the next purge.
    kit.advance(Duration::from_secs(60)).await;
    for _ in 0..1_000 {
        let mut tx = store.read().await.expect("read");
        let left: i64 = on_tx!(tx, connection =>
            sqlx::query_scalar("SELECT COUNT(*) FROM deliveries").fetch_one(connection).await)
        .expect("a count");
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("one purge left rows behind that have expired");
}

const EXPIRED: &str = "\
INSERT INTO deliveries (scope, key, state, fence, owner, lease_until, attempts, crashes, fingerprint, history, first_seen,
    updated, expires_at)
VALUES ('thank-you', $1, 'done', 1, '', 0, 1, 0, '', '[]', 0, 0, 1)";
