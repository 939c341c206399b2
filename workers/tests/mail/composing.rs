//! How a mail is made: by its template, with its files, signed; and that it is made once.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postroom_workers::messages::{Enclosure, Send, Templated};
use postroom_workers::send::Press;
use postroom_workers::send::dkim::Signer;
use postroom_workers::send::template::Templates;
use serde_json::json;

use crate::pipeline::{mailbox, send, takes_content, then};
use crate::servers::Script::{Close, Hear, Say};
use crate::servers::Scripted;
use crate::world::{On, World, everywhere, outbound, with_press};
use crate::{DOVECOT, POSTFIX};

everywhere!(
    a_mail_under_way_stays_what_it_is_when_its_template_and_key_change,
    what_a_template_or_a_file_lacks_is_named_in_the_dead_letter,
);

/// A key of the domain example.test, and the record that its server publishes.
struct DomainKey {
    path: PathBuf,
    record: String,
}

impl DomainKey {
    fn make(dir: &Path, name: &str, words: &[&str]) -> DomainKey {
        let path = dir.join(name);
        openssl(&[&words[..1], &["-out", path.to_str().unwrap()], &words[1..]].concat());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let der = openssl(&[
            "pkey",
            "-in",
            path.to_str().unwrap(),
            "-pubout",
            "-outform",
            "DER",
        ]);
        let record = match words.contains(&"ed25519") {
            // RFC 8463 section 4: the bare key, without the form around it.
            true => format!(
                "v=DKIM1; k=ed25519; p={}",
                STANDARD.encode(&der[der.len() - 32..])
            ),
            false => format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(der)),
        };
        DomainKey { path, record }
    }

    fn signer(&self, selector: &str) -> Signer {
        Signer::read("example.test", selector, &self.path).unwrap()
    }
}

