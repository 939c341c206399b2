//! The mails of the demo: one of every awkward kind, each with what must become of it.
//!
//! Most are files under `mails/`, to be read there as they are; the big, the long and the hostile ones are built here.
//! They are always the same bytes, so that runs can be compared.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::devmail::{Fault, FaultError};
use crate::messages::Automatic;

/// The address that all of them were sent to.
pub const ADDRESS: &str = "help@shop.example";

/// What the SMTP server must be armed with, for the answers to end as [`Fate`] says.
const FAULTS: [&str; 2] = [
    "rcpt gone@closed.example 550 5.1.1 No such user here",
    "rcpt busy@greylist.example 451 4.7.1 Greylisted, please try again later, 2 times",
];

/// What must become of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Announced as `inbox.new`, and answered once.
    Answered,
    /// Announced; the answer is refused twice with 4xx, then taken.
    AnsweredLate,
    /// Announced; the answer is refused with 5xx and becomes a dead letter.
    AnswerRefused,
    /// Announced, and left unanswered: a machine sent it, or there is nobody to answer to.
    Unanswered(Automatic),
    /// Announced, and left unanswered: we wrote it ourselves.
    Own,
    /// The same mail as an earlier one; the second copy is suppressed.
    Duplicate,
    /// A dead letter: no parser can or should read it.
    Unreadable,
}

/// One mail of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoMail {
    pub name: &'static str,
    pub raw: Cow<'static, [u8]>,
    pub fate: Fate,
}

/// All mails, in the order of delivery.
pub fn corpus() -> Vec<DemoMail> {
    let mut mails: Vec<DemoMail> = FILES
        .iter()
        .map(|(name, raw, fate)| mail(name, *raw, *fate))
        .collect();
    mails.push(mail("long-line", long_line(), Fate::Answered));
    mails.push(mail("big-attachment", big_attachment(), Fate::Answered));
    mails.push(mail("plain-again", PLAIN, Fate::Duplicate));
    mails.push(mail("empty", &b""[..], Fate::Unreadable));
    mails.push(mail("mime-bomb", mime_bomb(), Fate::Unreadable));
    mails
}

/// The faults that go with the corpus.
pub fn faults() -> Result<Vec<Fault>, FaultError> {
    FAULTS.iter().map(|fault| fault.parse()).collect()
}

/// `n` ordinary mails from as many senders, each to be answered once; for load.
pub fn many(n: usize) -> impl Iterator<Item = DemoMail> {
    (1..=n).map(|number| {
        let order = 100_000 + number;
        let raw = format!(
            "From: Customer {number} <customer-{number}@load.example>\r\n\
             To: Shop Help <{ADDRESS}>\r\n\
             Date: Mon, 23 Nov 2026 {:02}:{:02}:{:02} +0000\r\n\
             Message-ID: <load-{number}@load.example>\r\n\
             Subject: Question {number} about order {order}\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n\
             Hello,\r\n\r\nwhere is order {order}?\r\n{}\r\nCustomer {number}\r\n",
            number / 3600 % 24,
            number / 60 % 60,
            number % 60,
            // Mails differ in length, up to some 8 KB.
            "It was to be here last week.\r\n".repeat(number * 7 % 256),
        );
        mail("load", raw.into_bytes(), Fate::Answered)
    })
}

fn mail(name: &'static str, raw: impl Into<Cow<'static, [u8]>>, fate: Fate) -> DemoMail {
    DemoMail {
        name,
        raw: raw.into(),
        fate,
    }
}

const PLAIN: &[u8] = include_bytes!("mails/plain.eml");

macro_rules! files {
    ($($name:literal => $fate:expr,)+) => {
        &[$(($name, include_bytes!(concat!("mails/", $name, ".eml")), $fate),)+]
    };
}

