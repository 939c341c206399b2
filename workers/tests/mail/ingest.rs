//! Ingest on Dovecot: every mail becomes one event or one dead letter, whatever happens in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use postroom::store::dead_letters::{self, Replay};
use postroom_workers::blob::hash;
use postroom_workers::ingest::{Policies, Reparse};
use postroom_workers::messages::UnreadableMail;
use postroom_workers::mime::MAX_NESTING;
use postroom_workers::store::mails::{self, Kept, Place, State};
use postroom_workers::tls::Security;
use uuid::Uuid;

use crate::servers::Script::{Hang, Hear, Say, WhileIdle};
use crate::servers::{Dovecot, Script, Scripted};
use crate::world::{On, World, eventually, everywhere};
use crate::{DOVECOT, endpoint};

everywhere!(
    mails_that_are_there_and_mails_that_come_are_announced_once,
    uids_that_begin_anew_announce_nothing_twice_and_miss_nothing,
    a_mail_that_cannot_be_read_is_a_dead_letter_and_can_be_read_again,
    attachments_are_in_the_store_when_the_event_is_out,
    two_processes_share_one_mailbox_by_taking_turns,
    cut_connections_and_crashes_lose_nothing,
    a_mail_that_the_server_never_gives_out_does_not_stop_the_others,
    a_server_that_dies_and_comes_back_loses_nothing,
);

pub(crate) fn mail(n: usize) -> Vec<u8> {
    format!("From: a@example.org\r\nMessage-ID: <{n}@example.org>\r\nSubject: {n}\r\n\r\nbody {n}\r\n")
        .into_bytes()
}

/// A mailbox of this test alone.
pub(crate) fn user(test: &str, on: On) -> String {
    format!("{test}-{}@example.test", on.name())
}

pub(crate) async fn save(user: &str, mails: Vec<Vec<u8>>) {
    let user = user.to_owned();
    let saved = tokio::task::spawn_blocking(move || mails.iter().for_each(|raw| DOVECOT.save(&user, raw)));
    saved.await.unwrap();
}

pub(crate) async fn doveadm(act: impl FnOnce(&Dovecot) + Send + 'static) {
    tokio::task::spawn_blocking(move || act(&DOVECOT)).await.unwrap();
}

/// All Message-IDs that were announced, each once.
fn announced(world: &World) -> HashSet<String> {
    let mails = world.seen.now().mails;
    let ids: HashSet<String> = mails.iter().map(|mail| mail.message_id.clone()).collect();
    let events: HashSet<Uuid> = mails.iter().map(|mail| mail.event_id).collect();
    assert_eq!(ids.len(), mails.len(), "a mail was announced twice");
    assert_eq!(events.len(), mails.len(), "an event id was used twice");
    ids
}

async fn mails_that_are_there_and_mails_that_come_are_announced_once(on: On) {
    let (world, user) = (World::new(on).await, user("once", on));
    save(&user, (0..40).map(mail).collect()).await;
    let running = world.watching(&user).await;
    world.seen.until(|seen| seen.mails.len() >= 40).await;
    save(&user, (40..45).map(mail).collect()).await;
    let seen = world.seen.until(|seen| seen.mails.len() >= 45).await;
    let first = seen.mails.iter().find(|mail| mail.uid == 1).unwrap();
    let raw = world.blobs.get(&first.raw).await.unwrap();
    assert_eq!(hash(&raw), hash(&mail(0)), "the stored mail is the mail");
    running.drain().await;

    save(&user, vec![mail(45)]).await;
    let running = world.watching(&user).await;
    world.seen.until(|seen| seen.mails.len() >= 46).await;
    running.drain().await;
    assert_eq!(announced(&world).len(), 46);
    world.states_until(&[("published", 46)]).await;
}

async fn uids_that_begin_anew_announce_nothing_twice_and_miss_nothing(on: On) {
    let (world, user) = (World::new(on).await, user("anew", on));
    // Two of the mails are the same to the byte.
    save(&user, vec![mail(1), mail(2), mail(3), mail(3)]).await;
    let running = world.watching(&user).await;
    world.states_until(&[("published", 4)]).await;
    let (name, more) = (user.clone(), mail(4));
    doveadm(move |dovecot| {
        dovecot.set_uidvalidity(&name, 1_999_999_999);
        dovecot.save(&name, &more);
        // A third copy of the third mail: two were known, so this one is new.
        dovecot.save(&name, &mail(3));
        dovecot.kick(&name);
    })
    .await;
    world.states_until(&[("carried", 4), ("published", 6)]).await;
    world.seen.until(|seen| seen.mails.len() >= 6).await;
    running.drain().await;
    let mut ids: Vec<String> = world
        .seen
        .now()
        .mails
        .into_iter()
        .map(|mail| mail.message_id)
        .collect();
    ids.sort();
    let expect = ["1", "2", "3", "3", "3", "4"].map(|n| format!("{n}@example.org"));
    assert_eq!(ids, expect);
}

