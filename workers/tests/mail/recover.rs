//! UIDs that begin anew, are given twice or come late: what was announced stays announced once, what is new is announced,
//! and a flood is held for a person.

use std::collections::HashSet;
use std::process::{Command, Output};
use std::time::Duration;

use postroom_workers::ingest::Start;
use postroom_workers::tls::Security;

use crate::ingest::{doveadm, mail, save, user};
use crate::servers::Script::{Hang, Hear, Say, UntilClosed};
use crate::servers::Scripted;
use crate::world::{On, World, everywhere};
use crate::{DOVECOT, endpoint};

everywhere!(
    mails_are_known_again_without_being_fetched,
    a_flood_of_unknown_mails_is_held_until_a_person_decides,
    a_uid_that_names_another_mail_is_noticed,
    a_mail_that_the_server_shows_late_is_found,
);

fn postroom(world: &World, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    let url = &world.settings.database_url;
    command
        .arg("mailboxes")
        .args(words)
        .env("DATABASE_URL", url)
        .output()
        .unwrap()
}

fn announced(world: &World) -> HashSet<String> {
    let mails = world.seen.now().mails;
    let ids: HashSet<String> = mails.iter().map(|mail| mail.message_id.clone()).collect();
    assert_eq!(ids.len(), mails.len(), "a mail was announced twice");
    ids
}

async fn mails_are_known_again_without_being_fetched(on: On) {
    let (world, user) = (World::new(on).await, user("again", on));
    save(&user, (0..30).map(mail).collect()).await;
    let running = world.watching(&user).await;
    world.states_until(&[("published", 30)]).await;
    let name = user.clone();
    doveadm(move |dovecot| {
        dovecot.set_uidvalidity(&name, 1_999_999_999);
        dovecot.kick(&name);
    })
    .await;
    // A carried mail that was not fetched has its hash from the mail that it was.
    world.states_until(&[("carried", 30), ("published", 30)]).await;
    let seen = world.seen.until(|seen| !seen.resets.is_empty()).await;
    let reset = &seen.resets[0];
    assert_eq!(
        (reset.found_again, reset.unknown, reset.held),
        (30, 0, false),
        "{reset:?}"
    );
    assert_eq!(reset.is, 1_999_999_999);

    // And once more, which finds them by what was carried.
    let name = user.clone();
    doveadm(move |dovecot| {
        dovecot.set_uidvalidity(&name, 2_000_000_000);
        dovecot.save(&name, &mail(30));
        dovecot.kick(&name);
    })
    .await;
    world.states_until(&[("carried", 60), ("published", 31)]).await;
    world.seen.until(|seen| seen.mails.len() >= 31).await;
    running.drain().await;
    assert_eq!(announced(&world).len(), 31);
}

