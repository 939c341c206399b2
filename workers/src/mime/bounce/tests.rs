//! Reports in, bounces out.

use super::super::parse;
use crate::messages::{Bounce, BounceKind, Cause};

fn bounce(raw: &str) -> Option<Bounce> {
    parse(raw.replace('\n', "\r\n").as_bytes(), "0ff1ce")
        .unwrap()
        .bounce
}

/// Kind, the Message-ID of the original, and each address with its cause.
fn check(raw: &str, kind: BounceKind, message_id: Option<&str>, recipients: &[(&str, Cause)]) {
    let bounce = bounce(raw).unwrap_or_else(|| panic!("no bounce: {raw}"));
    let found: Vec<(&str, Cause)> = bounce.recipients.iter().map(|r| (&*r.address, r.cause)).collect();
    assert_eq!((bounce.kind, &*found), (kind, recipients), "{raw}");
    assert_eq!(bounce.message_id.as_deref(), message_id, "{raw}");
}

const HEAD: &str = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nTo: help@example.test\nSubject: Undelivered Mail\n\
    MIME-Version: 1.0\n";

/// A delivery report with these fields about the recipient.
fn report(fields: &str) -> String {
    format!(
        "{HEAD}Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\n\nI'm sorry.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n\
         {fields}\n\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <s1@example.test>\nTo: a@example.org\n\n--b--\n"
    )
}

#[test]
fn delivery_reports() {
    let failed = "Final-Recipient: rfc822; real@example.org\nOriginal-Recipient: rfc822;a@example.org\nAction: failed\n\
        Status: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1\n <real@example.org>: no such user";
    check(
        &report(failed),
        BounceKind::Failed,
        Some("s1@example.test"),
        &[("a@example.org", Cause::NoSuchAddress)],
    );
    let two = "Final-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.2.2\n\n\
        Final-Recipient: rfc822; b@example.org\nAction: delivered\nStatus: 2.0.0";
    check(
        &report(two),
        BounceKind::Failed,
        Some("s1@example.test"),
        &[("a@example.org", Cause::MailboxFull)],
    );
    let delayed = "Final-Recipient: rfc822; a@example.org\nAction: delayed (again)\nStatus: 4.4.1";
    check(
        &report(delayed),
        BounceKind::Delayed,
        Some("s1@example.test"),
        &[("a@example.org", Cause::Unreachable)],
    );
    let arrived = "Final-Recipient: rfc822; a@example.org\nAction: relayed\nStatus: 2.0.0";
    assert_eq!(bounce(&report(arrived)), None);
}

#[test]
fn complaints() {
    let raw = "From: fbl@example.org\nSubject: complaint\nMIME-Version: 1.0\n\
        Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
        --b\n\nSpam!\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\
        Original-Rcpt-To: <a@example.org>\n\n--b\nContent-Type: message/rfc822\n\n\
        Message-ID: <s1@example.test>\nTo: a@example.org\n\nhi\n--b--\n";
    check(
        raw,
        BounceKind::Complaint,
        Some("s1@example.test"),
        &[("a@example.org", Cause::Complaint)],
    );
}

#[test]
fn prose_of_mail_systems() {
    let qmail = format!(
        "{HEAD}\nHi. This is the qmail-send program.\nI'm afraid I wasn't able to deliver your message.\n\n\
         <a@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\n\
         Return-Path: <help@example.test>\nReceived: by x@relay.example.org\nMessage-ID: <s1@example.test>\nTo: a@example.org\n\nhi\n"
    );
    check(
        &qmail,
        BounceKind::Failed,
        Some("s1@example.test"),
        &[("a@example.org", Cause::NoSuchAddress)],
    );
    let exim = format!(
        "{HEAD}X-Failed-Recipients: a@example.org, b@example.org\n\nA message that you sent could not be delivered.\n"
    );
    check(
        &exim,
        BounceKind::Failed,
        None,
        &[
            ("a@example.org", Cause::Unclear),
            ("b@example.org", Cause::Unclear),
        ],
    );
    let delayed = format!("{HEAD}\nYour message to a@example.org has been delayed; we will keep trying.\n");
    check(
        &delayed,
        BounceKind::Delayed,
        None,
        &[("a@example.org", Cause::Unclear)],
    );
}

#[test]
fn people_and_machines_that_speak_of_no_failure() {
    for raw in [
        // Somebody asks about a bounce, or forwards one.
        "From: ada@example.org\nSubject: Re: Undelivered Mail Returned to Sender\n\nWhat does 550 5.1.1 user unknown mean?\n",
        "From: ada@example.org\nSubject: strange\n\nI got: <b@example.org>: 550 no such user. Could not be delivered?\n",
        // Away, and asking back.
        "Return-Path: <>\nFrom: ada@example.org\nSubject: Out of office\n\nI am on holiday; mail is not read. No such luck.\n",
        "Return-Path: <>\nFrom: ada@example.org\nSubject: please confirm\n\nClick the link or your mail will be rejected.\n",
        // A mail system that reports on itself.
        "From: postmaster@example.org\nSubject: Planned maintenance\n\nThe server will be down on Sunday.\n",
    ] {
        assert_eq!(bounce(raw), None, "{raw}");
    }
}

#[test]
fn a_report_names_no_more_addresses_than_are_told() {
    let fields: Vec<String> = (0..200)
        .map(|n| format!("Final-Recipient: rfc822; a{n}@example.org\nAction: failed\nStatus: 5.1.1"))
        .collect();
    let bounce = bounce(&report(&fields.join("\n\n"))).unwrap();
    assert_eq!(bounce.recipients.len(), super::super::MAX_LISTED);
}
