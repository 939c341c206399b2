//! Logins by OAuth 2.0 tokens, which a token server gives out and Dovecot checks, for Postfix too.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postroom::Store;
use postroom_workers::config::Secret;
use postroom_workers::ingest::imap::{ImapError, Session};
use postroom_workers::login::sign_in::{SignIn, SignInError};
use postroom_workers::login::{Credential, Login, OAuth, OAuthError, Provider, Tokens};
use postroom_workers::messages::Service;
use postroom_workers::send::smtp::{Deadlines, Relay, SmtpError};
use postroom_workers::store::sign_ins::{self, Origin};
use postroom_workers::tls::{Dialer, Security};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::servers::Script::{Hang, Hear, Say};
use crate::servers::token_server::Grant;
use crate::servers::{Scripted, TokenServer};
use crate::world::{On, World, everywhere};
use crate::{DOVECOT, POSTFIX, dialer, endpoint};

everywhere!(
    mail_comes_in_by_token_and_a_renewal_is_told,
    a_refused_sign_in_pauses_the_account_and_says_so,
);

/// Good for an hour, and taken for as long.
const GOOD: Grant = Grant::Token {
    expires_in: 3600,
    valid: 3600,
};
/// Said to be good for an hour, but refused: revoked early.
const REVOKED: Grant = Grant::Token {
    expires_in: 3600,
    valid: -60,
};

fn oauth(server: &TokenServer) -> OAuth {
    OAuth {
        provider: Provider::other(server.url.parse().unwrap()),
        client_id: "postroom".into(),
        client_secret: Some(Secret::new("s3cret&=")),
        refresh_token: Some(Secret::new("refresh-1")),
    }
}

fn login(user: &str, tokens: &Tokens) -> Login {
    Login {
        user: user.into(),
        credential: Credential::OAuth(tokens.clone()),
    }
}

fn tokens(server: &TokenServer) -> Tokens {
    Tokens::new("help", oauth(server), dialer())
}

async fn imap(user: &str, tokens: &Tokens) -> Result<Session, ImapError> {
    Session::login(
        &endpoint(DOVECOT.imap, Security::None),
        &dialer(),
        &login(user, tokens),
    )
    .await
}

async fn smtp(user: &str, tokens: &Tokens) -> Result<Relay, SmtpError> {
    let trusting = Dialer::new(Some(POSTFIX.certificate())).unwrap();
    let endpoint = endpoint(POSTFIX.smtp, Security::StartTls);
    let login = login(user, tokens);
    Relay::connect(
        &endpoint,
        &trusting,
        "client.test",
        Some(&login),
        Deadlines::default(),
    )
    .await
}

#[tokio::test]
async fn one_token_serves_imap_and_smtp() {
    let user = "token@example.test";
    let server = TokenServer::start(user, vec![GOOD], false).await;
    let tokens = tokens(&server);
    let mut session = imap(user, &tokens).await.unwrap();
    session.select("INBOX").await.unwrap();
    smtp(user, &tokens).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    for (key, value) in [
        ("grant_type", "refresh_token"),
        ("refresh_token", "refresh-1"),
        ("client_id", "postroom"),
        ("client_secret", "s3cret&="),
    ] {
        assert_eq!(asked[0].get(key).map(String::as_str), Some(value));
    }
}

