//! Thanks for every mail with an invoice. Run it beside `postroom up`, or beside `postroom demo --keep`.

use postroom::{App, Cx, CxError, Handle, Handler};
use postroom_workers::messages::{NewMail, Reply};

#[derive(Handler)]
#[handler(on = NewMail, id = "thank-you", idempotent(key = [account, message_id], ttl = "30d"))]
struct ThankYou;

impl Handle<NewMail> for ThankYou {
    type Error = CxError;

    async fn handle(&self, mail: NewMail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        if !mail.subject.contains("invoice") {
            return Ok(());
        }
        let text = "Thank you, it is on its way to accounting.".to_owned();
        cx.publish(&Reply {
            account: mail.account,
            event_id: mail.event_id,
            text,
            automatic: true,
        })
        .await
    }
}

#[tokio::main]
async fn main() -> postroom::Result<()> {
    App::from_env().await?.handler(ThankYou).run().await
}