async fn a_mail_that_cannot_be_read_is_a_dead_letter_and_can_be_read_again(on: On) {
    let (world, user) = (World::new(on).await, user("unreadable", on));
    let bomb = "Content-Type: message/rfc822\r\n\r\n".repeat(MAX_NESTING + 10) + "Subject: x\r\n\r\nx\r\n";
    save(&user, vec![mail(1), bomb.into_bytes(), mail(2)]).await;
    let running = world.watching(&user).await;
    world.states_until(&[("dead", 1), ("published", 2)]).await;
    let letters = world.dead_letters().await;
    let letter = &letters[0];
    assert_eq!((letters.len(), letter.handler.as_str()), (1, "ingest-reparse"));
    assert!(letter.error.contains("nested"), "{}", letter.error);
    assert_eq!(letter.subject, "inbox.unreadable");

    // As long as the parser is no better, a replay ends where it began.
    assert_eq!(
        dead_letters::replay(&world.running(), &letter.id, "test")
            .await
            .unwrap(),
        Replay::Begun
    );
    world
        .dead_letters_until(|letters| letters[0].state == "dead" && letters[0].replays == 1)
        .await;

    // A mail that was unreadable to an older parser.
    let place = Place {
        account: "help".into(),
        mailbox: "INBOX".into(),
        epoch: 1,
        uid: 900,
    };
    let raw = world.blobs.put(mail(900)).await.unwrap();
    let unreadable = UnreadableMail {
        event_id: place.event_id(),
        account: "help".into(),
        mailbox: "INBOX".into(),
        uidvalidity: 1,
        uid: 900,
        raw: Some(raw),
        received_at: jiff::Timestamp::UNIX_EPOCH,
        reason: "once".into(),
    };
    let mut tx = world.running().begin().await.unwrap();
    mails::discover(&mut tx, &place).await.unwrap();
    assert!(
        mails::settle(&mut tx, place.event_id(), State::Dead, Kept::default())
            .await
            .unwrap()
    );
    tx.publish(&unreadable).await.unwrap();
    tx.commit().await.unwrap();
    world
        .seen
        .until(|seen| seen.mails.iter().any(|mail| mail.message_id == "900@example.org"))
        .await;
    world.states_until(&[("dead", 1), ("published", 3)]).await;
    running.drain().await;
}

async fn attachments_are_in_the_store_when_the_event_is_out(on: On) {
    const MAIL: &str = "From: a@example.org\r\nMessage-ID: <1@example.org>\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\n\r\nYes.\r\n\r\nOn 3 Nov 2026, Bob <b@example.org> wrote:\r\n> No?\r\n\
        --b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename=\"../../etc/bill.pdf\"\r\n\r\naGVsbG8=\r\n--b--\r\n";
    let (world, user) = (World::new(on).await, user("attached", on));
    save(&user, vec![MAIL.into()]).await;
    let running = world.watching(&user).await;
    let seen = world.seen.until(|seen| !seen.mails.is_empty()).await;
    let mail = &seen.mails[0];
    assert_eq!(mail.reply_text, "Yes.");
    let attachment = &mail.attachments[0];
    assert_eq!(
        (attachment.name.as_deref(), attachment.size),
        (Some("bill.pdf"), 5)
    );
    let bytes = world.blobs.get(attachment.blob.as_ref().unwrap()).await.unwrap();
    assert_eq!(bytes, b"hello");
    running.drain().await;
}

async fn two_processes_share_one_mailbox_by_taking_turns(on: On) {
    let (world, user) = (World::new(on).await, user("turns", on));
    save(&user, (0..10).map(mail).collect()).await;
    let (first, second) = (world.watching(&user).await, world.watching(&user).await);
    world.seen.until(|seen| seen.mails.len() >= 10).await;
    first.drain().await;
    save(&user, (10..20).map(mail).collect()).await;
    world.seen.until(|seen| seen.mails.len() >= 20).await;
    second.drain().await;
    assert_eq!(announced(&world).len(), 20);
}

/// A process that ends between two steps, wherever it is: nothing is finished, nothing is given back.
fn crash(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_background();
}

async fn cut_connections_and_crashes_lose_nothing(on: On) {
    const MAILS: usize = 120;
    let (world, user) = (Arc::new(World::new(on).await), user("faults", on));
    let writer = {
        let user = user.clone();
        tokio::task::spawn_blocking(move || (0..MAILS).for_each(|n| DOVECOT.save(&user, &mail(n))))
    };
    for round in 0..6_usize {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (there, name) = (Arc::clone(&world), user.clone());
        let running = runtime
            .spawn(async move { there.watching(&name).await })
            .await
            .unwrap();
        let goal = (round + 1) * MAILS / 8;
        eventually("progress", async || {
            let states = world.states().await;
            (states.get("published").copied().unwrap_or(0) >= i64::try_from(goal).unwrap()).then_some(())
        })
        .await;
        let name = user.clone();
        doveadm(move |dovecot| dovecot.kick(&name)).await;
        drop(running);
        crash(runtime);
    }
    writer.await.unwrap();
    let running = world.watching(&user).await;
    let expect = i64::try_from(MAILS).unwrap();
    world.states_until(&[("published", expect)]).await;
    world
        .seen
        .until(|seen| {
            seen.mails
                .iter()
                .map(|mail| &mail.message_id)
                .collect::<HashSet<_>>()
                .len()
                == MAILS
        })
        .await;
    running.drain().await;
    // The witness itself is killed at times and may see a mail again; the events are the same ones then.
    let events: HashSet<Uuid> = world.seen.now().mails.iter().map(|mail| mail.event_id).collect();
    assert_eq!(events.len(), MAILS, "one event for each mail");
    assert_eq!(world.dead_letters().await.len(), 0);
}

