//! The SMTP transaction: against Postfix, and against scripts for what Postfix never does.

use std::time::Duration;

use jiff::Timestamp;
use postroom_workers::login::Login;
use postroom_workers::messages::{Mailbox, Send};
use postroom_workers::send::message::{Content, Outgoing, build};
use postroom_workers::send::smtp::{Deadlines, Phase, Relay, SmtpError};
use postroom_workers::tls::{Dialer, Security};

use crate::servers::Script::{Close, Hang, Hear, HearContent, Say};
use crate::servers::{Dovecot, Script, Scripted};
use crate::{DOVECOT, POSTFIX, dialer, endpoint};

fn mail(to: &str, text: &str) -> Outgoing {
    let send = Send {
        id: "k".into(),
        account: "help".into(),
        from: Mailbox::bare("help@example.test"),
        to: Mailbox::bare(to),
        subject: "Grüße".into(),
        text: text.into(),
        html: None,
        template: None,
        attachments: vec![],
        unsubscribe: None,
        in_reply_to: None,
        references: vec![],
        message_id: format!("{}@example.test", to.replace(['@', 'ö'], ".")),
        date: Timestamp::UNIX_EPOCH,
        send_at: None,
        auto_submitted: false,
    };
    build(&send, &Content::of(&send), &[]).unwrap()
}

async fn postfix() -> Relay {
    let deadlines = Deadlines::default();
    Relay::connect(
        &endpoint(POSTFIX.smtp, Security::None),
        &dialer(),
        "client.test",
        None,
        deadlines,
    )
    .await
    .unwrap()
}

async fn send(relay: Relay, mail: &Outgoing) -> Result<String, SmtpError> {
    let (response, relay) = relay.offer(mail).await?.deliver(&mail.bytes).await?;
    relay.quit().await;
    Ok(response)
}

