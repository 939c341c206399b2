//! The kit as its users see it.

use postroom::testing::{Edge, Kit, assert_published};
use postroom::{Cx, CxError, Handle, Handler, Message};
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