const FILES: &[(&str, &[u8], Fate)] = files! {
    "plain" => Fate::Answered,
    "html-only" => Fate::Answered,
    "alternative" => Fate::Answered,
    "attachment-pdf" => Fate::Answered,
    "inline-image" => Fate::Answered,
    "forwarded" => Fate::Answered,
    "iso-2022-jp" => Fate::Answered,
    "windows-1251" => Fate::Answered,
    "koi8-r" => Fate::Answered,
    "gb18030" => Fate::Answered,
    "raw-8bit-header" => Fate::Answered,
    "utf-7" => Fate::Answered,
    "encoded-words" => Fate::Answered,
    "folded-headers" => Fate::Answered,
    "format-flowed" => Fate::Answered,
    "thread-1" => Fate::Answered,
    "thread-2" => Fate::Answered,
    "thread-3" => Fate::Answered,
    "reply-to" => Fate::Answered,
    "no-message-id" => Fate::Answered,
    "no-date" => Fate::Answered,
    "empty-subject" => Fate::Answered,
    "emoji-rtl" => Fate::Answered,
    "lf-only" => Fate::Answered,
    "dkim-signed" => Fate::Answered,
    "pgp-signed" => Fate::Answered,
    "smime" => Fate::Answered,
    "calendar-invite" => Fate::Answered,
    "broken-mime" => Fate::Answered,
    "mailing-list" => Fate::Unanswered(Automatic::List),
    "out-of-office" => Fate::Unanswered(Automatic::AutoSubmitted),
    "outlook-oof" => Fate::Unanswered(Automatic::AutoReply),
    "bounce" => Fate::Unanswered(Automatic::Bounce),
    "abuse-report" => Fate::Unanswered(Automatic::Complaint),
    "newsletter" => Fate::Unanswered(Automatic::List),
    "bulk" => Fate::Unanswered(Automatic::Bulk),
    "read-receipt" => Fate::Unanswered(Automatic::AutoReply),
    "no-from" => Fate::Unanswered(Automatic::NoSender),
    "no-reply" => Fate::Unanswered(Automatic::NoReply),
    "null-sender" => Fate::Unanswered(Automatic::NullSender),
    "from-ourselves" => Fate::Own,
    "refused-sender" => Fate::AnswerRefused,
    "greylisted-sender" => Fate::AnsweredLate,
};

fn header(sender: &str, id: &str, subject: &str) -> String {
    format!(
        "From: {sender}\r\nTo: Shop Help <{ADDRESS}>\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\
         Message-ID: <{id}@mail.example>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
    )
}

/// Forty times what RFC 5322 allows on a line; old web forms send such mail.
fn long_line() -> Vec<u8> {
    let mut raw = header(
        "Jana Kolb <jana@form.example>",
        "long-line.0044",
        "All on one line",
    );
    raw.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\nMy list: ");
    raw.push_str(&"a kettle, ".repeat(4_000));
    raw.push_str("and that is all.\r\n");
    raw.into_bytes()
}

/// A photo of 2 MB, which base64 makes 2.7.
fn big_attachment() -> Vec<u8> {
    const BYTES: usize = 2 * 1024 * 1024;
    let mut state = 0x2026_1123_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // Xorshift: incompressible, and the same each time.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    })
    .take(BYTES / 4)
    .flatten()
    .collect();
    let mut raw = header(
        "Karl Lenz <karl@mail.example>",
        "big-attachment.0045",
        "The photo you asked for",
    );
    raw.push_str("Content-Type: multipart/mixed; boundary=big\r\n\r\n--big\r\nContent-Type: text/plain; charset=utf-8\r\n");
    raw.push_str(
        "\r\nHere it is. Can you see the crack?\r\n--big\r\nContent-Type: image/jpeg; name=crack.jpg\r\n",
    );
    raw.push_str(
        "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=crack.jpg\r\n\r\n",
    );
    // 57 bytes make a line of 76 characters.
    for line in noise.chunks(57) {
        STANDARD.encode_string(line, &mut raw);
        raw.push_str("\r\n");
    }
    raw.push_str("--big--\r\n");
    raw.into_bytes()
}

/// Multiparts in multiparts, 1,100 deep: no honest mail has as many parts.
fn mime_bomb() -> Vec<u8> {
    const DEPTH: usize = 1_100;
    let mut raw = header("Loki <loki@mail.example>", "mime-bomb.0048", "Open me");
    for depth in 0..DEPTH {
        raw.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n"
        ));
    }
    raw.push_str("Content-Type: text/plain\r\n\r\nboom\r\n");
    for depth in (0..DEPTH).rev() {
        raw.push_str(&format!("--b{depth}--\r\n"));
    }
    raw.into_bytes()
}

#[cfg(test)]
#[path = "corpus_tests.rs"]
mod tests;
