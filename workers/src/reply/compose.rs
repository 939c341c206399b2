//! From a mail and a text to the reply: recipient, sender, subject, quoting. Pure; the time is a parameter.

use jiff::Timestamp;

use super::threading::{message_id, thread};
use super::token::ReplySecret;
use crate::messages::{Mailbox, NewMail, Reply, Send};

/// Enough to remember what it was about.
const MAX_QUOTED_LINES: usize = 200;

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub struct Composed<'a> {
    /// The name in From.
    pub name: Option<&'a str>,
    /// The account's addresses, the main one first. A mail that came to one of them is answered from that one.
    pub addresses: &'a [String],
    /// What marks of replies are signed with; `None` makes none.
    pub secret: Option<&'a ReplySecret>,
    pub now: Timestamp,
}

/// The mail names nobody to answer to, or the account has no address to answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mail has no address to answer to, or the account none to answer from")]
pub struct NoRecipient;

/// The reply to `mail`. `id` is its idempotency key.
pub fn compose(mail: &NewMail, reply: &Reply, id: String, by: Composed<'_>) -> Result<Send, NoRecipient> {
    let to = mail.reply_to.first().or(mail.from.as_ref()).ok_or(NoRecipient)?;
    let from = alias(mail, by.addresses).ok_or(NoRecipient)?;
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let mark = by
        .secret
        .map(|secret| secret.mark(&reply.account, mail.event_id, domain));
    let thread = thread(mail, mark.as_ref());
    Ok(Send {
        account: reply.account.clone(),
        from: Mailbox {
            name: by.name.map(str::to_owned),
            address: from.to_owned(),
        },
        to: to.clone(),
        subject: subject(&mail.subject),
        text: with_quote(&reply.text, mail),
        html: None,
        template: None,
        attachments: Vec::new(),
        unsubscribe: None,
        in_reply_to: thread.in_reply_to,
        references: thread.references,
        message_id: message_id(&id, domain),
        date: by.now,
        send_at: None,
        auto_submitted: reply.automatic,
        id,
    })
}

/// The address that the mail came to, so that a reply does not give away another one.
fn alias<'a>(mail: &NewMail, addresses: &'a [String]) -> Option<&'a str> {
    let named = addresses
        .iter()
        .find(|own| mail.to.iter().chain(&mail.cc).any(|to| to.is_same_address(own)));
    named.or(addresses.first()).map(String::as_str)
}

/// `Re: ` once, however often the subject has it already.
fn subject(subject: &str) -> String {
    let mut base = subject.trim();
    while let Some(rest) = base
        .get(..3)
        .filter(|re| re.eq_ignore_ascii_case("re:"))
        .and(base.get(3..))
    {
        base = rest.trim_start();
    }
    format!("Re: {base}").trim_end().to_owned()
}

fn with_quote(text: &str, mail: &NewMail) -> String {
    let mut reply = text.trim_end().to_owned();
    if mail.text.trim().is_empty() {
        return reply;
    }
    let who = mail
        .from
        .as_ref()
        .map_or("you", |from| from.name.as_deref().unwrap_or(&from.address));
    let when = mail
        .date
        .map(|date| date.strftime("On %Y-%m-%d at %H:%M UTC, ").to_string())
        .unwrap_or_default();
    reply.push_str(&format!("\n\n{when}{who} wrote:\n"));
    let mut lines = mail.text.lines();
    for line in lines.by_ref().take(MAX_QUOTED_LINES) {
        // RFC 3676 section 4.5: quotes of quotes have no space between their marks.
        reply.push_str(if line.starts_with('>') { ">" } else { "> " });
        reply.push_str(line);
        reply.push('\n');
    }
    if mail.text_truncated || lines.next().is_some() {
        reply.push_str("> [...]\n");
    }
    reply
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::reply::loops::tests::mail;
    use crate::send::message::Content;

    fn reply_to(mail: &NewMail) -> Send {
        let reply = Reply {
            account: "help".into(),
            event_id: Uuid::nil(),
            text: "At nine.\n".into(),
            automatic: true,
        };
        let addresses = ["desk@example.test".to_owned(), "help@example.test".to_owned()];
        let by = Composed {
            name: Some("Help"),
            addresses: &addresses,
            secret: None,
            now: Timestamp::UNIX_EPOCH,
        };
        compose(mail, &reply, "key".into(), by).unwrap()
    }

    #[test]
    fn the_whole_reply() {
        let send = reply_to(&mail());
        assert_eq!(send.to.address, "ada@example.org");
        assert_eq!(
            send.from.to_string(),
            "Help <help@example.test>",
            "the alias that the mail came to"
        );
        assert_eq!(send.subject, "Re: Hello");
        assert_eq!(send.in_reply_to.as_deref(), Some("1@example.org"));
        assert_eq!(
            send.text,
            "At nine.\n\nOn 2026-11-03 at 09:00 UTC, Ada {x} wrote:\n> When do you open?\n> Ada\n"
        );
        assert!(send.message_id.ends_with("@example.test"));
        assert!(send.auto_submitted);
        assert!(crate::send::message::build(&send, &Content::of(&send), &[]).is_ok());
    }

    #[test]
    fn subjects_have_one_re() {
        for (given, expect) in [
            ("Hi", "Re: Hi"),
            ("RE: re:Hi", "Re: Hi"),
            ("", "Re:"),
            ("Re:", "Re:"),
            ("é", "Re: é"),
            ("Regards", "Re: Regards"),
        ] {
            assert_eq!(subject(given), expect);
        }
    }

    #[test]
    fn quoting_is_bounded_and_keeps_depth() {
        let quoted = reply_to(&NewMail {
            text: "> older\nnewer".into(),
            ..mail()
        })
        .text;
        assert!(quoted.ends_with(">> older\n> newer\n"), "{quoted}");
        let long = reply_to(&NewMail {
            text: "x\n".repeat(5_000),
            ..mail()
        })
        .text;
        assert!(long.ends_with("> x\n> [...]\n"));
        assert!(long.lines().count() < MAX_QUOTED_LINES + 10);
    }

    #[test]
    fn without_anybody_to_answer_there_is_no_reply() {
        let nobody = NewMail { from: None, ..mail() };
        let reply = Reply {
            account: "help".into(),
            event_id: Uuid::nil(),
            text: "x".into(),
            automatic: false,
        };
        let addresses = ["help@example.test".to_owned()];
        let by = Composed {
            name: None,
            addresses: &addresses,
            secret: None,
            now: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(compose(&nobody, &reply, "k".into(), by), Err(NoRecipient));
        assert_eq!(
            compose(&mail(), &reply, "k".into(), Composed { addresses: &[], ..by }),
            Err(NoRecipient)
        );
    }
}
