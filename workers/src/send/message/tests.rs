//! What becomes of payloads, good and evil.

use super::*;
use crate::messages::{BlobRef, Enclosure, Mailbox};

fn build(send: &Send) -> Result<Outgoing, MessageError> {
    super::build(send, &Content::of(send), &[])
}

fn send() -> Send {
    Send {
        id: "k".into(),
        account: "help".into(),
        from: Mailbox {
            name: Some("Help, Desk".into()),
            address: "help@example.test".into(),
        },
        to: Mailbox::bare("ada@example.org"),
        subject: "Re: Café".into(),
        text: "Hello\n.\nBye\r\n".into(),
        html: None,
        template: None,
        attachments: vec![],
        unsubscribe: None,
        in_reply_to: Some("1@example.org".into()),
        references: vec!["0@example.org".into(), "1@example.org".into()],
        message_id: "m@example.test".into(),
        date: "2026-11-03T09:00:00Z".parse().unwrap(),
        send_at: None,
        auto_submitted: true,
    }
}

#[test]
fn the_whole_mail() {
    let mail = build(&send()).unwrap();
    assert_eq!(mail.sender, None);
    assert_eq!(mail.recipient.to_string(), "ada@example.org");
    let text = String::from_utf8(mail.bytes.clone()).unwrap();
    for line in [
        "From: =?utf-8?b?SGVscCwgRGVzaw==?= <help@example.test>\r\n",
        "To: ada@example.org\r\n",
        "Date: Tue, 03 Nov 2026 09:00:00 +0000\r\n",
        "Message-ID: <m@example.test>\r\n",
        "In-Reply-To: <1@example.org>\r\n",
        "References: <0@example.org> <1@example.org>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "\r\n\r\nHello\r\n.\r\nBye\r\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(mail.bytes.is_ascii());
    assert_eq!(build(&send()).unwrap(), mail, "the same payload, the same bytes");
}

#[test]
fn html_stands_beside_the_text() {
    let newsletter = Send {
        html: Some("<p>Caf\u{e9} <b>opens</b></p>\n.\n".into()),
        unsubscribe: Some("https://shop.example/u?id=1".into()),
        auto_submitted: false,
        ..send()
    };
    let mail = build(&newsletter).unwrap();
    assert_eq!(
        build(&newsletter).unwrap(),
        mail,
        "the same payload, the same bytes"
    );
    let text = String::from_utf8(mail.bytes.clone()).unwrap();
    assert!(
        text.contains("List-Unsubscribe: <https://shop.example/u?id=1>\r\n"),
        "{text}"
    );
    assert!(
        text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
        "{text}"
    );
    let parsed = mail_parser::MessageParser::default().parse(&mail.bytes).unwrap();
    assert_eq!(parsed.body_text(0).unwrap(), "Hello\r\n.\r\nBye\r\n");
    assert_eq!(
        parsed.body_html(0).unwrap().trim_end(),
        "<p>Caf\u{e9} <b>opens</b></p>\r\n."
    );
    let other = build(&Send {
        html: Some("<p>other</p>".into()),
        ..send()
    });
    let boundary = |mail: &Outgoing| {
        let text = String::from_utf8(mail.bytes.clone()).unwrap();
        text.split_once("boundary=\"").unwrap().1[..34].to_owned()
    };
    assert_ne!(boundary(&mail), boundary(&other.unwrap()));
}

#[test]
fn unsubscribing_takes_an_https_url() {
    for url in [
        "http://shop.example/u",
        "mailto:a@b",
        "https://",
        "https://a b/",
        "https://a/>,<x",
        "",
    ] {
        let wrong = Send {
            unsubscribe: Some(url.into()),
            ..send()
        };
        let field = "unsubscribe";
        assert_eq!(
            build(&wrong),
            Err(MessageError::BadUrl {
                field,
                url: url.into()
            }),
            "{url:?}"
        );
    }
}

#[test]
fn the_subject_survives_the_way_through_a_parser() {
    for subject in [
        "plain",
        "Café ☕ and a very long subject that has to be folded somewhere "
            .repeat(8)
            .trim(),
        "",
    ] {
        let mail = build(&Send {
            subject: subject.to_owned(),
            ..send()
        })
        .unwrap();
        let back = crate::mime::parse(&mail.bytes, "0").unwrap();
        let expect: String = subject.chars().take(500).collect();
        assert_eq!(back.subject, expect.trim());
    }
}

#[test]
fn any_text_survives_and_no_line_end_stands_alone() {
    for text in [
        "a\rb\nc\r\nd",
        "\n.\n",
        "..\r.\r\n",
        "é\0\u{7f}",
        &"long ".repeat(500),
        "",
        "x\n\n\n",
    ] {
        let mail = build(&Send {
            text: text.to_owned(),
            ..send()
        })
        .unwrap();
        let bare_cr = mail.bytes.windows(2).any(|w| w[0] == b'\r' && w[1] != b'\n');
        let bare_lf = mail.bytes.windows(2).any(|w| w[0] != b'\r' && w[1] == b'\n');
        assert!(!bare_cr && !bare_lf && mail.bytes.ends_with(b"\r\n"), "{text:?}");
        assert!(
            mail.bytes
                .split(|&b| b == b'\n')
                .all(|line| line.len() <= MAX_LINE),
            "{text:?}"
        );
    }
}

#[test]
fn nothing_can_be_injected() {
    let check = |field: &'static str, change: &dyn Fn(&mut Send, &str)| {
        for evil in ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b"] {
            let mut send = send();
            change(&mut send, evil);
            assert_eq!(
                build(&send),
                Err(MessageError::ControlCharacter { field }),
                "{field} {evil:?}"
            );
        }
    };
    check("from", &|s, evil| s.from.name = Some(evil.into()));
    check("from", &|s, evil| s.from.address = format!("{evil}@example.org"));
    check("to", &|s, evil| s.to.name = Some(evil.into()));
    check("to", &|s, evil| s.to.address = format!("\"{evil}\"@example.org"));
    check("subject", &|s, evil| s.subject = evil.into());
    check("message_id", &|s, evil| s.message_id = evil.into());
    check("in_reply_to", &|s, evil| s.in_reply_to = Some(evil.into()));
    check("references", &|s, evil| s.references.push(evil.into()));
    check("unsubscribe", &|s, evil| {
        s.unsubscribe = Some(format!("https://{evil}"));
    });
}

