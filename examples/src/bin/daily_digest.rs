//! Work by the clock: every weekday at seven in Berlin, a digest is due, once, however many processes run this.

use postroom::{App, Cron, Cx, CxError, Handle, Handler, Message, Missed};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "digests.due", id = "digests.due.v1")]
struct DigestDue {
    day: String,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "digests.written", id = "digests.written.v1")]
struct DigestWritten {
    day: String,
}

#[derive(Handler)]
#[handler(on = DigestDue, id = "write-digest", idempotent(key = [day], ttl = "7d"))]
struct WriteDigest;

impl Handle<DigestDue> for WriteDigest {
    type Error = CxError;

    async fn handle(&self, due: DigestDue, cx: &mut Cx<'_>) -> Result<(), CxError> {
        cx.publish(&DigestWritten { day: due.day }).await
    }
}

#[tokio::main]
async fn main() -> postroom::Result<()> {
    // Was nobody there at seven, the digest comes when somebody is; after a week away, one, not five.
    let weekdays = Cron::new("daily-digest", "0 7 * * MON-FRI", "Europe/Berlin").missed(Missed::Coalesce);
    App::from_env()
        .await?
        .cron(weekdays, |fire| DigestDue {
            day: fire.at.date().to_string(),
        })
        .handler(WriteDigest)
        .run()
        .await
}
