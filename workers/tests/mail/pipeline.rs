//! The road from mailbox to reply, and what becomes of mails that a relay does not take.

use std::sync::Arc;
use std::time::Duration;

use postroom::store::dead_letters;
use postroom_workers::gate::Gate;
use postroom_workers::login::Login;
use postroom_workers::messages::{Mailbox, Send, Service};
use postroom_workers::send::{OnUnknown, Outbound};
use tokio::sync::Notify;

use crate::servers::Script::{Close, Hang, Hear, HearContent, Say, Tell, UntilClosed};
use crate::servers::{Script, Scripted};
use crate::world::{On, World, eventually, everywhere, outbound};
use crate::{DOVECOT, POSTFIX};

everywhere!(
    a_mail_is_answered_in_its_thread_and_a_list_is_not,
    a_refused_recipient_is_a_dead_letter_and_a_failure,
    a_deferred_mail_is_tried_again,
    a_lost_verdict_sends_the_same_bytes_again_and_says_so,
    a_lost_verdict_is_held_where_the_account_says_so,
    a_process_that_dies_before_the_verdict_sends_the_same_bytes_again,
    a_refused_login_costs_no_mail_its_life,
    mails_wait_at_a_shut_gate_without_knocking,
    mails_share_a_connection_and_outlive_it,
);

pub(crate) fn send(id: &str, to: &str) -> Send {
    Send {
        id: id.into(),
        account: "help".into(),
        from: Mailbox::bare("help@example.test"),
        to: Mailbox::bare(to),
        subject: "Hello".into(),
        text: "Hello".into(),
        html: None,
        template: None,
        attachments: vec![],
        unsubscribe: None,
        in_reply_to: None,
        references: vec![],
        message_id: format!("{id}@example.test"),
        date: jiff::Timestamp::now(),
        send_at: None,
        auto_submitted: false,
    }
}

pub(crate) async fn mailbox(user: &str, count: usize) -> Vec<String> {
    eventually("the mail", async || {
        let user = user.to_owned();
        let mails = tokio::task::spawn_blocking(move || DOVECOT.mails(&user))
            .await
            .unwrap();
        (mails.len() >= count).then_some(mails)
    })
    .await
}

async fn a_mail_is_answered_in_its_thread_and_a_list_is_not(on: On) {
    let world = World::new(on).await;
    let (desk, ada) = (
        format!("desk-{}@example.test", on.name()),
        format!("ada-{}@example.test", on.name()),
    );
    let running = world.whole(&desk, POSTFIX.smtp).await;
    let header = format!("From: Ada <{ada}>\r\nTo: {desk}\r\nDate: Tue, 3 Nov 2026 10:00:00 +0100\r\n");
    let question = format!(
        "{header}Subject: Opening hours\r\nMessage-ID: <q@example.org>\r\nReferences: <r@example.org>\r\n\r\nWhen?\r\n"
    );
    let list = format!(
        "{header}Subject: Digest\r\nMessage-ID: <l@example.org>\r\nList-Id: <l.example.org>\r\n\r\nNews.\r\n"
    );
    // The same question by way of a list, which comes first and gets no answer.
    let copy = question.replace("Subject: ", "List-Id: l.example.org\r\nSubject: [list] ");
    let name = desk.clone();
    tokio::task::spawn_blocking(move || {
        DOVECOT.save(&name, list.as_bytes());
        DOVECOT.save(&name, copy.as_bytes());
        DOVECOT.save(&name, question.as_bytes());
        // The same mail once more, as it happens when a mailbox is restored: one answer for one Message-ID.
        DOVECOT.save(&name, question.as_bytes());
    })
    .await
    .unwrap();
    world
        .seen
        .until(|seen| seen.mails.len() >= 4 && !seen.sent.is_empty())
        .await;
    let reply = mailbox(&ada, 1).await.remove(0).replace("\r\n", "\n");
    for line in [
        "Subject: Re: Opening hours\n",
        "In-Reply-To: <q@example.org>\n",
        "References: <r@example.org>",
        " <pr1.",
        "Auto-Submitted: auto-replied\n",
        "Return-Path: <>\n",
        "\n\nDear Ada, thank you.\n\nOn 2026-11-03 at 09:00 UTC, Ada wrote:\n> When?",
    ] {
        assert!(reply.contains(line), "{line:?} is not in\n{reply}");
    }
    assert!(
        reply.contains(&format!("<{desk}>")),
        "it comes from the address that was written to\n{reply}"
    );
    eventually("the end of all work", async || {
        running.is_idle().await.unwrap().then_some(())
    })
    .await;
    running.drain().await;
    let seen = world.seen.now();
    assert_eq!((seen.sent.len(), seen.failed.len()), (1, 0));
    assert!(seen.sent[0].response.starts_with("250 2.0.0"));
    assert_eq!(world.dead_letters().await.len(), 0);
}