#[test]
fn what_is_no_id_address_or_date_is_named() {
    let check = |change: &dyn Fn(&mut Send)| {
        let mut send = send();
        change(&mut send);
        build(&send).unwrap_err()
    };
    assert!(matches!(
        check(&|s| s.message_id = "a> <b".into()),
        MessageError::BadId { .. }
    ));
    assert!(matches!(
        check(&|s| s.message_id = "é@x".into()),
        MessageError::BadId { .. }
    ));
    assert!(matches!(
        check(&|s| s.to.address = "nobody".into()),
        MessageError::BadAddress { .. }
    ));
    assert!(matches!(
        check(&|s| s.date = Timestamp::MIN),
        MessageError::BadDate(_)
    ));
    assert!(matches!(
        check(&|s| s.date = Timestamp::MAX),
        MessageError::BadDate(_)
    ));
}

fn file(name: &str, content_type: &str, content_id: Option<&str>) -> Enclosure {
    Enclosure {
        name: name.into(),
        content_type: content_type.into(),
        blob: BlobRef {
            sha256: String::new(),
            size: 0,
        },
        content_id: content_id.map(str::to_owned),
    }
}

#[test]
fn files_and_pictures_stand_where_clients_look_for_them() {
    let mail = Send {
        html: Some("<img src=\"cid:logo@example.test\">".into()),
        attachments: vec![
            file("Rechnung Österreich \"1\".pdf", "application/pdf", None),
            file("logo.png", "image/png", Some("logo@example.test")),
        ],
        ..send()
    };
    let files = [b"%PDF \n.\n\0\xff".repeat(100), b"\x89PNG".to_vec()];
    let built = super::build(&mail, &Content::of(&mail), &files).unwrap();
    assert_eq!(
        super::build(&mail, &Content::of(&mail), &files),
        Ok(built.clone())
    );
    let parsed = mail_parser::MessageParser::default().parse(&built.bytes).unwrap();
    use mail_parser::MimeHeaders;
    let kinds: Vec<String> = parsed
        .parts
        .iter()
        .map(|part| {
            let kind = part.content_type().unwrap();
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap())
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "multipart/mixed",
            "multipart/related",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "image/png",
            "application/pdf"
        ]
    );
    let part = |kind: &str| &parsed.parts[kinds.iter().position(|found| found == kind).unwrap()];
    assert_eq!(part("image/png").content_id(), Some("logo@example.test"));
    assert_eq!(part("image/png").contents(), b"\x89PNG");
    assert_eq!(
        part("application/pdf").attachment_name(),
        Some("Rechnung Österreich \"1\".pdf")
    );
    assert_eq!(part("application/pdf").contents(), files[0]);
}

