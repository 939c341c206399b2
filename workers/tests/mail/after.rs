//! What is done with mails on the server once their events are out: by UID, after the broker's word, and again after a crash.

use std::sync::Arc;

use postroom::Running;
use postroom_workers::config::{Config, Flags};
use postroom_workers::ingest::{After, Policies, Policy, Reparse};
use postroom_workers::pipeline::Account;
use postroom_workers::preflight::{self, Closed};
use postroom_workers::store::actions::{self, Action, End};
use postroom_workers::store::mails::{self, Kept, Place, State};
use postroom_workers::tls::Security;

use crate::ingest::{doveadm, mail, save, user};
use crate::servers::Script::{Hang, Hear, Say, WhileIdle};
use crate::servers::{Dovecot, Scripted};
use crate::world::{On, World, eventually, everywhere};
use crate::{DOVECOT, POSTFIX, endpoint};

everywhere!(
    announced_mails_are_flagged_moved_or_expunged,
    a_crash_between_event_and_move_leaves_each_mail_in_one_place,
    nothing_is_done_before_the_broker_has_confirmed_the_event,
    a_mail_that_was_found_again_is_still_dealt_with,
    where_there_is_no_move_a_mail_is_copied_once_and_expunged_by_uid,
    what_the_server_refuses_is_tried_again_and_holds_up_nothing,
    the_original_of_a_reply_is_marked_as_answered,
    a_sender_is_answered_so_often_within_a_day_and_the_reason_is_told,
    an_answer_to_a_reply_is_known_though_its_ids_were_rewritten,
);

async fn watching(world: &World, user: &str, after: After) -> Running {
    let policy = Policy {
        after,
        ..Policy::default()
    };
    let policies = Policies::from([(("help".to_owned(), "INBOX".to_owned()), policy.clone())]);
    let app = world
        .app()
        .await
        .handler(Reparse::new(world.blobs.clone(), policies));
    let mut watched = world.watched(user, endpoint(DOVECOT.imap, Security::None));
    watched.policy = policy;
    let ingest = world.ingest_of(&app, watched);
    app.service(|stop| ingest.run(stop)).start().await.unwrap()
}

/// UIDs and flags, once they are as expected.
async fn flags_until(user: &str, mailbox: &'static str, expect: &[&str]) {
    let last = std::sync::Mutex::new(Vec::new());
    let asked = eventually("the flags", async || {
        let user = user.to_owned();
        let now = tokio::task::spawn_blocking(move || DOVECOT.flags(&user, mailbox))
            .await
            .unwrap();
        let done = now == expect;
        *last.lock().unwrap() = now;
        done.then_some(())
    });
    tokio::select! {
        () = asked => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(30)) => panic!("{:?}", last.lock().unwrap()),
    }
}

async fn actions_until(world: &World, expect: &[(&str, &str, i64)]) {
    let expect: Vec<(String, String, i64)> = expect
        .iter()
        .map(|(action, state, n)| ((*action).into(), (*state).into(), *n))
        .collect();
    eventually("the actions", async || {
        let mut tx = world.store.read().await.unwrap();
        (actions::count(&mut tx).await.unwrap() == expect).then_some(())
    })
    .await;
}