async fn a_refused_recipient_is_a_dead_letter_and_a_failure(on: On) {
    let world = World::new(on).await;
    let running = world.sending(outbound(POSTFIX.smtp)).await;
    world.publish(&send("r1", "gone@example.test")).await;
    world
        .publish(&Send {
            subject: "a\r\nBcc: x@y".into(),
            ..send("r2", "ok@example.test")
        })
        .await;
    let mut failed = world.seen.until(|seen| seen.failed.len() >= 2).await.failed;
    failed.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(
        (failed[0].code, failed[0].enhanced.as_deref()),
        (Some(550), Some("5.1.1"))
    );
    assert_eq!(failed[1].code, None);
    assert!(failed[1].error.contains("subject"), "{}", failed[1].error);
    let letters = world.dead_letters_until(|letters| letters.len() == 2).await;
    assert!(
        letters
            .iter()
            .all(|letter| letter.handler == "send" && letter.attempts == 1)
    );
    running.drain().await;
    assert_eq!(world.seen.now().sent.len(), 0);
}

/// An SMTP server's side of one mail, up to its final dot.
pub(crate) fn takes_content() -> Vec<Script> {
    vec![
        Say("220 ready\r\n"),
        Hear("EHLO"),
        Say("250 mx\r\n"),
        Hear("MAIL"),
        Say("250 ok\r\n"),
        Hear("RCPT"),
        Say("250 ok\r\n"),
        Hear("DATA"),
        Say("354 go\r\n"),
        HearContent,
    ]
}

pub(crate) fn then(mut script: Vec<Script>, more: &[Script]) -> Vec<Script> {
    script.extend_from_slice(more);
    script
}

async fn a_deferred_mail_is_tried_again(on: On) {
    let world = World::new(on).await;
    let busy = vec![Say("421 4.3.2 busy\r\n"), Close];
    let deferred = then(
        takes_content()[..6].to_vec(),
        &[Say("450 4.2.0 greylisted\r\n"), Close],
    );
    let taken = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![busy, deferred, taken]).await;
    let running = world.sending(outbound(relay.port)).await;
    world.publish(&send("d1", "a@example.org")).await;
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    // That the relay was busy was not the mail's fault.
    assert_eq!((sent.attempts, sent.resent_after_unknown), (2, false), "{sent:?}");
    assert_eq!(sent.message_id, "d1@example.test");
    running.drain().await;
    assert_eq!(world.dead_letters().await.len(), 0);
}

async fn a_lost_verdict_sends_the_same_bytes_again_and_says_so(on: On) {
    let world = World::new(on).await;
    let lost = then(takes_content(), &[Close]);
    let taken = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![lost, taken]).await;
    let running = world.sending(outbound(relay.port)).await;
    world.publish(&send("u1", "a@example.org")).await;
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    assert!(sent.resent_after_unknown, "{sent:?}");
    running.drain().await;
    let contents: Vec<String> = relay
        .heard()
        .await
        .into_iter()
        .filter(|line| line.contains("Message-ID"))
        .collect();
    assert_eq!(contents.len(), 2);
    assert_eq!(
        contents[0], contents[1],
        "the second copy is the first to the byte"
    );
    assert!(contents[0].contains("Message-ID: <u1@example.test>"));
}

async fn a_lost_verdict_is_held_where_the_account_says_so(on: On) {
    let world = World::new(on).await;
    let taken = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![then(takes_content(), &[Close]), taken]).await;
    let held = Outbound {
        on_unknown: OnUnknown::Hold,
        ..outbound(relay.port)
    };
    let running = world.sending(held).await;
    world.publish(&send("h1", "a@example.org")).await;
    let letters = world.dead_letters_until(|letters| letters.len() == 1).await;
    assert!(
        letters[0].error.contains("may have the mail"),
        "{}",
        letters[0].error
    );
    eventually("the end of all work", async || {
        running.is_idle().await.unwrap().then_some(())
    })
    .await;
    let seen = world.seen.now();
    assert_eq!(
        (seen.sent.len(), seen.failed.len()),
        (0, 0),
        "nobody can say that it failed"
    );

    // A person has asked the recipient, and sends it on its way again.
    dead_letters::replay(&world.running(), &letters[0].id, "test")
        .await
        .unwrap();
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    assert!(
        sent.resent_after_unknown,
        "it may be the second copy, and says so: {sent:?}"
    );
    running.drain().await;
}

