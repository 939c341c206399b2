//! The folder of what was sent: whether a mail is in it, and how it gets there.

use std::time::Duration;

use super::{Command, ImapError, QUICK, Refusal, Session};

/// One whole mail, at the pace of a poor line.
const APPEND: Duration = Duration::from_secs(300);

impl Session {
    /// Whether the selected mailbox has a mail with this Message-ID, which comes without angle brackets.
    pub async fn has_message_id(&mut self, message_id: &str) -> Result<bool, ImapError> {
        if !message_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ImapError::BadArgument(
                "a Message-ID is printable ASCII without spaces",
            ));
        }
        let quoted = message_id.replace('\\', "\\\\").replace('"', "\\\"");
        let found = self.search(&format!("HEADER Message-ID \"<{quoted}>\"")).await?;
        Ok(!found.is_empty())
    }

    /// Puts a mail into the mailbox, read.
    pub async fn append(&mut self, mailbox: &str, mail: &[u8]) -> Result<(), ImapError> {
        let command = Command::new("APPEND")
            .mailbox(mailbox)?
            .raw("(\\Seen)")
            .literal(mail);
        self.connection.run(command, APPEND).await.map(drop)
    }

    /// Makes the mailbox. That there is one already is no error.
    pub async fn create(&mut self, mailbox: &str) -> Result<(), ImapError> {
        match self
            .connection
            .run(Command::new("CREATE").mailbox(mailbox)?, QUICK)
            .await
        {
            Err(ImapError::Refused {
                refusal: Refusal::No, ..
            })
            | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