fn openssl(words: &[&str]) -> Vec<u8> {
    let done = Command::new("openssl").args(words).output().unwrap();
    assert!(
        done.status.success(),
        "openssl {words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

/// What dkimpy says of each signature.
fn verified(mail: &str, records: &[String]) -> Vec<String> {
    // The interpreter that the package is for.
    let mut python = Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(include_str!("dkim_verify.py"))
        .args(records)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mail = mail.replace("\r\n", "\n").replace('\n', "\r\n");
    python.stdin.take().unwrap().write_all(mail.as_bytes()).unwrap();
    let done = python.wait_with_output().unwrap();
    assert!(
        done.status.success(),
        "python3-dkim and python3-nacl are needed: run scripts/test-setup"
    );
    String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A folder with one template.
fn templates(dir: &Path, text: &str) -> Templates {
    fs::write(dir.join("news.txt"), text).unwrap();
    fs::write(
        dir.join("news.html"),
        "<p>Dear {{ name }} <img src=\"cid:logo\"></p>",
    )
    .unwrap();
    fs::write(dir.join("news.subject"), "News for {{ name }}").unwrap();
    Templates::read(dir).unwrap()
}

fn news(id: &str, to: &str) -> Send {
    let data = json!({ "name": "Jos\u{e9} & <Ada>" });
    Send {
        text: String::new(),
        template: Some(Templated {
            name: "news".into(),
            data: data.as_object().unwrap().clone(),
        }),
        unsubscribe: Some("https://shop.example/unsubscribe?id=1".into()),
        ..send(id, to)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_hold_for_another_implementation_after_postfix_and_dovecot() {
    let world = World::new(On {
        postgres: false,
        nats_server: false,
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let rsa = DomainKey::make(dir.path(), "rsa.pem", &["genrsa", "2048"]);
    let pkcs1 = DomainKey::make(dir.path(), "old.pem", &["genrsa", "-traditional", "2048"]);
    let ed25519 = DomainKey::make(dir.path(), "ed.pem", &["genpkey", "-algorithm", "ed25519"]);
    let keys = [("rsa", &rsa), ("old", &pkcs1), ("ed", &ed25519)];
    let press = Press {
        templates: templates(dir.path(), "Dear {{ name }},\n\n  two  spaces \n\n\n"),
        signers: keys.iter().map(|(selector, key)| key.signer(selector)).collect(),
        ..Press::new(world.blobs.clone())
    };
    let running = with_press(world.app().await, outbound(POSTFIX.smtp), press)
        .start()
        .await
        .unwrap();
    let mut mail = news("signed", "signed@example.test");
    for (name, kind, content_id) in [
        ("a.pdf", "application/pdf", None),
        ("logo.png", "image/png", Some("logo")),
    ] {
        let blob = world.blobs.put(vec![7; 1_000]).await.unwrap();
        let (name, content_type) = (name.to_owned(), kind.to_owned());
        let content_id = content_id.map(str::to_owned);
        mail.attachments.push(Enclosure {
            name,
            content_type,
            blob,
            content_id,
        });
    }
    world.publish(&mail).await;
    let arrived = mailbox("signed@example.test", 1).await.remove(0);
    running.drain().await;

    let records = || keys.map(|(selector, key)| format!("{selector}={}", key.record));
    let holds = verified(&arrived, &records());
    assert_eq!(holds.len(), 3, "{holds:?}\n{arrived}");
    for line in &holds {
        assert!(line.starts_with("example.test True "), "{line}");
        for name in [
            "from",
            "subject",
            "list-unsubscribe",
            "list-unsubscribe-post",
            "content-type",
            "message-id",
        ] {
            assert!(
                line.split([' ', ':']).any(|covered| covered == name),
                "{name} is not covered: {line}"
            );
        }
    }
    forgeries_are_seen(&arrived, &records());
    let text = arrived.replace("\r\n", "\n");
    assert!(text.contains("Subject: News for =?utf-8?b?"), "{text}");
    assert!(
        text.contains("Dear Jos=C3=A9 &amp; &lt;Ada&gt;"),
        "only HTML is escaped: {text}"
    );
    assert!(text.contains("Dear Jos=C3=A9 & <Ada>,"), "{text}");
}

/// Whoever verifies a mail could say so of anything otherwise.
fn forgeries_are_seen(arrived: &str, records: &[String]) {
    for (from, to) in [
        ("https://shop.example/", "https://evil.example/"),
        ("List-Unsubscribe=One-Click", "List-Unsubscribe=No"),
        ("two  spaces", "three spaces"),
        ("\nSubject:", "\nSubject: Another\nSubject:"),
    ] {
        let forged = arrived.replacen(from, to, 1);
        assert_ne!(forged, arrived, "{from}");
        let holds = verified(&forged, records);
        assert!(
            holds.iter().all(|line| !line.contains("True")),
            "{from} → {to}: {holds:?}"
        );
    }
}

async fn a_mail_under_way_stays_what_it_is_when_its_template_and_key_change(on: On) {
    let world = World::new(on).await;
    let dir = tempfile::tempdir().unwrap();
    let taken = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let mut heard = Vec::new();
    for (text, script) in [
        ("first {{ name }}", then(takes_content(), &[Close])),
        ("second {{ name }}", taken),
    ] {
        // Each process has keys and templates of its own.
        let key = DomainKey::make(dir.path(), "key.pem", &["genpkey", "-algorithm", "ed25519"]);
        let press = Press {
            templates: templates(dir.path(), text),
            signers: [key.signer("s")].into_iter().collect(),
            ..Press::new(world.blobs.clone())
        };
        let relay = Scripted::start(vec![script]).await;
        let app = with_press(world.app().await, outbound(relay.port), press);
        let running = app.start().await.unwrap();
        if heard.is_empty() {
            world.publish(&news("once", "a@example.org")).await;
            heard = relay.heard().await;
        } else {
            let sent = world
                .seen
                .until(|seen| !seen.sent.is_empty())
                .await
                .sent
                .remove(0);
            assert!(sent.resent_after_unknown, "{sent:?}");
            running.drain().await;
            heard.extend(relay.heard().await);
            break;
        }
        running.drain().await;
    }
    let contents: Vec<String> = heard
        .into_iter()
        .filter(|line| line.contains("Message-ID"))
        .collect();
    assert_eq!(contents.len(), 2);
    assert_eq!(
        contents[0], contents[1],
        "the second copy is the first to the byte"
    );
    assert!(contents[0].contains("first Jos") && contents[0].contains("DKIM-Signature: v=1; a=ed25519"));
    const KEPT: &str = "SELECT COUNT(*) FROM outgoing_mails";
    let mut tx = world.store.read().await.unwrap();
    let kept: i64 =
        postroom::on_tx!(tx, connection => sqlx::query_scalar(KEPT).fetch_one(connection).await).unwrap();
    assert_eq!(kept, 0, "what was sent needs no keeping");
}

async fn what_a_template_or_a_file_lacks_is_named_in_the_dead_letter(on: On) {
    let world = World::new(on).await;
    let dir = tempfile::tempdir().unwrap();
    let press = Press {
        templates: templates(dir.path(), "Dear {{ name }}, your {{ order.number }}"),
        ..Press::new(world.blobs.clone())
    };
    let app = with_press(world.app().await, outbound(POSTFIX.smtp), press);
    let running = app.start().await.unwrap();
    world.publish(&news("hole", "a@example.test")).await;
    let blob = world.blobs.put(b"x".to_vec()).await.unwrap();
    let missing = Enclosure {
        name: "a.pdf".into(),
        content_type: "application/pdf".into(),
        blob: postroom_workers::messages::BlobRef {
            sha256: "0".repeat(64),
            ..blob
        },
        content_id: None,
    };
    let mail = Send {
        attachments: vec![missing],
        ..send("file", "a@example.test")
    };
    world.publish(&mail).await;
    let letters = world.dead_letters_until(|letters| letters.len() == 2).await;
    running.drain().await;
    let told = |class: &str, words: &[&str]| {
        let letter = letters.iter().find(|letter| letter.error_class == class);
        let error = &letter.unwrap_or_else(|| panic!("{class}: {letters:?}")).error;
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    told("template", &["news.txt", "line 1", "order"]);
    told(
        "attachment",
        &["attachments[0] (\"a.pdf\")", "is not in the store"],
    );
    assert_eq!(world.seen.now().sent.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_smuggles_a_second_mail_through_postfix() {
    const ENDS: [&str; 12] = [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\n.\r",
        "\r.\n",
        "\r\n.\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\r\n.\r\r\n",
    ];
    let world = World::new(On {
        postgres: false,
        nats_server: false,
    })
    .await;
    let running = world.sending(outbound(POSTFIX.smtp)).await;
    for (number, end) in ENDS.iter().enumerate() {
        let line = ["\r\n", "\n", "\r"][number % 3];
        let text = format!(
            "before{end}MAIL FROM:<evil@example.test>{line}RCPT TO:<smuggled@example.test>{line}DATA{line}evil{end}"
        );
        let mail = Send {
            html: Some(text.clone()),
            text,
            ..send(&format!("smuggle-{number}"), "honest@example.test")
        };
        world.publish(&mail).await;
    }
    world.seen.until(|seen| seen.sent.len() == ENDS.len()).await;
    // Sent after them, and it comes to the mailbox that nothing else may have come to.
    world.publish(&send("last", "smuggled@example.test")).await;
    let honest = mailbox("honest@example.test", ENDS.len()).await;
    let smuggled = mailbox("smuggled@example.test", 1).await;
    running.drain().await;
    assert_eq!((honest.len(), smuggled.len()), (ENDS.len(), 1));
    assert!(smuggled[0].contains("Message-ID: <last@example.test>"));
    assert!(DOVECOT.mails("smuggled@example.test").len() == 1);
}