#[test]
fn nothing_can_be_injected_by_a_file() {
    let check = |file: Enclosure, words: &[&str]| {
        let mail = Send {
            html: Some("x".into()),
            attachments: vec![file],
            ..send()
        };
        let error = super::build(&mail, &Content::of(&mail), &[vec![]])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("attachments[0]: "), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    for evil in ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b"] {
        check(file(evil, "text/plain", None), &["name contains a line end"]);
        check(
            file("a", &format!("text/{evil}"), None),
            &["content_type contains a line end"],
        );
        check(
            file("a", "image/png", Some(evil)),
            &["content_id contains a line end"],
        );
    }
    for kind in [
        "pdf",
        "",
        "/",
        "a/b; name=x",
        "multipart/mixed",
        "Message/rfc822",
        "text/plain ",
    ] {
        check(file("a", kind, None), &["content_type", "application/pdf"]);
    }
    check(
        file("a", "image/png", Some("a> <b")),
        &["content_id is not a message id"],
    );
    let plain = Send {
        attachments: vec![file("a", "image/png", Some("logo"))],
        ..send()
    };
    let error = super::build(&plain, &Content::of(&plain), &[vec![]]).unwrap_err();
    assert!(error.to_string().contains("the mail has no html"), "{error}");
}

#[test]
fn a_mail_that_no_relay_would_take_is_refused_before_it_is_sent() {
    let mail = |size: usize| {
        let mail = Send {
            attachments: vec![file("a", "text/plain", None)],
            ..send()
        };
        super::build(&mail, &Content::of(&mail), &[vec![b'a'; size]])
    };
    // 57 bytes are a line of 76 characters and its end.
    let fits = (MAX_MAIL - 2_000) / 78 * 57;
    assert!(mail(fits).is_ok());
    assert!(matches!(mail(fits + 57 * 50), Err(MessageError::TooLarge(_))));
}

/// Ways to end a mail early that one server or another has fallen for.
const SMUGGLING: [&str; 12] = [
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

#[test]
fn no_text_can_end_a_mail_early() {
    for end in SMUGGLING {
        let text =
            format!("before{end}MAIL FROM:<evil@example.org>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\nevil");
        let mail = Send {
            html: Some(text.clone()),
            text: text.clone(),
            attachments: vec![file("a", "text/plain", None)],
            ..send()
        };
        let bytes = super::build(&mail, &Content::of(&mail), &[text.into_bytes()])
            .unwrap()
            .bytes;
        for at in 0..bytes.len() {
            let alone = match bytes[at] {
                b'\r' => bytes.get(at + 1) != Some(&b'\n'),
                b'\n' => at == 0 || bytes[at - 1] != b'\r',
                byte => byte == 0,
            };
            assert!(!alone, "{end:?}: byte {} at {at} stands alone", bytes[at]);
        }
    }
}