#[tokio::test]
async fn a_token_that_was_revoked_early_is_renewed_once() {
    let user = "revoked@example.test";
    let server = TokenServer::start(user, vec![REVOKED, GOOD], false).await;
    let tokens = tokens(&server);
    // New, and refused all the same: another one would fare no better now.
    let error = imap(user, &tokens).await.unwrap_err();
    assert!(error.is_login_refused(), "{error}");
    assert_eq!(server.asked().len(), 1);
    imap(user, &tokens).await.unwrap();
    assert_eq!(server.asked().len(), 2);
    smtp(user, &tokens).await.unwrap();
    assert_eq!(server.asked().len(), 2);

    let server = TokenServer::start(user, vec![REVOKED, GOOD], false).await;
    let tokens = self::tokens(&server);
    let error = smtp(user, &tokens).await.unwrap_err();
    assert!(error.is_account_trouble(), "{error}");
    smtp(user, &tokens).await.unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end() {
    let user = "ahead@example.test";
    let dying = Grant::Token {
        expires_in: 0,
        valid: 3600,
    };
    let server = TokenServer::start(user, vec![dying, Grant::Away, GOOD], false).await;
    let tokens = tokens(&server);
    imap(user, &tokens).await.unwrap();
    let error = imap(user, &tokens).await.unwrap_err();
    assert!(
        matches!(error, ImapError::Token(OAuthError::Trouble { .. })) && !error.is_login_refused(),
        "{error}"
    );
    imap(user, &tokens).await.unwrap();
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn many_who_want_a_token_wait_for_the_same() {
    let server = TokenServer::start("many@example.test", vec![GOOD], false).await;
    let tokens = Arc::new(tokens(&server));
    let asking = (0..16).map(|_| {
        let tokens = Arc::clone(&tokens);
        tokio::spawn(async move { tokens.access().await.unwrap().token })
    });
    let mut found = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        found.push(asked.await.unwrap());
    }
    assert!(found.iter().all(|token| *token == found[0]));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_replaced_refresh_token_survives_the_process() {
    let dying = Grant::Token {
        expires_in: 0,
        valid: 3600,
    };
    let server = TokenServer::start("rotating@example.test", vec![dying], true).await;
    let store = Store::open("sqlite::memory:").await.unwrap();
    let first = tokens(&server);
    first.keep_in(&store);
    first.access().await.unwrap();
    first.access().await.unwrap();
    // A process that knows only the configured one, which is used up.
    let second = tokens(&server);
    second.keep_in(&store);
    second.access().await.unwrap();
    let used: Vec<_> = server
        .asked()
        .into_iter()
        .map(|form| form["refresh_token"].clone())
        .collect();
    assert_eq!(used, ["refresh-1", "refresh-2", "refresh-3"]);

    // One that was configured anew counts at once.
    let origin = Origin::of(Some(&Secret::new("another")));
    let mut tx = store.read().await.unwrap();
    assert_eq!(sign_ins::find(&mut tx, "help", &origin).await.unwrap(), None);
}

#[tokio::test]
async fn an_account_that_never_signed_in_says_what_to_do() {
    let server = TokenServer::start("nobody@example.test", vec![GOOD], false).await;
    let oauth = OAuth {
        refresh_token: None,
        ..oauth(&server)
    };
    let error = Tokens::new("help", oauth, dialer()).access().await.unwrap_err();
    assert!(error.is_refused());
    assert!(error.to_string().contains("run `postroom login help`"), "{error}");
}

#[tokio::test]
async fn a_person_signs_in_in_the_browser() {
    let server = TokenServer::start("person@example.test", vec![GOOD], true).await;
    let mut oauth = oauth(&server);
    oauth.refresh_token = None;
    assert!(matches!(
        SignIn::begin(&oauth, "person@example.test", 0).await,
        Err(SignInError::NoPage)
    ));
    oauth.provider.sign_in_url = Some("https://id.example/auth?theme=dark".into());
    oauth.provider.scope = Some("mail offline".into());
    let sign_in = SignIn::begin(&oauth, "person@example.test", 0).await.unwrap();
    let (page, query) = sign_in.url.split_once("?theme=dark&").unwrap();
    assert_eq!(page, "https://id.example/auth");
    let asked: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(asked["login_hint"], "person@example.test");
    assert_eq!(asked["scope"], "mail offline");
    let port: u16 = asked["redirect_uri"].rsplit(':').next().unwrap().parse().unwrap();
    let way_back = tokio::spawn(async move { sign_in.finish(&oauth, &dialer()).await });

    let browser = async |query: String| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET /?{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    };
    let forged = browser("code=evil&state=guessed".into()).await;
    assert!(forged.starts_with("HTTP/1.1 400"), "{forged}");
    let page = browser(format!("code=c0de&state={}", asked["state"])).await;
    assert!(page.contains("Signed in"), "{page}");
    assert_eq!(way_back.await.unwrap().unwrap(), Secret::new("refresh-2"));

    let form = &server.asked()[0];
    assert_eq!(
        (&*form["grant_type"], &*form["code"]),
        ("authorization_code", "c0de")
    );
    assert_eq!(form["redirect_uri"], asked["redirect_uri"]);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    assert_eq!(challenge, asked["code_challenge"]);
}

/// The challenge that reports the error is answered as each mechanism wants it, and the refusal is a refusal.
#[tokio::test]
async fn error_reports_of_servers_are_read_to_their_end() {
    for (mechanism, acknowledged) in [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")] {
        let server = TokenServer::start("report@example.test", vec![GOOD], false).await;
        let relay = Scripted::start(vec![vec![
            Say("220 ready\r\n"),
            Hear("EHLO"),
            Say("250 mx\r\n"),
            Hear("EHLO"),
            Say(if mechanism == "XOAUTH2" {
                "250-mx\r\n250 AUTH PLAIN XOAUTH2\r\n"
            } else {
                "250-mx\r\n250 AUTH OAUTHBEARER\r\n"
            }),
            Hear(if mechanism == "XOAUTH2" {
                "AUTH XOAUTH2 "
            } else {
                "AUTH OAUTHBEARER "
            }),
            Say("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
            Hear(acknowledged),
            Say("535 5.7.8 not accepted\r\n"),
            Hang,
        ]])
        .await;
        let login = login("u", &tokens(&server));
        let to = endpoint(relay.port, Security::None);
        let error = Relay::connect(&to, &dialer(), "client.test", Some(&login), Deadlines::default())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(535), "{error}");
        assert!(error.is_account_trouble());
    }
}

async fn mail_comes_in_by_token_and_a_renewal_is_told(on: On) {
    let user = format!("oauth-{}@example.test", on.name());
    let world = World::new(on).await;
    let server = TokenServer::start(&user, vec![GOOD], true).await;
    let tokens = tokens(&server);
    let app = world.app().await;
    tokens.keep_in(app.store());
    let mut watched = world.watched(&user, endpoint(DOVECOT.imap, Security::None));
    watched.login = login(&user, &tokens);
    let ingest = world.ingest_of(&app, watched);
    let running = app.service(|stop| ingest.run(stop)).start().await.unwrap();
    DOVECOT.save(&user, b"From: a@example.org\r\nSubject: hi\r\n\r\nbody\r\n");
    let seen = world
        .seen
        .until(|seen| !seen.mails.is_empty() && !seen.renewed.is_empty())
        .await;
    let renewed = &seen.renewed[0];
    assert_eq!((&*renewed.account, &renewed.error), ("help", &None));
    let left = renewed.expires_at.unwrap().duration_since(jiff::Timestamp::now());
    assert!(left.as_secs() > 3000, "{renewed:?}");
    let mut tx = world.store.read().await.unwrap();
    let kept = sign_ins::find(&mut tx, "help", &Origin::of(Some(&Secret::new("refresh-1")))).await;
    assert_eq!(kept.unwrap(), Some(Secret::new("refresh-2")));
    running.drain().await;
}

async fn a_refused_sign_in_pauses_the_account_and_says_so(on: On) {
    let user = format!("paused-{}@example.test", on.name());
    let world = World::new(on).await;
    let server = TokenServer::start(&user, vec![Grant::Refuse, GOOD], false).await;
    let tokens = tokens(&server);
    let app = world.app().await;
    tokens.keep_in(app.store());
    let mut watched = world.watched(&user, endpoint(DOVECOT.imap, Security::None));
    watched.login = login(&user, &tokens);
    let ingest = world.ingest_of(&app, watched);
    DOVECOT.save(&user, b"From: a@example.org\r\nSubject: hi\r\n\r\nbody\r\n");
    let running = app.service(|stop| ingest.run(stop)).start().await.unwrap();
    let seen = world.seen.until(|seen| !seen.paused.is_empty()).await;
    let paused = &seen.paused[0];
    assert_eq!((&*paused.account, paused.service), ("help", Service::Imap));
    assert!(paused.reason.contains("invalid_grant: it is over"), "{paused:?}");
    // Mended, and nothing was lost.
    let seen = world.seen.until(|seen| !seen.mails.is_empty()).await;
    assert_eq!(seen.paused.len(), 1, "told once");
    assert!(seen.renewed.iter().any(|renewed| renewed.error.is_some()));
    running.drain().await;
}
