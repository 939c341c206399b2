//! Which mails no machine may answer (RFC 3834 section 2, and the marks that vendors use).

use mail_parser::{Message, MimeHeaders};

use super::header::Fields;
use crate::messages::{Automatic, Mailbox};

/// Local parts that say that nobody reads the mailbox, compared without punctuation.
const UNREAD: [&str; 6] = [
    "noreply",
    "donotreply",
    "mailerdaemon",
    "doublebounce",
    "devnull",
    "noresponse",
];

/// The first reason found, the most telling ones first.
pub(super) fn classify(
    fields: &Fields,
    message: &Message<'_>,
    from: Option<&Mailbox>,
    reply_to: &[Mailbox],
) -> Option<Automatic> {
    if let Some(report) = report(message) {
        return Some(report);
    }
    if fields.first("return-path") == Some("<>") {
        return Some(Automatic::NullSender);
    }
    if fields
        .first("auto-submitted")
        .is_some_and(|value| !first_word(value).eq_ignore_ascii_case("no"))
    {
        return Some(Automatic::AutoSubmitted);
    }
    if is_vendor_reply(fields) {
        return Some(Automatic::AutoReply);
    }
    if LIST_FIELDS.iter().any(|name| fields.has(name)) {
        return Some(Automatic::List);
    }
    match fields
        .first("precedence")
        .map(|value| first_word(value).to_ascii_lowercase())
        .as_deref()
    {
        Some("bulk" | "junk" | "list") => return Some(Automatic::Bulk),
        Some("auto_reply") => return Some(Automatic::AutoReply),
        _ => {}
    }
    let Some(answer_to) = reply_to.first().or(from) else {
        return Some(Automatic::NoSender);
    };
    let unread = [Some(answer_to), from].into_iter().flatten().any(is_unread);
    unread.then_some(Automatic::NoReply)
}

/// RFC 2919 and 2369, and the two that came before them.
const LIST_FIELDS: [&str; 6] = [
    "list-id",
    "list-post",
    "list-unsubscribe",
    "list-help",
    "mailing-list",
    "x-mailing-list",
];

fn report(message: &Message<'_>) -> Option<Automatic> {
    let content_type = message.content_type()?;
    let is_report = content_type.ctype().eq_ignore_ascii_case("multipart")
        && content_type
            .subtype()
            .is_some_and(|s| s.eq_ignore_ascii_case("report"));
    if !is_report {
        return None;
    }
    match content_type
        .attribute("report-type")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("feedback-report") => Some(Automatic::Complaint),
        Some("disposition-notification") => Some(Automatic::AutoReply),
        _ => Some(Automatic::Bounce),
    }
}

fn is_vendor_reply(fields: &Fields) -> bool {
    // Exchange names the kinds of answer it wants suppressed; delivery reports alone don't concern us.
    let suppressed = fields.first("x-auto-response-suppress").is_some_and(|value| {
        value
            .split(',')
            .any(|kind| ["all", "oof", "autoreply"].contains(&kind.trim().to_ascii_lowercase().as_str()))
    });
    let loops = [
        "x-autoreply",
        "x-autorespond",
        "x-auto-reply-from",
        "x-mail-autoreply",
        "x-loop",
    ];
    suppressed || loops.iter().any(|name| fields.has(name))
}

fn is_unread(mailbox: &Mailbox) -> bool {
    let local = mailbox
        .address
        .rsplit_once('@')
        .map_or(mailbox.address.as_str(), |(local, _)| local);
    let local = local.to_ascii_lowercase();
    // RFC 3834 section 2: list owners and their -request addresses.
    if local.starts_with("owner-") || local.ends_with("-request") || local == "postmaster" {
        return true;
    }
    let letters: String = local.chars().filter(char::is_ascii_alphanumeric).collect();
    UNREAD
        .iter()
        .any(|unread| letters.starts_with(unread) || letters.ends_with(unread))
}

fn first_word(value: &str) -> &str {
    value
        .split([';', ' ', '\t', '('])
        .find(|word| !word.is_empty())
        .unwrap_or_default()
}