async fn a_process_that_dies_before_the_verdict_sends_the_same_bytes_again(on: On) {
    let world = Arc::new(World::new(on).await);
    let taken = Arc::new(Notify::new());
    let mute = then(takes_content(), &[Tell(Arc::clone(&taken)), UntilClosed]);
    let second = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![mute, second]).await;
    let port = relay.port;

    let process = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let there = Arc::clone(&world);
    let running = process
        .spawn(async move { there.sending(outbound(port)).await })
        .await
        .unwrap();
    world.publish(&send("c1", "a@example.org")).await;
    taken.notified().await;
    drop(running);
    process.shutdown_background();

    let running = world.sending(outbound(port)).await;
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    assert!(
        sent.resent_after_unknown,
        "the recipient may have two copies: {sent:?}"
    );
    running.drain().await;
    let contents: Vec<String> = relay
        .heard()
        .await
        .into_iter()
        .filter(|line| line.contains("Message-ID"))
        .collect();
    assert_eq!(contents.len(), 2);
    assert_eq!(
        contents[0], contents[1],
        "the second copy is the first to the byte"
    );
}

async fn a_refused_login_costs_no_mail_its_life(on: On) {
    let world = World::new(on).await;
    let refusing = vec![
        Say("220 ready\r\n"),
        Hear("EHLO"),
        Say("250-mx\r\n250 AUTH PLAIN\r\n"),
        Hear("AUTH PLAIN"),
        Say("535 5.7.8 no\r\n"),
        Hang,
    ];
    let relay = Scripted::start(vec![refusing]).await;
    let login = Some(Login::password("u", "p"));
    let running = world
        .sending(Outbound {
            login,
            ..outbound(relay.port)
        })
        .await;
    world.publish(&send("l1", "a@example.org")).await;
    let attempts = eventually("the pause", async || waiting(&world).await.pop()).await;
    assert_eq!(
        attempts, 0,
        "nothing was wrong with the mail, so it lost no attempt"
    );
    let seen = world.seen.until(|seen| !seen.paused.is_empty()).await;
    let paused = &seen.paused[0];
    assert_eq!((&*paused.account, paused.service), ("help", Service::Smtp));
    assert!(paused.reason.contains("535 5.7.8 no"), "{paused:?}");
    running.drain().await;
    assert_eq!(world.dead_letters().await.len(), 0);
}

async fn mails_wait_at_a_shut_gate_without_knocking(on: On) {
    let world = World::new(on).await;
    let refusing = vec![
        Say("220 ready\r\n"),
        Hear("EHLO"),
        Say("250-mx\r\n250 AUTH PLAIN\r\n"),
        Hear("AUTH PLAIN"),
        Say("535 5.7.8 no\r\n"),
        Hang,
    ];
    // A second connection would be refused by TCP, and change what the mails wait for.
    let relay = Scripted::start(vec![refusing]).await;
    let gate = Gate::new("help", Service::Smtp, Duration::from_secs(3600));
    let running = world
        .sending(Outbound {
            login: Some(Login::password("u", "p")),
            gate: gate.clone(),
            ..outbound(relay.port)
        })
        .await;
    world.publish(&send("g1", "a@example.org")).await;
    world.seen.until(|seen| !seen.paused.is_empty()).await;
    world.publish(&send("g2", "b@example.org")).await;
    eventually("the second mail to wait", async || {
        (waiting(&world).await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(waiting(&world).await, [0, 0], "no attempt is spent");
    assert!(gate.is_shut().unwrap().why.contains("535 5.7.8 no"));
    running.drain().await;
    assert_eq!(world.dead_letters().await.len(), 0);
}

async fn mails_share_a_connection_and_outlive_it(on: On) {
    let world = World::new(on).await;
    let again = |rest: &[Script]| then(takes_content()[3..].to_vec(), rest);
    let first = then(takes_content(), &[Say("250 2.0.0 one\r\n")]);
    // The server closes after the second mail, as one does that has waited long enough.
    let shared = then(first, &again(&[Say("250 2.0.0 two\r\n"), Close]));
    let fresh = then(
        takes_content(),
        &[Say("250 2.0.0 three\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![shared, fresh]).await;
    let running = world.sending(outbound(relay.port)).await;
    let mut responses = Vec::new();
    for (number, id) in ["p1", "p2", "p3"].into_iter().enumerate() {
        world.publish(&send(id, "a@example.org")).await;
        let sent = world.seen.until(|seen| seen.sent.len() > number).await.sent;
        let last = sent.last().unwrap();
        assert_eq!(
            (&*last.id, last.attempts),
            (id, 1),
            "a connection that was closed is no failed attempt"
        );
        responses.push(last.response.clone());
    }
    assert_eq!(responses, ["250 2.0.0 one", "250 2.0.0 two", "250 2.0.0 three"]);
    running.drain().await;
    let heard = relay.heard().await;
    assert_eq!(heard.iter().filter(|line| line.starts_with("EHLO")).count(), 2);
}

/// The attempts that the ledger counts against each mail under way that waits.
pub(crate) async fn waiting(world: &World) -> Vec<i64> {
    const WAITING: &str = "SELECT attempts FROM deliveries WHERE scope = 'send' AND state = 'retry_at'";
    let mut tx = world.store.read().await.unwrap();
    postroom::on_tx!(tx, connection => sqlx::query_scalar(WAITING).fetch_all(connection).await).unwrap()
}