async fn announced_mails_are_flagged_moved_or_expunged(on: On) {
    for (name, after) in [
        ("flagged", After::Flag("$Announced".into())),
        ("moved", After::Move("Archive & Söhne".into())),
        ("expunged", After::Expunge),
    ] {
        let (world, user) = (World::new(on).await, user(name, on));
        save(&user, vec![mail(1), mail(2), mail(3)]).await;
        let name = user.clone();
        doveadm(move |dovecot| {
            dovecot.create(&name, "Archive & Söhne");
            // Whatever somebody else has marked for deletion is none of our business.
            dovecot.flag(&name, "\\Deleted", &["uid", "2"]);
        })
        .await;
        let running = watching(&world, &user, after.clone()).await;
        world.seen.until(|seen| seen.mails.len() >= 3).await;
        let word = match &after {
            After::Flag(_) => "flag",
            After::Move(_) => "move",
            _ => "expunge",
        };
        actions_until(&world, &[(word, "done", 3)]).await;
        match &after {
            After::Flag(_) => {
                flags_until(
                    &user,
                    "INBOX",
                    &["1 $Announced", "2 \\Deleted $Announced", "3 $Announced"],
                )
                .await;
            }
            After::Move(_) => {
                flags_until(&user, "INBOX", &[]).await;
                flags_until(&user, "Archive & Söhne", &["1", "2 \\Deleted", "3"]).await;
            }
            _ => flags_until(&user, "INBOX", &[]).await,
        }
        // A mail that comes while the mailbox idles.
        save(&user, vec![mail(4)]).await;
        actions_until(&world, &[(word, "done", 4)]).await;
        running.drain().await;
        assert_eq!(world.seen.now().mails.len(), 4, "each once");
    }
}

async fn a_crash_between_event_and_move_leaves_each_mail_in_one_place(on: On) {
    const MAILS: usize = 60;
    let (world, user) = (Arc::new(World::new(on).await), user("moved-in-crashes", on));
    let name = user.clone();
    doveadm(move |dovecot| {
        dovecot.create(&name, "Archive");
        (0..MAILS).for_each(|n| dovecot.save(&name, &mail(n)));
    })
    .await;
    for round in 1..=4_usize {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (there, name) = (Arc::clone(&world), user.clone());
        let running = runtime
            .spawn(async move { watching(&there, &name, After::Move("Archive".into())).await })
            .await
            .unwrap();
        let goal = i64::try_from(round * MAILS / 5).unwrap();
        eventually("progress", async || {
            (world.states().await.get("published").copied().unwrap_or(0) >= goal).then_some(())
        })
        .await;
        drop(running);
        runtime.shutdown_background();
    }
    let running = watching(&world, &user, After::Move("Archive".into())).await;
    let all = i64::try_from(MAILS).unwrap();
    world.states_until(&[("published", all)]).await;
    actions_until(&world, &[("move", "done", all)]).await;
    flags_until(&user, "INBOX", &[]).await;
    let name = user.clone();
    let moved = tokio::task::spawn_blocking(move || DOVECOT.flags(&name, "Archive"))
        .await
        .unwrap();
    assert_eq!(moved.len(), MAILS, "each mail once");
    running.drain().await;
}

