//! What an event tells of a mail's content: HTML that can be shown, and who vouches for its sender.

use postroom_workers::tls::Security;

use crate::ingest::{save, user};
use crate::world::{On, World, everywhere};
use crate::{DOVECOT, endpoint};

everywhere!(
    html_is_harmless_and_keeps_its_own_pictures,
    only_trusted_hosts_vouch_for_a_sender,
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