/// A server that lists two mails, and refuses the first one so many times.
fn refusing(times: usize) -> Vec<Script> {
    const SECOND: &str = "* 2 FETCH (UID 2 BODY[] {58}\r\nFrom: a@example.org\r\nMessage-ID: <2@example.org>\r\n\r\nbody\r\n)\r\n% OK\r\n";
    let mut script = vec![
        Say("* OK ready\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN\r\n% OK\r\n"),
        Hear("AUTHENTICATE PLAIN"),
        Say("+ \r\n"),
        Hear(""),
        Say("p2 OK\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 IDLE\r\n% OK\r\n"),
        Hear("SELECT"),
        Say("* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 3] ok\r\n% OK\r\n"),
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1 2\r\n% OK\r\n"),
        Hear("UID FETCH 1 "),
        Say("% NO [UNAVAILABLE] not now\r\n"),
        Hear("UID FETCH 2 "),
        Say(SECOND),
    ];
    for _ in 1..times {
        script.extend([Hear("IDLE"), Say("+ \r\n"), Hear("DONE"), Say("% OK\r\n")]);
        script.extend([Hear("UID SEARCH UID 3:*"), Say("* SEARCH 2\r\n% OK\r\n")]);
        script.extend([Hear("UID FETCH 1 "), Say("% NO [UNAVAILABLE] not now\r\n")]);
    }
    script
}

async fn a_mail_that_the_server_never_gives_out_does_not_stop_the_others(on: On) {
    /// As often as ingest tries.
    const TRIES: usize = 10;
    const FIRST: &str = "* 1 FETCH (UID 1 BODY[] {52}\r\nFrom: a@example.org\r\nMessage-ID: <1@example.org>\r\n\r\n)\r\n% OK\r\n";
    let world = World::new(on).await;
    let mut script = refusing(TRIES);
    let round = [
        Hear("IDLE"),
        Say("+ \r\n"),
        Hear("DONE"),
        Say("% OK\r\n"),
        Hear("UID SEARCH UID 3:*"),
        Say("* SEARCH 2\r\n% OK\r\n"),
    ];
    // The round in which it is given up; the one after the replay, in which it is fetched at last.
    script.extend(round.clone());
    script.push(WhileIdle("UID FETCH 1 "));
    script.extend([Say(FIRST), Hang]);
    let server = Scripted::start(vec![script]).await;
    let app = world
        .app()
        .await
        .handler(Reparse::new(world.blobs.clone(), Policies::new()));
    let mut watched = world.watched("u", endpoint(server.port, Security::None));
    watched.pace.idle = Duration::from_millis(10);
    let ingest = world.ingest_of(&app, watched);
    let running = app.service(|stop| ingest.run(stop)).start().await.unwrap();

    world.states_until(&[("dead", 1), ("published", 1)]).await;
    let letters = world.dead_letters().await;
    assert_eq!(
        (letters.len(), letters[0].error_class.as_str()),
        (1, "NotFetched"),
        "{letters:?}"
    );
    assert_eq!(
        dead_letters::replay(&world.running(), &letters[0].id, "test")
            .await
            .unwrap(),
        Replay::Begun
    );
    world.states_until(&[("published", 2)]).await;
    world
        .dead_letters_until(|letters| letters[0].state == "replayed")
        .await;
    server.stop();
    running.drain().await;
}

async fn a_server_that_dies_and_comes_back_loses_nothing(on: On) {
    let world = World::new(on).await;
    let mut dovecot = tokio::task::spawn_blocking(Dovecot::start).await.unwrap();
    let imap = endpoint(dovecot.imap, Security::None);
    let running = world.watching_at("desk@example.test", imap).await;
    for round in 0..3 {
        dovecot = tokio::task::spawn_blocking(move || {
            (round * 10..round * 10 + 10).for_each(|n| dovecot.save("desk@example.test", &mail(n)));
            dovecot.restart();
            dovecot
        })
        .await
        .unwrap();
    }
    world.seen.until(|seen| seen.mails.len() >= 30).await;
    running.drain().await;
    assert_eq!(announced(&world).len(), 30);
    world.states_until(&[("published", 30)]).await;
}