async fn nothing_is_done_before_the_broker_has_confirmed_the_event(on: On) {
    let world = World::new(on).await;
    let place = Place {
        account: "help".into(),
        mailbox: "INBOX".into(),
        epoch: 1,
        uid: 7,
    };
    // Without a running process nobody publishes: the row stays in the outbox.
    let mut tx = world.store.begin().await.unwrap();
    mails::discover(&mut tx, &place).await.unwrap();
    mails::settle(&mut tx, place.event_id(), State::Published, Kept::default())
        .await
        .unwrap();
    let failed = postroom_workers::messages::OauthRefresh {
        account: "help".into(),
        expires_at: None,
        error: None,
    };
    let row = tx.publish_on(&postroom::Terms::default(), &failed).await.unwrap();
    let action = (Action::Move, "Archive");
    actions::decide(&mut tx, place.event_id(), ("help", "INBOX"), action, Some(&row))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let look = async || {
        let mut tx = world.store.read().await.unwrap();
        let due = actions::due(&mut tx, "help", "INBOX", 10).await.unwrap();
        (
            due,
            actions::are_unconfirmed(&mut tx, "help", "INBOX").await.unwrap(),
        )
    };
    assert_eq!(look().await, (vec![], true));

    let running = world.app().await.start().await.unwrap();
    let due = eventually("the confirmation", async || match look().await {
        (due, false) if !due.is_empty() => Some(due),
        _ => None,
    })
    .await;
    assert_eq!(
        (due[0].action, due[0].argument.as_str(), &due[0].place),
        (Action::Move, "Archive", &place)
    );

    let wait = std::time::Duration::from_secs(3600);
    let mut tx = world.store.begin().await.unwrap();
    actions::postpone(&mut tx, &due, "NO", (wait, wait))
        .await
        .unwrap();
    assert_eq!(
        actions::due(&mut tx, "help", "INBOX", 10).await.unwrap(),
        [],
        "it waits"
    );
    actions::settle(&mut tx, &due, End::Done, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(look().await, (vec![], false));
    running.drain().await;
}

async fn a_mail_that_was_found_again_is_still_dealt_with(on: On) {
    let (world, user) = (World::new(on).await, user("found-again", on));
    save(&user, vec![mail(1), mail(2), mail(3)]).await;
    // There is no such folder yet, so the mails wait.
    let running = watching(&world, &user, After::Move("Later".into())).await;
    actions_until(&world, &[("move", "due", 3)]).await;
    eventually("the refusal", async || {
        let mut tx = world.store.read().await.unwrap();
        actions::due(&mut tx, "help", "INBOX", 10)
            .await
            .unwrap()
            .is_empty()
            .then_some(())
    })
    .await;
    running.drain().await;
    let name = user.clone();
    doveadm(move |dovecot| {
        dovecot.expunge(&name, &["uid", "2"]);
        dovecot.set_uidvalidity(&name, 1_999_999_998);
        dovecot.create(&name, "Later");
    })
    .await;
    world.hurry().await;
    let running = watching(&world, &user, After::Move("Later".into())).await;
    actions_until(&world, &[("move", "done", 2), ("move", "gone", 1)]).await;
    flags_until(&user, "INBOX", &[]).await;
    flags_until(&user, "Later", &["1", "2"]).await;
    running.drain().await;
}

/// Up to where mail 1 is announced, on a server with these capabilities.
const FIRST: &str =
    "* 1 FETCH (UID 1 BODY[] {52}\r\nFrom: a@example.org\r\nMessage-ID: <1@example.org>\r\n\r\n)\r\n% OK\r\n";

async fn where_there_is_no_move_a_mail_is_copied_once_and_expunged_by_uid(on: On) {
    let world = World::new(on).await;
    let login = [
        Say("* OK ready\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n% OK\r\n"),
        Hear("AUTHENTICATE PLAIN"),
        Say("+ \r\n"),
        Hear(""),
        Say("p2 OK\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 IDLE UIDPLUS\r\n% OK\r\n"),
        Hear("SELECT"),
        Say("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n% OK [READ-WRITE] ok\r\n"),
    ];
    let mut first = login.to_vec();
    first.extend([
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        Hear("UID FETCH 1 "),
        Say(FIRST),
        WhileIdle("UID COPY 1 \"Archive\""),
        Say("% OK [COPYUID 9 1 1] done\r\n"),
        Hear("UID STORE 1 +FLAGS.SILENT (\\Deleted)"),
        // The connection ends before the mail is expunged.
    ]);
    let mut second = login.to_vec();
    second.extend([
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        WhileIdle("UID STORE 1 +FLAGS.SILENT (\\Deleted)"),
        Say("% OK\r\n"),
        Hear("UID EXPUNGE 1"),
        Say("* 1 EXPUNGE\r\n% OK\r\n"),
        Hang,
    ]);
    let server = Scripted::start(vec![first, second]).await;
    let app = world.app().await;
    let mut watched = world.watched("u", endpoint(server.port, Security::None));
    watched.policy.after = After::Move("Archive".into());
    let ingest = world.ingest_of(&app, watched);
    let running = app.service(|stop| ingest.run(stop)).start().await.unwrap();
    actions_until(&world, &[("move", "done", 1)]).await;
    server.stop();
    running.drain().await;
}

async fn what_the_server_refuses_is_tried_again_and_holds_up_nothing(on: On) {
    let (world, user) = (World::new(on).await, user("refused", on));
    save(&user, vec![mail(1)]).await;
    let running = watching(&world, &user, After::Move("Nowhere".into())).await;
    actions_until(&world, &[("move", "due", 1)]).await;
    save(&user, vec![mail(2)]).await;
    world.seen.until(|seen| seen.mails.len() >= 2).await;
    let name = user.clone();
    doveadm(move |dovecot| dovecot.create(&name, "Nowhere")).await;
    world.hurry().await;
    actions_until(&world, &[("move", "done", 2)]).await;
    flags_until(&user, "Nowhere", &["1", "2"]).await;
    running.drain().await;
}

async fn the_original_of_a_reply_is_marked_as_answered(on: On) {
    let (world, user) = (World::new(on).await, user("answered", on));
    let mails = [
        "From: Bea <bea@example.test>\r\nMessage-ID: <1@example.org>\r\nSubject: hours\r\n\r\nWhen?\r\n",
        "From: list@example.test\r\nList-Id: <l>\r\nMessage-ID: <2@example.org>\r\nSubject: hours\r\n\r\nNews\r\n",
    ];
    save(&user, mails.map(|text| text.as_bytes().to_vec()).to_vec()).await;
    let running = world.whole(&user, POSTFIX.smtp).await;
    world.seen.until(|seen| !seen.sent.is_empty()).await;
    actions_until(&world, &[("answered", "done", 1)]).await;
    flags_until(&user, "INBOX", &["1 \\Answered", "2"]).await;
    running.drain().await;
}

/// Each of these processes answers a sender three times a day.
async fn a_sender_is_answered_so_often_within_a_day_and_the_reason_is_told(on: On) {
    let (world, user) = (World::new(on).await, user("peers", on));
    let running = world.whole(&user, POSTFIX.smtp).await;
    for (n, sender) in [(1, "bea"), (2, "Bea"), (3, "BEA"), (4, "bea"), (5, "dan")] {
        let text = format!(
            "From: {sender}@example.test\r\nMessage-ID: <{n}@example.org>\r\nSubject: hours\r\n\r\nWhen?\r\n"
        );
        save(&user, vec![text.into_bytes()]).await;
        // One after the other, as two machines would.
        world
            .seen
            .until(|seen| seen.sent.len() + seen.unanswered.len() >= n)
            .await;
    }
    let seen = world.seen.now();
    assert_eq!((seen.sent.len(), seen.unanswered.len()), (4, 1), "{seen:?}");
    let fourth = seen
        .mails
        .iter()
        .find(|mail| mail.message_id == "4@example.org")
        .unwrap();
    let reason = "its sender had 3 automatic replies within a day";
    assert_eq!(
        (seen.unanswered[0].event_id, seen.unanswered[0].reason.as_str()),
        (fourth.event_id, reason)
    );
    assert_eq!(world.dead_letters().await.len(), 0);
    running.drain().await;
}

async fn an_answer_to_a_reply_is_known_though_its_ids_were_rewritten(on: On) {
    let (world, user, peer) = (World::new(on).await, user("marked", on), user("marker", on));
    let running = world.whole(&user, POSTFIX.smtp).await;
    let question = format!("From: {peer}\r\nMessage-ID: <1@example.org>\r\nSubject: hours\r\n\r\nWhen?\r\n");
    save(&user, vec![question.into_bytes()]).await;
    world.seen.until(|seen| !seen.sent.is_empty()).await;
    let name = peer.clone();
    let reply = eventually("the reply", async || {
        let name = name.clone();
        tokio::task::spawn_blocking(move || DOVECOT.mails(&name))
            .await
            .unwrap()
            .pop()
    })
    .await;
    let unfolded = reply.replace("\r\n", "\n").replace("\n ", " ");
    let references = unfolded
        .lines()
        .find_map(|line| line.strip_prefix("References: "))
        .unwrap();
    // What a client writes that got the reply from a relay with ids of its own; and one who makes marks up.
    let answer = |n: u32, references: &str| {
        format!(
            "From: {peer}\r\nMessage-ID: <{n}@example.org>\r\nAuto-Submitted: auto-replied\r\nSubject: Re: hours\r\n\
             In-Reply-To: <rewritten@relay.example>\r\nReferences: {references} <rewritten@relay.example>\r\n\r\nThanks\r\n"
        )
        .into_bytes()
    };
    save(
        &user,
        vec![
            answer(2, references),
            answer(3, &references.replace("pr1.", "pr1.0")),
        ],
    )
    .await;
    let seen = world.seen.until(|seen| seen.mails.len() >= 3).await;
    let mail = |id: &str| seen.mails.iter().find(|mail| mail.message_id == id).unwrap();
    assert_eq!(
        mail("2@example.org").continues,
        Some(mail("1@example.org").event_id)
    );
    assert_eq!(mail("3@example.org").continues, None);
    running.drain().await;
}

/// What `postroom up` says of this server and this `after`.
async fn doors(server: u16, after: &str) -> Result<(), Closed> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postroom.toml");
    let text = format!(
        "[[accounts]]\nname = 'help'\naddress = 'help@shop.example'\n\
         [accounts.imap]\nhost = '127.0.0.1'\nport = {server}\ntls = 'none'\nuser = 'doors@example.test'\n\
         password = '{}'\n{after}\n[accounts.smtp]\nhost = '127.0.0.1'\n",
        Dovecot::PASSWORD
    );
    std::fs::write(&file, text).unwrap();
    let flags = Flags {
        config: Some(file),
        ..Flags::default()
    };
    let config = Config::load(&flags).unwrap();
    preflight::imap(&Account::of(&config.accounts[0]).unwrap()).await
}

