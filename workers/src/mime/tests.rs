//! Whole mails in, summaries out.

use super::*;

fn summary(raw: &str) -> Summary {
    parse(raw.as_bytes(), "0ff1ce").unwrap()
}

fn unreadable(raw: &[u8]) -> Unreadable {
    parse(raw, "0ff1ce").unwrap_err()
}

const PLAIN: &str = "From: Ada Lovelace <ada@example.org>\r\nTo: help@example.test, \"B, C\" <b@example.test>\r\n\
    Subject: =?utf-8?Q?Caf=C3=A9?= hours\r\nDate: Tue, 3 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@example.org>\r\n\
    In-Reply-To: <0@example.test>\r\nReferences: <r@example.test>\r\n <0@example.test>\r\n\r\nHello,\r\nwhen?\r\n";

#[test]
fn a_plain_mail() {
    let mail = summary(PLAIN);
    assert_eq!(mail.message_id, "1@example.org");
    assert_eq!(mail.from.unwrap().to_string(), "Ada Lovelace <ada@example.org>");
    assert_eq!(mail.to.len(), 2);
    assert_eq!(mail.to[1].name.as_deref(), Some("B, C"));
    assert_eq!(mail.subject, "Café hours");
    assert_eq!(mail.date.unwrap().to_string(), "2026-11-03T09:00:00Z");
    assert_eq!(mail.in_reply_to.as_deref(), Some("0@example.test"));
    assert_eq!(mail.references, ["r@example.test", "0@example.test"]);
    assert_eq!(mail.text, "Hello,\nwhen?");
    assert!(!mail.text_truncated);
    assert_eq!(mail.automatic, None);
}

#[test]
fn html_only_and_an_attachment() {
    let mail = summary(
        "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello <b>you</b></p>\r\n\
         --b\r\nContent-Type: application/PDF; name=\"x.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"x.pdf\"\r\n\r\naGVsbG8=\r\n--b--\r\n",
    );
    assert_eq!(mail.text.trim(), "Hello you");
    assert_eq!(mail.message_id, "0ff1ce@content.invalid");
    let expected = Attachment {
        content_id: None,
        name: Some("x.pdf".into()),
        content_type: "application/pdf".into(),
        size: 5,
        blob: None,
    };
    assert_eq!(mail.attachments, [expected]);
}

#[test]
fn no_machine_answers_these() {
    let check = |header: &str, expect: Option<Automatic>| {
        let from = if header.contains("From:") {
            ""
        } else {
            "From: a@example.org\r\n"
        };
        assert_eq!(
            summary(&format!("{from}{header}\r\n\r\nx\r\n")).automatic,
            expect,
            "{header:?}"
        );
    };
    check("Subject: hi", None);
    check("Auto-Submitted: no", None);
    check(
        "Auto-Submitted: auto-replied (vacation)",
        Some(Automatic::AutoSubmitted),
    );
    check(
        "Auto-Submitted: auto-generated; x=y",
        Some(Automatic::AutoSubmitted),
    );
    check("Return-Path: <>", Some(Automatic::NullSender));
    check("Return-Path: <a@example.org>", None);
    check("List-Id: x <x.example.org>", Some(Automatic::List));
    check("Precedence: bulk", Some(Automatic::Bulk));
    check("Precedence: first-class", None);
    check("X-Auto-Response-Suppress: DR, OOF", Some(Automatic::AutoReply));
    check("X-Auto-Response-Suppress: DR", None);
    check(
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x",
        Some(Automatic::Bounce),
    );
    check(
        "Content-Type: multipart/report; report-type=feedback-report; boundary=x",
        Some(Automatic::Complaint),
    );
    check("From: no-reply@example.org", Some(Automatic::NoReply));
    check("From: MAILER-DAEMON@example.org", Some(Automatic::NoReply));
    check("From: owner-list@example.org", Some(Automatic::NoReply));
    check(
        "From: noreply@example.org\r\nReply-To: real@example.org",
        Some(Automatic::NoReply),
    );
    check("From: root", Some(Automatic::NoSender));
    check("From: <>", Some(Automatic::NoSender));
    check("From: reply@example.org", None);
}