async fn a_flood_of_unknown_mails_is_held_until_a_person_decides(on: On) {
    let (world, user) = (World::new(on).await, user("flood", on));
    save(&user, (0..25).map(mail).collect()).await;
    let running = world.watching(&user).await;
    world.states_until(&[("published", 25)]).await;
    running.drain().await;
    // Two mails stay, all others give way to mails that nobody has seen.
    let name = user.clone();
    doveadm(move |dovecot| {
        dovecot.expunge(&name, &["uid", "3:*"]);
        (100..125).for_each(|n| dovecot.save(&name, &mail(n)));
        dovecot.set_uidvalidity(&name, 1_999_999_999);
    })
    .await;
    let running = world.watching(&user).await;
    world
        .states_until(&[("carried", 2), ("held", 25), ("published", 25)])
        .await;
    let reset = world
        .seen
        .until(|seen| !seen.resets.is_empty())
        .await
        .resets
        .remove(0);
    assert_eq!(
        (reset.found_again, reset.unknown, reset.held),
        (2, 25, true),
        "{reset:?}"
    );
    // What comes now is no flood.
    save(&user, vec![mail(200)]).await;
    world
        .states_until(&[("carried", 2), ("held", 25), ("published", 26)])
        .await;
    world
        .seen
        .until(|seen| seen.mails.iter().any(|mail| mail.message_id == "200@example.org"))
        .await;

    let listed = postroom(&world, &["held", "help", "INBOX", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 25, "{listed}");
    for _ in 0..2 {
        let released = postroom(&world, &["release", "help", "INBOX"]);
        assert!(released.status.success(), "{released:?}");
    }
    world.seen.until(|seen| seen.mails.len() >= 51).await;
    world.states_until(&[("carried", 2), ("published", 51)]).await;
    running.drain().await;
    assert_eq!(announced(&world).len(), 51);
    let unknown = postroom(&world, &["release", "help", "Sent"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

const LOGIN: [crate::servers::Script; 8] = [
    Say("* OK ready\r\n"),
    Hear("CAPABILITY"),
    Say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n% OK\r\n"),
    Hear("AUTHENTICATE PLAIN"),
    Say("+ \r\n"),
    Hear(""),
    Say("p2 OK\r\n"),
    Hear("CAPABILITY"),
];
const SELECTED: &str = "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 3] ok\r\n% OK\r\n";

/// A mail with UID 1 that came at this second of a minute.
macro_rules! first_mail {
    ($second:literal, $id:literal) => {
        concat!(
            "* 1 FETCH (UID 1 INTERNALDATE \"03-Nov-2026 10:00:",
            $second,
            " +0000\" RFC822.SIZE 50 BODY[] {52}\r\nFrom: a@example.org\r\nMessage-ID: <",
            $id,
            "@example.org>\r\n\r\n)\r\n% OK\r\n"
        )
    };
}

async fn watch_scripted(
    world: &World,
    scripts: Vec<Vec<crate::servers::Script>>,
) -> (Scripted, postroom::Running) {
    let server = Scripted::start(scripts).await;
    let app = world.app().await;
    let mut watched = world.watched("u", endpoint(server.port, Security::None));
    watched.start = Start::All;
    watched.pace.poll = Duration::from_millis(5);
    watched.pace.audit = Duration::from_millis(1);
    let ingest = world.ingest_of(&app, watched);
    (
        server,
        app.service(|stop| ingest.run(stop)).start().await.unwrap(),
    )
}

fn script(steps: &[crate::servers::Script]) -> Vec<crate::servers::Script> {
    let mut script = LOGIN.to_vec();
    script.extend([
        Say("* CAPABILITY IMAP4rev1\r\n% OK\r\n"),
        Hear("SELECT"),
        Say(SELECTED),
    ]);
    script.extend_from_slice(steps);
    script
}

async fn a_uid_that_names_another_mail_is_noticed(on: On) {
    const OTHER: &str = "* 1 FETCH (UID 1 INTERNALDATE \"03-Nov-2026 10:00:09 +0000\" RFC822.SIZE 50 BODY[HEADER.FIELDS (MESSAGE-ID)] {2}\r\n\r\n)\r\n% OK\r\n";
    let world = World::new(on).await;
    let steps = [
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        Hear("UID FETCH 1 "),
        Say(first_mail!("00", "1")),
        Hear("NOOP"),
        Say("% OK\r\n"),
        // UIDVALIDITY is the same, and so is the UID.
        Hear("UID FETCH 1:1 "),
        Say(OTHER),
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        Hear("UID FETCH 1:1 "),
        Say(OTHER),
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        Hear("UID FETCH 1 "),
        Say(first_mail!("09", "2")),
        Hang,
    ];
    let (server, running) = watch_scripted(&world, vec![script(&steps)]).await;
    world.states_until(&[("published", 2)]).await;
    let seen = world
        .seen
        .until(|seen| seen.mails.len() >= 2 && !seen.resets.is_empty())
        .await;
    assert_eq!(announced(&world).len(), 2);
    assert_eq!((seen.resets[0].was, seen.resets[0].is), (7, 7));
    server.stop();
    running.drain().await;
}

async fn a_mail_that_the_server_shows_late_is_found(on: On) {
    const SECOND: &str = "* 2 FETCH (UID 2 BODY[] {52}\r\nFrom: a@example.org\r\nMessage-ID: <2@example.org>\r\n\r\n)\r\n% OK\r\n";
    let world = World::new(on).await;
    let steps = [
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 2\r\n% OK\r\n"),
        Hear("UID FETCH 2 "),
        Say(SECOND),
        Hear("NOOP"),
        Say("% OK\r\n"),
        // Below what was seen already.
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1 2\r\n% OK\r\n"),
        Hear("UID FETCH 1 "),
        Say(first_mail!("00", "1")),
        UntilClosed,
    ];
    let (server, running) = watch_scripted(&world, vec![script(&steps)]).await;
    world.states_until(&[("published", 2)]).await;
    world.seen.until(|seen| seen.mails.len() >= 2).await;
    assert_eq!(announced(&world).len(), 2);
    server.stop();
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_comes_while_idle_is_being_set_up_is_not_missed() {
    let on = On {
        postgres: false,
        nats_server: false,
    };
    let (world, user) = (World::new(on).await, user("setup", on));
    // IDLE lasts nine minutes here: a mail that its set-up misses comes too late for the test.
    let running = world.watching(&user).await;
    for n in 0..12 {
        let name = user.clone();
        // Two at once: while the first is settled the second comes, and IDLE is begun again.
        doveadm(move |dovecot| (0..2).for_each(|i| dovecot.save(&name, &mail(2 * n + i)))).await;
        world.seen.until(|seen| seen.mails.len() > 2 * n).await;
    }
    world.states_until(&[("published", 24)]).await;
    world.seen.until(|seen| seen.mails.len() >= 24).await;
    running.drain().await;
    assert_eq!(announced(&world).len(), 24);
    assert_eq!(DOVECOT.mails(&user).len(), 24);
}