#[tokio::test]
async fn what_the_server_cannot_do_is_refused_at_the_start() {
    doveadm(|dovecot| dovecot.create("doors@example.test", "Archive")).await;
    for good in [
        "",
        "after = 'flag'",
        "after = 'expunge'",
        "after = 'move'\nafter_folder = 'Archive'",
    ] {
        doors(DOVECOT.imap, good)
            .await
            .unwrap_or_else(|closed| panic!("{good}: {closed}"));
    }
    let refused = |door: Result<(), Closed>, expect: &str| {
        let closed = door.unwrap_err();
        assert!(
            closed.is_refused() && closed.to_string().contains(expect),
            "{closed}"
        );
    };
    refused(
        doors(DOVECOT.imap, "after = 'move'\nafter_folder = 'No such'").await,
        "there is no folder \"No such\"; create it",
    );
    let poor = [
        Say("* OK ready\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n% OK\r\n"),
        Hear("AUTHENTICATE PLAIN"),
        Say("+ \r\n"),
        Hear(""),
        Say("p2 OK\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1\r\n% OK\r\n"),
        Hear("SELECT"),
        Say("* 0 EXISTS\r\n* OK [PERMANENTFLAGS (\\Seen)] few\r\n* OK [UIDVALIDITY 7] ok\r\n% OK\r\n"),
        Hear("LOGOUT"),
        Say("% OK\r\n"),
    ];
    for (after, expect) in [
        ("after = 'expunge'", "does not offer UIDPLUS"),
        (
            "after = 'move'\nafter_folder = 'Archive'",
            "neither MOVE nor UIDPLUS",
        ),
        (
            "after = 'flag'\nafter_flag = '$Done'",
            "does not keep the flag $Done",
        ),
    ] {
        let server = Scripted::start(vec![poor.to_vec()]).await;
        refused(doors(server.port, after).await, expect);
    }
}