#[test]
fn each_cap_has_its_own_name() {
    assert_eq!(unreadable(b""), Unreadable::NoHeader);
    let header = format!("Subject: {}\r\n\r\nx", "x".repeat(MAX_HEADER_BYTES));
    assert!(matches!(
        unreadable(header.as_bytes()),
        Unreadable::HeaderTooLarge(_)
    ));

    let mut parts = String::from("From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
    parts.push_str(&"--b\r\n\r\nx\r\n".repeat(MAX_PARTS + 5));
    assert!(matches!(
        unreadable(parts.as_bytes()),
        Unreadable::TooManyParts(_)
    ));

    let nested =
        |levels: usize| "Content-Type: message/rfc822\r\n\r\n".repeat(levels) + "Subject: x\r\n\r\nx\r\n";
    assert!(matches!(
        unreadable(nested(MAX_NESTING + 1).as_bytes()),
        Unreadable::TooDeep(_)
    ));
    assert!(parse(nested(MAX_NESTING - 1).as_bytes(), "0").is_ok());

    let mut multiparts = String::from("From: a@example.org\r\n");
    for level in 0..=MAX_NESTING {
        multiparts.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"
        ));
    }
    multiparts.push_str("\r\nx\r\n");
    for level in (0..=MAX_NESTING).rev() {
        multiparts.push_str(&format!("--b{level}--\r\n"));
    }
    assert!(matches!(
        unreadable(multiparts.as_bytes()),
        Unreadable::TooDeep(_)
    ));
}

#[test]
fn nesting_bombs_never_reach_the_stack() {
    // Just under the cap on fields: the parser nests this deep, and its data must still be droppable.
    let at_cap = "Content-Type: message/rfc822\r\n\r\n".repeat(MAX_PARTS - 1) + "Subject: x\r\n\r\nx";
    assert!(matches!(unreadable(at_cap.as_bytes()), Unreadable::TooDeep(_)));
    let bomb = "Content-Type: message/rfc822\n\n".repeat(200_000);
    assert!(matches!(unreadable(bomb.as_bytes()), Unreadable::TooManyParts(_)));
    // The same inside base64, where no cap could see it: the part stays closed.
    use base64::Engine as _;
    let hidden = base64::engine::general_purpose::STANDARD.encode(&bomb);
    let mail = summary(&format!(
        "From: a@example.org\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{hidden}"
    ));
    assert_eq!(mail.attachments.len(), 1);
}

#[test]
fn strings_never_carry_nul_or_line_ends() {
    let mail = summary(
        "From: =?utf-8?Q?Bob=0D=0ABcc:_x@y=00?= <bob@example.org>\r\nSubject: =?utf-8?Q?a=0D=0Ab=00?=\r\n\r\na\0b",
    );
    let name = mail.from.unwrap().name.unwrap();
    for text in [name.as_str(), &mail.subject, &mail.text] {
        assert!(!text.contains(['\0', '\r', '\n']), "{text:?}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    // Every prefix of a mail, and every mail with one byte changed.
    let raw = PLAIN.as_bytes();
    for end in 0..raw.len() {
        let _ = parse(&raw[..end], "0");
        for byte in [0, b'\n', b'<', b'=', 0xff] {
            let mut changed = raw.to_vec();
            changed[end] = byte;
            let _ = parse(&changed, "0");
        }
    }
}

#[test]
fn no_mail_makes_an_event_that_is_too_large_for_the_broker() {
    /// What a NATS server takes by default.
    const MAX_PAYLOAD: usize = 1024 * 1024;
    let quotes = "\\\"".repeat(150);
    let people: String = (0..120)
        .map(|n| format!(" \"{quotes}\" <{}{n}@example.org>,\r\n", "é".repeat(100)))
        .collect();
    let ids: String = (0..120)
        .map(|n| format!(" <{n}{}@x>\r\n", "\"".repeat(480)))
        .collect();
    let parts: String = (0..120)
        .map(|_| format!("--b\r\nContent-Disposition: attachment; filename=\"{quotes}\"\r\n\r\nx\r\n"))
        .collect();
    let header = format!("From: a@x.org\r\nReply-To:{people}To:{people}Cc:{people}Subject: {quotes}\r\n");
    let text = "\"\\\u{2028}".repeat(MAX_TEXT_BYTES);
    let mail = summary(&format!(
        "{header}References:\r\n{ids}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{text}\r\n{parts}--b--\r\n"
    ));
    assert_eq!(
        (mail.to.len(), mail.cc.len(), mail.attachments.len()),
        (MAX_LISTED, MAX_LISTED, MAX_LISTED)
    );
    assert!(mail.references.len() > 10 && mail.text_truncated);
    let size = [
        serde_json::to_vec(&(&mail.reply_to, &mail.to, &mail.cc)),
        serde_json::to_vec(&(&mail.references, &mail.in_reply_to, &mail.message_id)),
        serde_json::to_vec(&(&mail.text, &mail.subject, &mail.attachments)),
    ]
    .map(|json| json.unwrap().len())
    .iter()
    .sum::<usize>();
    assert!(size < MAX_PAYLOAD * 3 / 4, "{size}");
}
