//! What comes back: reports by Postfix about mails that were sent, and what they do to the next one.

use postroom_workers::messages::{BounceKind, Cause, Mailbox, Send};
use postroom_workers::store::suppressions;

use crate::pipeline::send;
use crate::world::{On, Published, World, everywhere, outbound};
use crate::{DOVECOT, POSTFIX};

everywhere!(
    a_report_is_tied_to_its_mail_and_ends_an_address_that_is_none,
    a_refused_recipient_is_written_to_once,
    a_report_about_a_mail_that_was_never_sent_suppresses_nobody,
);

fn from(user: &str, id: &str, to: &str) -> Send {
    Send {
        from: Mailbox::bare(user),
        message_id: format!("{id}.{user}"),
        ..send(id, to)
    }
}

async fn suppressed(world: &World, address: &str) -> Option<String> {
    let mut tx = world.store.read().await.unwrap();
    let found = suppressions::find(&mut tx, address).await.unwrap();
    found.map(|suppression| suppression.cause)
}

async fn a_report_is_tied_to_its_mail_and_ends_an_address_that_is_none(on: On) {
    let user = format!("bounces-{}@example.test", on.name());
    let world = World::new(on).await;
    let running = world.whole(&user, POSTFIX.smtp).await;
    world.publish(&from(&user, "b1", "Ada@nosuch.test")).await;
    let both = |seen: &Published| !seen.bounced.is_empty() && !seen.mails.is_empty();
    let seen = world.seen.until(both).await;
    let bounced = &seen.bounced[0];
    assert_eq!(bounced.bounce.kind, BounceKind::Failed);
    assert_eq!(
        (bounced.send_id.as_deref(), bounced.sent_to.as_deref()),
        (Some("b1"), Some("ada@nosuch.test"))
    );
    let [recipient] = bounced.bounce.recipients.as_slice() else {
        panic!("{bounced:?}");
    };
    assert_eq!(
        (recipient.cause, recipient.status.as_deref()),
        (Cause::NoSuchAddress, Some("5.1.1"))
    );
    assert!(recipient.address.eq_ignore_ascii_case("ada@nosuch.test"));
    assert_eq!(
        suppressed(&world, "ADA@nosuch.test").await.as_deref(),
        Some("no-such-address")
    );
    // The report itself is a mail like any other, and no machine answers it.
    let report = seen
        .mails
        .iter()
        .find(|mail| mail.event_id == bounced.event_id)
        .unwrap();
    assert!(report.automatic.is_some(), "{report:?}");

    world.publish(&from(&user, "b2", "ada@nosuch.test")).await;
    let seen = world.seen.until(|seen| !seen.failed.is_empty()).await;
    assert!(
        seen.failed[0]
            .error
            .contains("ada@nosuch.test is suppressed (no-such-address"),
        "{seen:?}"
    );
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].error_class, "suppressed");

    // A full mailbox may be emptied.
    world.publish(&from(&user, "b3", "ada@full.test")).await;
    let seen = world.seen.until(|seen| seen.bounced.len() == 2).await;
    assert_eq!(seen.bounced[1].bounce.recipients[0].cause, Cause::MailboxFull);
    assert_eq!(suppressed(&world, "ada@full.test").await, None);

    let mut tx = world.store.begin().await.unwrap();
    assert!(suppressions::remove(&mut tx, "Ada@NoSuch.test").await.unwrap());
    tx.commit().await.unwrap();
    world.publish(&from(&user, "b4", "ada@nosuch.test")).await;
    world
        .seen
        .until(|seen| seen.sent.iter().any(|sent| sent.id == "b4"))
        .await;
    running.drain().await;
}

async fn a_refused_recipient_is_written_to_once(on: On) {
    let world = World::new(on).await;
    let running = world.sending(outbound(POSTFIX.smtp)).await;
    world.publish(&send("r1", "gone@example.test")).await;
    world.seen.until(|seen| seen.failed.len() == 1).await;
    assert_eq!(
        suppressed(&world, "gone@example.test").await.as_deref(),
        Some("no-such-address")
    );
    world.publish(&send("r2", "gone@example.test")).await;
    let seen = world.seen.until(|seen| seen.failed.len() == 2).await;
    assert!(seen.failed[1].error.contains("is suppressed"), "{seen:?}");
    // That a filter took the content for spam says nothing of the address.
    world.publish(&send("r3", "spam@example.test")).await;
    world.seen.until(|seen| seen.failed.len() == 3).await;
    assert_eq!(suppressed(&world, "spam@example.test").await, None);
    running.drain().await;
}

async fn a_report_about_a_mail_that_was_never_sent_suppresses_nobody(on: On) {
    const FORGED: &str = "Return-Path: <>\r\nFrom: MAILER-DAEMON@evil.example\r\nSubject: failure notice\r\n\
        Message-ID: <forged@evil.example>\r\n\r\n<customer@example.org>:\r\n550 5.1.1 no such user\r\n";
    let user = format!("forged-{}@example.test", on.name());
    let world = World::new(on).await;
    DOVECOT.save(&user, FORGED.as_bytes());
    let running = world.watching(&user).await;
    let seen = world.seen.until(|seen| !seen.bounced.is_empty()).await;
    let bounced = &seen.bounced[0];
    assert_eq!((&bounced.send_id, &bounced.sent_to), (&None, &None));
    assert_eq!(bounced.bounce.recipients[0].address, "customer@example.org");
    assert_eq!(suppressed(&world, "customer@example.org").await, None);
    running.drain().await;
}
