//! Loop safety (RFC 3834): two machines that answer each other would never stop. Pure.

use std::fmt;

use crate::messages::{Automatic, Mailbox, NewMail};

/// Why a mail gets no automatic reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It comes from a machine, a list, or from nobody.
    Automatic(Automatic),
    /// It comes from this very account.
    OwnMail,
    /// Its sender had so many automatic replies in a day: two machines that don't say what they are would go on for ever.
    TooMany(u32),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Automatic(automatic) => f.write_str(automatic.reason()),
            Self::OwnMail => f.write_str("it comes from this account's own address"),
            Self::TooMany(cap) => write!(f, "its sender had {cap} automatic replies within a day"),
        }
    }
}

/// Whether a machine may answer: to whom, or why not. `own` are the account's addresses.
pub fn may_answer<'a>(mail: &'a NewMail, own: &[String]) -> Result<&'a Mailbox, Silence> {
    if let Some(automatic) = mail.automatic {
        return Err(Silence::Automatic(automatic));
    }
    let is_own = |mailbox: &Mailbox| own.iter().any(|own| mailbox.is_same_address(own));
    if mail.from.iter().chain(&mail.reply_to).any(is_own) {
        return Err(Silence::OwnMail);
    }
    mail.reply_to
        .first()
        .or(mail.from.as_ref())
        .ok_or(Silence::Automatic(Automatic::NoSender))
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::messages::BlobRef;

    pub(in crate::reply) fn mail() -> NewMail {
        NewMail {
            event_id: Uuid::nil(),
            account: "help".into(),
            mailbox: "INBOX".into(),
            uidvalidity: 1,
            uid: 1,
            message_id: "1@example.org".into(),
            from: Some(Mailbox {
                name: Some("Ada {x}".into()),
                address: "ada@example.org".into(),
            }),
            reply_to: vec![],
            to: vec![Mailbox::bare("help@example.test")],
            cc: vec![],
            subject: "Hello".into(),
            date: Some("2026-11-03T09:00:00Z".parse().unwrap()),
            in_reply_to: None,
            references: vec![],
            text: "When do you open?\nAda".into(),
            text_truncated: false,
            reply_text: "When do you open?\nAda".into(),
            html: None,
            html_withheld: None,
            authentication: vec![],
            continues: None,
            provider_thread: None,
            attachments: vec![],
            automatic: None,
            raw: BlobRef {
                sha256: "0".into(),
                size: 1,
            },
            received_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn people_are_answered_and_machines_are_not() {
        let own = ["help@example.test".to_owned()];
        let check = |change: &dyn Fn(&mut NewMail), expect: Result<&str, Silence>| {
            let mut mail = mail();
            change(&mut mail);
            assert_eq!(may_answer(&mail, &own).map(|to| to.address.as_str()), expect);
        };
        check(&|_| (), Ok("ada@example.org"));
        check(
            &|m| m.reply_to = vec![Mailbox::bare("desk@example.org")],
            Ok("desk@example.org"),
        );
        check(
            &|m| m.automatic = Some(Automatic::List),
            Err(Silence::Automatic(Automatic::List)),
        );
        check(
            &|m| m.from = Some(Mailbox::bare("HELP@example.test")),
            Err(Silence::OwnMail),
        );
        check(
            &|m| m.reply_to = vec![Mailbox::bare("help@Example.Test")],
            Err(Silence::OwnMail),
        );
        check(&|m| m.from = None, Err(Silence::Automatic(Automatic::NoSender)));
    }
}