/// Postfix answers when the mail is in its queue; the mailbox has it a moment later.
async fn arrived(user: &'static str) -> String {
    for _ in 0..600 {
        let mails = tokio::task::spawn_blocking(move || DOVECOT.mails(user))
            .await
            .unwrap();
        if let Some(mail) = mails.into_iter().next() {
            return mail;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no mail for {user}");
}

#[tokio::test]
async fn postfix_takes_a_mail_and_dovecot_has_it_byte_for_byte() {
    let mail = mail("bytes@example.test", "first\n.\n..two\n\nlast line é");
    let response = send(postfix().await, &mail).await.unwrap();
    assert!(response.starts_with("250 2.0.0 Ok: queued as"), "{response}");
    let arrived = arrived("bytes@example.test").await.replace("\r\n", "\n");
    let sent = String::from_utf8(mail.bytes).unwrap().replace("\r\n", "\n");
    let body = |mail: &str| mail.split_once("\n\n").unwrap().1.trim_end().to_owned();
    assert_eq!(body(&arrived), body(&sent));
    assert!(arrived.contains("Message-ID: <bytes.example.test@example.test>"));
}

#[tokio::test]
async fn one_connection_takes_several_mails() {
    let mut relay = postfix().await;
    for _ in 0..3 {
        let mail = mail("several@example.test", "hello");
        let (response, back) = relay
            .offer(&mail)
            .await
            .unwrap()
            .deliver(&mail.bytes)
            .await
            .unwrap();
        assert!(response.starts_with("250"));
        relay = back;
    }
    relay.quit().await;
}

#[tokio::test]
async fn postfix_refuses_in_its_own_words() {
    let check = async |to: &str, code, status: &str, permanent| {
        let error = send(postfix().await, &mail(to, "x")).await.unwrap_err();
        assert_eq!(
            (error.code(), error.enhanced()),
            (Some(code), Some(status)),
            "{error}"
        );
        assert_eq!(
            (error.is_permanent(), error.is_unknown()),
            (permanent, false),
            "{error}"
        );
        assert!(
            matches!(
                error,
                SmtpError::Refused {
                    phase: Phase::Rcpt,
                    ..
                }
            ),
            "{error}"
        );
    };
    check("greylist@example.test", 450, "4.2.0", false).await;
    check("full@example.test", 452, "4.2.2", false).await;
    check("gone@example.test", 550, "5.1.1", true).await;
    check("spam@example.test", 554, "5.7.1", true).await;
}

#[tokio::test]
async fn starttls_and_login_work_on_postfix() {
    let trusting = Dialer::new(Some(POSTFIX.certificate())).unwrap();
    let login = |password: &str| Some(Login::password("relay@example.test", password));
    let connect = async |dialer: Dialer, login: Option<Login>| {
        let endpoint = endpoint(POSTFIX.smtp, Security::StartTls);
        Relay::connect(
            &endpoint,
            &dialer,
            "client.test",
            login.as_ref(),
            Deadlines::default(),
        )
        .await
    };
    let relay = connect(trusting.clone(), login(Dovecot::PASSWORD)).await.unwrap();
    send(relay, &mail("tls@example.test", "secret")).await.unwrap();

    let error = connect(trusting, login("wrong")).await.unwrap_err();
    assert_eq!(error.code(), Some(535), "{error}");
    assert!(error.is_account_trouble() && !error.is_permanent(), "{error}");
    let error = connect(dialer(), None).await.unwrap_err();
    assert!(
        matches!(error, SmtpError::Tls(_)),
        "an unknown certificate is refused: {error}"
    );
}

/// Greeting to RCPT, up to where the interesting part begins.
fn scripted(rest: &[Script]) -> Vec<Script> {
    let mut script = vec![
        Say("220 ready\r\n"),
        Hear("EHLO client.test"),
        Say("250-mx\r\n250 8BITMIME\r\n"),
        Hear("MAIL FROM:<help@example.test>"),
        Say("250 2.1.0 Ok\r\n"),
        Hear("RCPT TO:<a@example.org>"),
        Say("250 2.1.5 Ok\r\n"),
        Hear("DATA"),
    ];
    script.extend_from_slice(rest);
    script
}

/// What comes of one mail to a server that follows the script.
async fn outcome(script: Vec<Script>, deadlines: Deadlines) -> Result<String, SmtpError> {
    let server = Scripted::start(vec![script]).await;
    let endpoint = endpoint(server.port, Security::None);
    let relay = Relay::connect(&endpoint, &dialer(), "client.test", None, deadlines).await?;
    let mail = mail("a@example.org", "hello");
    let (response, _relay) = relay.offer(&mail).await?.deliver(&mail.bytes).await?;
    Ok(response)
}

async fn after_data(rest: &[Script]) -> Result<String, SmtpError> {
    outcome(scripted(rest), Deadlines::default()).await
}

#[tokio::test]
async fn only_silence_after_the_final_dot_is_unknown() {
    let go = Say("354 go\r\n");
    let unknown = after_data(&[go.clone(), HearContent, Close]).await.unwrap_err();
    assert!(unknown.is_unknown() && !unknown.is_permanent(), "{unknown}");
    let garbage = after_data(&[go.clone(), HearContent, Say("what?\r\n"), Hang])
        .await
        .unwrap_err();
    assert!(garbage.is_unknown(), "{garbage}");
    let intermediate = after_data(&[go.clone(), HearContent, Say("354 more\r\n"), Hang])
        .await
        .unwrap_err();
    assert!(intermediate.is_unknown(), "3xx accepts nothing: {intermediate}");

    let rejected = after_data(&[go.clone(), HearContent, Say("554 5.6.0 no\r\n"), Hang])
        .await
        .unwrap_err();
    assert!(rejected.is_permanent(), "{rejected}");
    let closing = after_data(&[go.clone(), HearContent, Say("421 4.3.2 bye\r\n"), Close])
        .await
        .unwrap_err();
    assert_eq!(
        (closing.code(), closing.is_unknown()),
        (Some(421), false),
        "a negative reply is a known non-send"
    );
    let taken = after_data(&[go, HearContent, Say("250-2.0.0 Ok\r\n250 2.0.0 queued\r\n"), Hang])
        .await
        .unwrap();
    assert_eq!(taken, "250 2.0.0 Ok 2.0.0 queued");
}

#[tokio::test]
async fn everything_before_the_final_dot_is_a_known_non_send() {
    let lost = |error: SmtpError, at: Phase| {
        assert!(
            matches!(error, SmtpError::Lost { phase, .. } if phase == at),
            "{error}"
        );
    };
    lost(
        outcome(vec![Close], Deadlines::default()).await.unwrap_err(),
        Phase::Greeting,
    );
    lost(
        outcome(scripted(&[])[..4].to_vec(), Deadlines::default())
            .await
            .unwrap_err(),
        Phase::Mail,
    );
    lost(after_data(&[Close]).await.unwrap_err(), Phase::Data);
    lost(
        after_data(&[Say("250 what\r\n"), Hang]).await.unwrap_err(),
        Phase::Data,
    );
    let busy = outcome(vec![Say("421 4.3.2 too busy\r\n"), Close], Deadlines::default())
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Some(421));
}

#[tokio::test]
async fn every_step_has_its_deadline() {
    let short = Duration::from_millis(200);
    let late = |error: SmtpError, at: Phase| {
        assert!(
            matches!(&error, SmtpError::Lost { phase, .. } if *phase == at),
            "{error}"
        );
    };
    let greeting = Deadlines {
        greeting: short,
        ..Deadlines::default()
    };
    late(outcome(vec![Hang], greeting).await.unwrap_err(), Phase::Greeting);
    let step = Deadlines {
        step: short,
        ..Deadlines::default()
    };
    let mut mute = scripted(&[])[..4].to_vec();
    mute.push(Hang);
    late(outcome(mute, step).await.unwrap_err(), Phase::Mail);
    late(outcome(scripted(&[Hang]), step).await.unwrap_err(), Phase::Data);
    // All content deadlines over, but the dot is out: now it is the verdict's deadline that counts.
    let verdict = Deadlines {
        content: short,
        verdict: short,
        ..Deadlines::default()
    };
    let unknown = outcome(scripted(&[Say("354 go\r\n"), HearContent, Hang]), verdict)
        .await
        .unwrap_err();
    assert!(unknown.is_unknown(), "{unknown}");
}

#[tokio::test]
async fn replies_forged_before_tls_count_for_nothing() {
    // The attacker's 250 comes in one packet with the go-ahead; it must not be read as an answer under TLS.
    let server = Scripted::start(vec![vec![
        Say("220 ready\r\n"),
        Hear("EHLO"),
        Say("250-mx\r\n250 STARTTLS\r\n"),
        Hear("STARTTLS"),
        Say("220 go\r\n250 mx\r\n250 AUTH PLAIN\r\n"),
        Hang,
    ]])
    .await;
    let endpoint = endpoint(server.port, Security::StartTls);
    let error = Relay::connect(&endpoint, &dialer(), "client.test", None, Deadlines::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SmtpError::Tls(_)), "{error}");

    let server = Scripted::start(vec![vec![
        Say("220 ready\r\n"),
        Hear("EHLO"),
        Say("250 mx\r\n"),
        Hang,
    ]])
    .await;
    let endpoint = crate::endpoint(server.port, Security::StartTls);
    let error = Relay::connect(&endpoint, &dialer(), "client.test", None, Deadlines::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, SmtpError::NotOffered("STARTTLS")),
        "never plain instead: {error}"
    );
}

#[tokio::test]
async fn an_international_address_needs_a_relay_that_offers_it() {
    let script = vec![
        Say("220 ready\r\n"),
        Hear("EHLO"),
        Say("250-mx\r\n250 8BITMIME\r\n"),
        Hang,
    ];
    let server = Scripted::start(vec![script]).await;
    let endpoint = endpoint(server.port, Security::None);
    let relay = Relay::connect(&endpoint, &dialer(), "client.test", None, Deadlines::default())
        .await
        .unwrap();
    let error = relay.offer(&mail("jörg@example.org", "x")).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
}
