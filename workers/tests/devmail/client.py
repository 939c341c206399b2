"""Python's own mail clients against the development mailbox. Usage: client.py IMAP_PORT SMTP_PORT"""

import imaplib
import smtplib
import sys
from email import message_from_bytes
from email.message import EmailMessage

imap_port, smtp_port = map(int, sys.argv[1:])


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


with smtplib.SMTP("127.0.0.1", smtp_port) as smtp:
    smtp.ehlo()
    assert smtp.has_extn("size") and smtp.has_extn("8bitmime") and smtp.has_extn("pipelining"), smtp.esmtp_features
    smtp.user, smtp.password = "alice", "s3cret"
    assert smtp.auth("LOGIN", smtp.auth_login)[0] == 235
    message = EmailMessage()
    message["From"] = "alice@example.test"
    message["To"] = "bob@example.test, erin@elsewhere.test"
    message["Subject"] = "Gr\u00fc\u00dfe"
    message["Message-ID"] = "<py@example.test>"
    message.set_content(".dot\n..dots\nend\n")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="a.pdf")
    assert smtp.send_message(message) == {}
    try:
        smtp.sendmail("alice@example.test", ["not-an-address"], b"Subject: x\r\n\r\nx\r\n")
        raise AssertionError("a recipient without a domain was taken")
    except smtplib.SMTPRecipientsRefused as refused:
        assert refused.recipients["not-an-address"][0] == 501, refused.recipients

try:
    imaplib.IMAP4("127.0.0.1", imap_port).login("bob", "wrong")
    raise AssertionError("the wrong password was taken")
except imaplib.IMAP4.error as refused:
    assert "AUTHENTICATIONFAILED" in str(refused), refused

with imaplib.IMAP4("127.0.0.1", imap_port) as imap:
    assert {"IMAP4REV1", "IDLE", "MOVE", "UIDPLUS"} <= set(imap.capabilities), imap.capabilities
    ok(imap.authenticate("PLAIN", lambda _: b"\0bob\0s3cret"))
    assert ok(imap.select("INBOX")) == [b"1"]
    assert imap.response("UIDVALIDITY")[1][0].isdigit()
    (found,) = ok(imap.uid("SEARCH", "SUBJECT", '"=?utf-8?"'))
    assert found == b"1", found
    ((_, raw), _) = ok(imap.uid("FETCH", "1", "(BODY.PEEK[])"))
    read = message_from_bytes(raw)
    assert read["Return-Path"] == "<alice@example.test>"
    assert read.get_payload(0).get_payload() == ".dot\r\n..dots\r\nend\r\n", read.get_payload(0).get_payload()
    structure = ok(imap.fetch("1", "(BODYSTRUCTURE ENVELOPE FLAGS)"))[0]
    assert b'"application" "pdf"' in structure.lower() and b"<py@example.test>" in structure, structure
    ((_, pdf), _) = ok(imap.fetch("1", "(BODY.PEEK[2])"))
    assert pdf.strip() == b"JVBERi0xLjQ=", pdf
    ok(imap.append("Sent", r"(\Seen)", imaplib.Time2Internaldate(1_700_000_000), b"Subject: kept\r\n\r\nkept\r\n"))
    assert ok(imap.status("Sent", "(MESSAGES UIDNEXT UNSEEN)")) == [b"Sent (MESSAGES 1 UIDNEXT 2 UNSEEN 0)"]
    ok(imap.select("Sent"))
    (date,) = ok(imap.fetch("1", "(INTERNALDATE)"))
    assert b"14-Nov-2023 22:13:20 +0000" in date, date
    ok(imap.store("1", "+FLAGS", r"\Deleted"))
    assert ok(imap.expunge()) == [b"1"]
    assert len(ok(imap.list())) == 3
    ok(imap.noop())
