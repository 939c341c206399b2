//! What an event tells of a mail's content: HTML that can be shown, and who vouches for its sender.

use postroom_workers::tls::Security;

use crate::ingest::{save, user};
use crate::servers::Script::{Hang, Hear, Say};
use crate::servers::Scripted;
use crate::world::{On, World, everywhere};
use crate::{DOVECOT, endpoint};

everywhere!(
    html_is_harmless_and_keeps_its_own_pictures,
    only_trusted_hosts_vouch_for_a_sender,
    a_mail_under_two_labels_is_one_mail,
);

async fn html_is_harmless_and_keeps_its_own_pictures(on: On) {
    const MAIL: &str = "From: a@example.org\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/related; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/html\r\n\r\n<p onclick=x()>Hi<script>x()</script> <img src=\"cid:logo@x\">\
        <img src=\"https://track.example/1.gif\"></p>\r\n\
        --b\r\nContent-Type: image/png; name=l.png\r\nContent-ID: <logo@x>\r\nContent-Disposition: inline\r\n\
        Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n";
    let bomb = format!(
        "From: a@example.org\r\nMessage-ID: <2@example.org>\r\nContent-Type: text/html\r\n\r\n{}",
        "<div>\r\n".repeat(1_000)
    );
    let plain = "From: a@example.org\r\nMessage-ID: <3@example.org>\r\n\r\n<b>no HTML</b>\r\n";
    let (world, user) = (World::new(on).await, user("html", on));
    save(&user, vec![MAIL.into(), bomb.into_bytes(), plain.into()]).await;
    let running = world.watching(&user).await;
    let seen = world.seen.until(|seen| seen.mails.len() >= 3).await;
    let mail = |uid| seen.mails.iter().find(|mail| mail.uid == uid).unwrap();
    let html = world.blobs.get(mail(1).html.as_ref().unwrap()).await.unwrap();
    assert_eq!(
        String::from_utf8(html).unwrap().trim_end(),
        "<p>Hi <img src=\"cid:logo@x\"><img></p>"
    );
    let picture = &mail(1).attachments[0];
    assert_eq!(picture.content_id.as_deref(), Some("logo@x"));
    let bytes = world.blobs.get(picture.blob.as_ref().unwrap()).await.unwrap();
    assert_eq!(bytes, b"hello");
    let withheld = mail(2).html_withheld.as_deref().unwrap();
    assert!(
        withheld.contains("nested") && mail(2).html.is_none(),
        "{withheld}"
    );
    assert_eq!((&mail(3).html, &mail(3).html_withheld), (&None, &None));
    running.drain().await;
}

async fn only_trusted_hosts_vouch_for_a_sender(on: On) {
    const MAIL: &str = "Authentication-Results: mx.shop.example; dkim=pass header.d=example.org;\r\n spf=fail\r\n\
        Received: from out.example.org by mx.shop.example\r\n\
        Authentication-Results: mx.shop.example; dmarc=pass\r\n\
        Authentication-Results: mx.evil.example; spf=pass\r\n\
        From: a@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nx\r\n";
    for (trusted, expect) in [
        (vec![], &[][..]),
        (vec!["MX.shop.example"], &["dkim=pass", "spf=fail"]),
    ] {
        let world = World::new(on).await;
        let user = user(&format!("vouched-{}", trusted.len()), on);
        save(&user, vec![MAIL.into()]).await;
        let app = world.app().await;
        let mut watched = world.watched(&user, endpoint(DOVECOT.imap, Security::None));
        watched.policy.authserv_ids = trusted.into_iter().map(str::to_owned).collect();
        let ingest = world.ingest_of(&app, watched);
        let running = app.service(|stop| ingest.run(stop)).start().await.unwrap();
        let seen = world.seen.until(|seen| !seen.mails.is_empty()).await;
        let found = seen.mails[0].authentication.iter();
        let found: Vec<String> = found.map(|it| format!("{}={}", it.method, it.result)).collect();
        assert_eq!(found, expect);
        running.drain().await;
    }
}

/// Two mailboxes of a server that speaks as Gmail does: each mail has the same name under every label.
async fn a_mail_under_two_labels_is_one_mail(on: On) {
    const MAIL: &str = "BODY[] {52}\r\nFrom: a@example.org\r\nMessage-ID: <1@example.org>\r\n\r\n)\r\n";
    let world = World::new(on).await;
    let login = [
        Say("* OK Gimap ready\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n% OK\r\n"),
        Hear("AUTHENTICATE PLAIN"),
        Say("+ \r\n"),
        Hear(""),
        Say("p2 OK\r\n"),
        Hear("CAPABILITY"),
        Say("* CAPABILITY IMAP4rev1 IDLE X-GM-EXT-1\r\n% OK\r\n"),
        Hear("SELECT"),
        Say("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 2] ok\r\n% OK\r\n"),
        Hear("UID SEARCH UID 1:*"),
        Say("* SEARCH 1\r\n% OK\r\n"),
        Hear("UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE X-GM-MSGID X-GM-THRID BODY.PEEK[])"),
    ];
    // Larger than any signed number of 64 bits.
    let head: &'static str =
        "* 1 FETCH (UID 1 X-GM-MSGID 18446744073709551615 X-GM-THRID 18446744073709551614 ";
    let answer: &'static str = format!("{head}{MAIL}% OK\r\n").leak();
    let mut servers = Vec::new();
    let mut app = world.app().await;
    for mailbox in ["INBOX", "[Gmail]/All Mail"] {
        let script = [&login[..], &[Say(answer), Hang]].concat();
        let server = Scripted::start(vec![script]).await;
        let mut watched = world.watched("u", endpoint(server.port, Security::None));
        mailbox.clone_into(&mut watched.mailbox);
        let ingest = world.ingest_of(&app, watched);
        app = app.service(|stop| ingest.run(stop));
        servers.push(server);
    }
    let running = app.start().await.unwrap();
    world.states_until(&[("carried", 1), ("published", 1)]).await;
    let seen = world.seen.until(|seen| !seen.mails.is_empty()).await;
    assert_eq!(seen.mails.len(), 1);
    assert_eq!(
        seen.mails[0].provider_thread.as_deref(),
        Some("18446744073709551614")
    );
    servers.iter().for_each(Scripted::stop);
    running.drain().await;
}
