//! The folder of what was sent: a proof where a verdict was lost, and a copy where the provider keeps none.

use postroom_workers::login::Login;
use postroom_workers::messages::Sent;
use postroom_workers::send::message::{Content, build};
use postroom_workers::send::{FileSent, KeptBy, OnUnknown, Outbound, Press, SentFolder};
use postroom_workers::tls::Security;

use crate::pipeline::{mailbox, send, takes_content, then};
use crate::servers::Script::{Close, Hear, Say};
use crate::servers::{Dovecot, Scripted};
use crate::world::{On, World, eventually, everywhere, outbound, with_press};
use crate::{DOVECOT, POSTFIX, dialer, endpoint};

everywhere!(
    a_mail_whose_verdict_was_lost_is_found_and_not_sent_again,
    one_that_is_not_found_goes_by_the_policy,
    a_copy_is_filed_once,
);

fn folder(user: &str, mailbox: &str, kept_by: KeptBy) -> SentFolder {
    SentFolder {
        endpoint: endpoint(DOVECOT.imap, Security::None),
        dialer: dialer(),
        login: Login::password(user, Dovecot::PASSWORD),
        mailbox: mailbox.into(),
        kept_by,
    }
}

async fn kept(user: &str, mailbox: &'static str) -> Vec<String> {
    let user = user.to_owned();
    tokio::task::spawn_blocking(move || DOVECOT.mails_in(&user, mailbox))
        .await
        .unwrap()
}

async fn a_mail_whose_verdict_was_lost_is_found_and_not_sent_again(on: On) {
    let world = World::new(on).await;
    let user = format!("proof-{}@example.test", on.name());
    // One connection is all that the relay takes: a second copy would find nobody.
    let relay = Scripted::start(vec![then(takes_content(), &[Close])]).await;
    let mail = send("found", "a@example.org");
    let bytes = build(&mail, &Content::of(&mail), &[]).unwrap().bytes;
    let name = user.clone();
    // The provider has put it there, as Google and Microsoft do.
    tokio::task::spawn_blocking(move || DOVECOT.save(&name, &bytes))
        .await
        .unwrap();
    let sent = Some(folder(&user, "INBOX", KeptBy::Provider));
    let running = world
        .sending(Outbound {
            on_unknown: OnUnknown::Hold,
            sent,
            ..outbound(relay.port)
        })
        .await;
    world.publish(&mail).await;
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    assert!(
        !sent.resent_after_unknown && sent.response.contains("the answer was lost"),
        "{sent:?}"
    );
    running.drain().await;
    assert_eq!(world.dead_letters().await.len(), 0);
    relay.heard().await;
}

async fn one_that_is_not_found_goes_by_the_policy(on: On) {
    let world = World::new(on).await;
    let user = format!("absent-{}@example.test", on.name());
    let taken = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![
        then(takes_content(), &[Close]),
        then(takes_content(), &[Close]),
        taken,
    ])
    .await;
    let with = |on_unknown| Outbound {
        on_unknown,
        sent: Some(folder(&user, "INBOX", KeptBy::Provider)),
        ..outbound(relay.port)
    };
    let running = world.sending(with(OnUnknown::Hold)).await;
    world.publish(&send("absent-1", "a@example.org")).await;
    let letters = world.dead_letters_until(|letters| letters.len() == 1).await;
    assert!(letters[0].error.contains("may have the mail"));
    running.drain().await;

    let running = world.sending(with(OnUnknown::Resend)).await;
    world.publish(&send("absent-2", "a@example.org")).await;
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    assert!(
        sent.resent_after_unknown && sent.response.contains("queued"),
        "{sent:?}"
    );
    running.drain().await;
}

async fn a_copy_is_filed_once(on: On) {
    let world = World::new(on).await;
    let user = format!("copies-{}@example.test", on.name());
    let to = format!("copied-{}@example.test", on.name());
    let ours = folder(&user, "Gesendet & mehr", KeptBy::Postroom);
    let relay = Outbound {
        sent: Some(ours.clone()),
        ..outbound(POSTFIX.smtp)
    };
    let app = with_press(world.app().await, relay, Press::new(world.blobs.clone()));
    let running = app
        .handler(FileSent::new([("help".to_owned(), ours.clone())]))
        .start()
        .await
        .unwrap();
    for id in ["copy-1", "copy-2"] {
        world.publish(&send(id, &to)).await;
    }
    eventually("both copies", async || {
        (kept(&user, "Gesendet & mehr").await.len() == 2).then_some(())
    })
    .await;
    eventually("the end of all work", async || {
        running.is_idle().await.unwrap().then_some(())
    })
    .await;
    let arrived = mailbox(&to, 2).await;

    // A crash after APPEND and before the commit: it is all done again.
    let mail = send("copy-1", &to);
    let bytes = build(&mail, &Content::of(&mail), &[]).unwrap().bytes;
    ours.file(&mail.message_id, &bytes).await.unwrap();
    let again = Sent {
        id: "copy-1-again".into(),
        account: "help".into(),
        to,
        message_id: mail.message_id.clone(),
        response: "250".into(),
        attempts: 1,
        resent_after_unknown: false,
    };
    let mut tx = world.running().begin().await.unwrap();
    postroom_workers::store::outgoing::keep(&mut tx, &again.id, &bytes)
        .await
        .unwrap();
    tx.publish(&again).await.unwrap();
    tx.commit().await.unwrap();
    world.seen.until(|seen| seen.sent.len() == 3).await;
    eventually("the end of all work", async || {
        running.is_idle().await.unwrap().then_some(())
    })
    .await;
    running.drain().await;
    let copies = kept(&user, "Gesendet & mehr").await;
    assert_eq!(copies.len(), 2, "{copies:?}");
    for copy in copies {
        let body = |mail: &str| {
            mail.replace("\r\n", "\n")
                .split_once("\nFrom: ")
                .unwrap_or_default()
                .1
                .to_owned()
        };
        let copy = format!("\n{copy}");
        assert!(
            arrived.iter().any(|mail| body(mail) == body(&copy)),
            "{copy}\nis none of\n{arrived:?}"
        );
    }
}
