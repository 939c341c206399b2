//! The IMAP command layer: against Dovecot, and against scripts for the answers that Dovecot never gives.

use std::future::pending;
use std::time::Duration;

use postroom_workers::ingest::imap::{IdleEnd, ImapError, Session};
use postroom_workers::login::Login;
use postroom_workers::tls::{Dialer, Security};

use crate::servers::Script::{Close, Hang, Hear, Say};
use crate::servers::{Dovecot, Script, Scripted};
use crate::{DOVECOT, dialer, endpoint};

const MAIL: &str = "From: a@example.org\r\nSubject: hi\r\n\r\nbody\r\n";
const LONG: Duration = Duration::from_secs(60);

async fn login(user: &str) -> Session {
    let endpoint = endpoint(DOVECOT.imap, Security::None);
    Session::login(&endpoint, &dialer(), &Login::password(user, Dovecot::PASSWORD))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_mailbox_is_searched_and_read_on_dovecot() {
    for _ in 0..3 {
        DOVECOT.save("reader@example.test", MAIL.as_bytes());
    }
    let mut session = login("reader@example.test").await;
    assert!(session.can_idle());
    let selected = session.select("INBOX").await.unwrap();
    assert_eq!((selected.exists, selected.uidnext), (3, Some(4)));
    assert_eq!(session.search_from(0).await.unwrap(), [1, 2, 3]);
    assert_eq!(session.search_from(3).await.unwrap(), [3]);
    assert_eq!(
        session.search_from(4).await.unwrap(),
        [0_u32; 0],
        "4:* names mail 3, which is not new"
    );

    let mail = session.fetch(2).await.unwrap().unwrap();
    assert_eq!(mail.uid, 2);
    assert_eq!(String::from_utf8(mail.raw).unwrap(), MAIL);
    assert!(mail.internal_date.is_some());
    assert!(
        !mail.flags.iter().any(|flag| flag == "\\Seen"),
        "reading a mail must not mark it read"
    );

    DOVECOT.expunge("reader@example.test", &["uid", "2"]);
    assert_eq!(session.fetch(2).await.unwrap(), None, "expunged under our hands");
    assert_eq!(session.fetch(99).await.unwrap(), None, "never there");
    session.logout().await;
}

#[tokio::test]
async fn every_way_to_protect_the_connection_works_on_dovecot() {
    let trusting = Dialer::new(Some(DOVECOT.certificate())).unwrap();
    for (port, security) in [
        (DOVECOT.imap, Security::None),
        (DOVECOT.imap, Security::StartTls),
        (DOVECOT.imaps, Security::Tls),
    ] {
        let endpoint = endpoint(port, security);
        let mut session = Session::login(
            &endpoint,
            &trusting,
            &Login::password("tls@example.test", Dovecot::PASSWORD),
        )
        .await
        .unwrap();
        session.select("INBOX").await.unwrap();
    }
    let strict = dialer();
    let refused = Session::login(
        &endpoint(DOVECOT.imaps, Security::Tls),
        &strict,
        &Login::password("tls@example.test", "x"),
    )
    .await;
    assert!(
        matches!(refused, Err(ImapError::Connect(_))),
        "an unknown certificate is refused: {refused:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_apart_from_other_trouble() {
    let endpoint = endpoint(DOVECOT.imap, Security::None);
    let error = Session::login(&endpoint, &dialer(), &Login::password("a@example.test", "wrong"))
        .await
        .unwrap_err();
    assert!(error.is_login_refused(), "{error}");
    let mut session = login("a@example.test").await;
    let error = session.select("No such \"box\" é").await.unwrap_err();
    assert!(error.is_refusal() && !error.is_login_refused(), "{error}");
    session
        .select("INBOX")
        .await
        .expect("the connection is still good");
}

#[tokio::test]
async fn new_mail_ends_idle_on_dovecot() {
    let user = "idle@example.test";
    let mut session = login(user).await;
    session.select("INBOX").await.unwrap();
    assert_eq!(session.search_from(1).await.unwrap(), [0_u32; 0]);
    let (end, ()) = tokio::join!(session.idle(LONG, pending()), async {
        tokio::task::spawn_blocking(move || DOVECOT.save(user, MAIL.as_bytes()))
            .await
            .unwrap();
    });
    assert_eq!(end.unwrap(), IdleEnd::Changed);
    assert_eq!(session.search_from(1).await.unwrap(), [1]);
    let end = session.idle(Duration::from_millis(50), pending()).await.unwrap();
    assert_eq!(end, IdleEnd::Expired);
    assert_eq!(session.idle(LONG, async {}).await.unwrap(), IdleEnd::Stopped);
    session
        .noop()
        .await
        .expect("the connection is still good after each");
    DOVECOT.kick(user);
    assert!(
        session.idle(LONG, pending()).await.is_err(),
        "a kicked connection is no quiet mailbox"
    );
}

/// Greeting, login and SELECT, up to where the interesting part begins.
fn scripted(rest: &[Script]) -> Vec<Script> {
    let mut script = vec![
        Say("* OK ready\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 IDLE\r\n% OK\r\n"),
        Hear("LOGIN"),
        Say("% OK\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 IDLE\r\n% OK\r\n"),
        Hear("SELECT"),
        Say("* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 3] ok\r\n% OK [READ-WRITE] done\r\n"),
    ];
    script.extend_from_slice(rest);
    script
}

/// SELECT announces mails too; a search takes note of them.
const NO_NEWS: [Script; 2] = [Hear("UID SEARCH"), Say("* SEARCH\r\n% OK\r\n")];

async fn selected(rest: &[Script]) -> (Session, Scripted) {
    let server = Scripted::start(vec![scripted(rest)]).await;
    let endpoint = endpoint(server.port, Security::None);
    let mut session = Session::login(&endpoint, &dialer(), &Login::password("u", "p"))
        .await
        .unwrap();
    session.select("INBOX").await.unwrap();
    (session, server)
}

#[tokio::test]
async fn a_refused_search_is_not_an_empty_mailbox() {
    let (mut session, _server) = selected(&[Hear("UID SEARCH"), Say("% NO [LIMIT] later\r\n"), Hang]).await;
    assert!(session.search_from(1).await.unwrap_err().is_refusal());
}

#[tokio::test]
async fn a_search_without_its_line_is_not_an_empty_mailbox() {
    let (mut session, _server) = selected(&[Hear("UID SEARCH"), Say("% OK done\r\n"), Hang]).await;
    assert!(matches!(
        session.search_from(1).await,
        Err(ImapError::Protocol { .. })
    ));
}

#[tokio::test]
async fn a_connection_that_ends_is_never_an_answer() {
    let (mut session, _server) = selected(&[Hear("UID SEARCH"), Say("* SEARCH 1 2\r\n"), Close]).await;
    assert!(matches!(
        session.search_from(1).await,
        Err(ImapError::Closed { .. })
    ));
    assert!(
        matches!(session.noop().await, Err(ImapError::Closed { .. })),
        "and it is not used again"
    );

    let half = "* 1 FETCH (UID 1 BODY[] {100}\r\nFrom: a@example.org\r\n";
    let (mut session, _server) = selected(&[Hear("UID FETCH"), Say(half), Close]).await;
    assert!(matches!(session.fetch(1).await, Err(ImapError::Closed { .. })));

    let whole = "* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n";
    let (mut session, _server) = selected(&[Hear("UID FETCH"), Say(whole), Close]).await;
    assert!(
        matches!(session.fetch(1).await, Err(ImapError::Closed { .. })),
        "no tagged line, no answer"
    );

    let [search, none] = NO_NEWS;
    let (mut session, _server) = selected(&[search, none, Hear("IDLE"), Say("+ idling\r\n"), Close]).await;
    session.search_from(1).await.unwrap();
    assert!(matches!(
        session.idle(LONG, pending()).await,
        Err(ImapError::Closed { .. })
    ));
    let (mut session, _server) = selected(&[Hear("NOOP"), Say("* BYE tired\r\n"), Close]).await;
    assert!(matches!(session.noop().await, Err(ImapError::Bye { .. })));
}

#[tokio::test]
async fn flags_of_another_mail_are_not_this_mail() {
    let answer = "* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 2 BODY[] {3}\r\nxyz)\r\n* 1 FETCH (UID 1 FLAGS () BODY[] {3}\r\nabc)\r\n% OK\r\n";
    let (mut session, _server) = selected(&[Hear("UID FETCH 1 "), Say(answer), Hang]).await;
    assert_eq!(session.fetch(1).await.unwrap().unwrap().raw, b"abc");
}

#[tokio::test]
async fn a_mail_without_a_body_is_gone_only_when_the_server_says_so() {
    let nil = "* 1 FETCH (UID 1 BODY[] NIL)\r\n% OK\r\n";
    let gone = [
        Hear("UID FETCH"),
        Say(nil),
        Hear("UID SEARCH UID 1"),
        Say("* SEARCH\r\n% OK\r\n"),
        Hang,
    ];
    let (mut session, _server) = selected(&gone).await;
    assert_eq!(session.fetch(1).await.unwrap(), None);

    let there = [
        Hear("UID FETCH"),
        Say(nil),
        Hear("UID SEARCH UID 1"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        Hang,
    ];
    let (mut session, _server) = selected(&there).await;
    let error = session.fetch(1).await.unwrap_err();
    assert!(matches!(error, ImapError::NoBody { uid: 1 }) && error.is_refusal());
}

#[tokio::test]
async fn idle_that_is_refused_leaves_the_connection_for_polling() {
    let [search, none] = NO_NEWS;
    let script = [
        search,
        none,
        Hear("IDLE"),
        Say("% NO not today\r\n"),
        Hear("NOOP"),
        Say("% OK\r\n"),
        Hang,
    ];
    let (mut session, _server) = selected(&script).await;
    session.search_from(1).await.unwrap();
    assert!(session.idle(LONG, pending()).await.unwrap_err().is_refusal());
    session.noop().await.unwrap();
}

#[tokio::test]
async fn mail_that_is_announced_before_the_go_ahead_ends_idle_at_once() {
    let [search, none] = NO_NEWS;
    let script = [
        search,
        none,
        Hear("IDLE"),
        Say("* 3 EXISTS\r\n+ idling\r\n"),
        Hear("DONE"),
        Say("% OK\r\n"),
        Hang,
    ];
    let (mut session, _server) = selected(&script).await;
    session.search_from(1).await.unwrap();
    assert_eq!(session.idle(LONG, pending()).await.unwrap(), IdleEnd::Changed);
}

#[tokio::test]
async fn mail_that_is_announced_with_another_command_is_not_forgotten() {
    let script = [
        Hear("UID SEARCH"),
        Say("* SEARCH\r\n% OK\r\n"),
        Hear("UID FETCH"),
        Say("* 3 EXISTS\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n% OK\r\n"),
        Hang,
    ];
    let (mut session, _server) = selected(&script).await;
    session.search_from(1).await.unwrap();
    session.fetch(1).await.unwrap();
    assert!(session.is_changed());
    assert_eq!(
        session.idle(LONG, pending()).await.unwrap(),
        IdleEnd::Changed,
        "without waiting for the server"
    );
}

#[tokio::test]
async fn bytes_that_crash_the_parser_end_the_connection_and_no_more() {
    // The parser cuts the text after a response code at one byte, which here is in the middle of a letter.
    let (mut session, _server) = selected(&[Hear("NOOP"), Say("* OK [ALERT]é\r\n% OK\r\n"), Hang]).await;
    assert!(matches!(session.noop().await, Err(ImapError::Protocol { .. })));
    let (mut session, _server) = selected(&[Hear("NOOP"), Say("what is this\r\n% OK\r\n"), Hang]).await;
    assert!(matches!(session.noop().await, Err(ImapError::Protocol { .. })));
}

#[tokio::test]
async fn a_server_cannot_overflow_the_stack_or_fill_the_memory() {
    // Parentheses by which the parser alone would end the process.
    let deep: &'static str = format!("* 1 FETCH {}\r\n% OK\r\n", "(".repeat(100_000)).leak();
    let (mut session, _server) = selected(&[Hear("NOOP"), Say(deep), Hang]).await;
    assert!(matches!(session.noop().await, Err(ImapError::Protocol { .. })));
    let huge = "* 1 FETCH (UID 1 BODY[] {536000000}\r\n";
    let (mut session, _server) = selected(&[Hear("UID FETCH"), Say(huge), Hang]).await;
    assert!(matches!(
        session.fetch(1).await,
        Err(ImapError::TooLarge { size: 536_000_000 })
    ));
}
