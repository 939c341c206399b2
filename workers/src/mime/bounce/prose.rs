//! Reports that are written for people, by mail systems of all ages.

use mail_parser::{Message, PartType};

use super::super::header::Fields;
use super::super::{address, text};
use super::cause::{cause, reply_in, status_in};
use super::original::{self, Original};
use crate::messages::{Bounce, BounceKind, Mailbox, Undelivered};

/// What the form of the mail says already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is marked as a delivery report.
    Report,
    Stranger,
}

/// Reports are short; what comes later was sent back.
const MAX_PROSE: usize = 16 * 1024;
/// The lines after an address that may say what is wrong with it.
const NEAR: usize = 8;

/// Local parts that mail systems write from.
const SYSTEMS: [&str; 9] = [
    "mailer-daemon",
    "postmaster",
    "mail-daemon",
    "maildaemon",
    "mdaemon",
    "mailerdaemon",
    "mail_daemon",
    "maildelivery",
    "mailadmin",
];

/// Subjects in lower case. Replies to them begin with `re:`, and are not among them.
const SUBJECTS: [&str; 25] = [
    "delivery status notification",
    "delivery notification",
    "delivery failure",
    "delivery failed",
    "delivery has failed",
    "delivery error",
    "delivery problem",
    "delivery report",
    "delivery warning",
    "failure delivery",
    "failure notice",
    "failed mail",
    "mail system error",
    "mail error",
    "mail failure",
    "message status",
    "nondeliverable",
    "non-delivery",
    "non delivery",
    "returned mail",
    "returned to sender",
    "undeliverable",
    "undelivered",
    "unable to deliver",
    "could not be delivered",
];

/// That it failed, in lower case.
const FAILED: [&str; 61] = [
    "able to deliver",
    "addressee unknown",
    "be delivered",
    "been delivered",
    "cannot deliver",
    "could not deliver",
    "couldn't deliver",
    "could not send",
    "could not be sent",
    "delivery error",
    "delivery failed",
    "delivery failure",
    "delivery has failed",
    "delivery problem",
    "delivery to the following",
    "did not reach",
    "disabled or discontinued",
    "does not exist",
    "doesn't exist",
    "error occurred",
    "failed addresses",
    "failed recipient",
    "failed to deliver",
    "failed to reach",
    "failure notice",
    "fatal error",
    "invalid address",
    "invalid recipient",
    "invalid user",
    "mailbox full",
    "mailbox is full",
    "message not delivered",
    "message was rejected",
    "no mailbox",
    "no such",
    "non-delivery",
    "nondeliverable",
    "not a known user",
    "not a valid user",
    "not be delivered",
    "not delivered",
    "not known",
    "not listed",
    "not reach",
    "over quota",
    "permanent error",
    "problem delivering",
    "quota exceeded",
    "rejected",
    "returned to you",
    "returned mail",
    "unable to deliver",
    "undeliverable",
    "undelivered",
    "unknown address",
    "unknown recipient",
    "unknown user",
    "user unknown",
    "was aborted",
    "was automatically rejected",
    "was not sent",
];

/// That it is not over yet, in lower case.
const DELAYED: [&str; 16] = [
    "will continue to try",
    "will keep trying",
    "will be retried",
    "will try again",
    "continue trying",
    "still trying",
    "being retried",
    "not yet been delivered",
    "not been delivered yet",
    "has been delayed",
    "delivery delayed",
    "delivery is delayed",
    "delayed mail",
    "warning message only",
    "could not send message for past",
    "no action is required",
];

/// Asking, thanking and being away are no failures, whatever else the mail says.
const NO_REPORT: [&str; 14] = [
    "vacation",
    "out of the office",
    "out of office",
    "on holiday",
    "on leave",
    "auto-reply",
    "autoreply",
    "automatic reply",
    "automated response",
    "confirm that you",
    "click on the following link",
    "click the link",
    "challenge",
    "whitelist",
];

pub(super) fn read(
    fields: &Fields,
    message: &Message<'_>,
    from: Option<&Mailbox>,
    trust: Trust,
) -> Option<Bounce> {
    let subject = message.subject().unwrap_or_default().trim().to_lowercase();
    let by_subject = SUBJECTS.iter().any(|phrase| subject.contains(phrase)) && !subject.starts_with("re:");
    let named = fields.first("x-failed-recipients");
    let from_system = named.is_some()
        || fields
            .first("return-path")
            .is_some_and(|path| path == "<>" || is_system(path.trim_matches(['<', '>'])))
        || from.is_some_and(|from| is_system(&from.address));
    if trust == Trust::Stranger && !from_system && !by_subject {
        return None;
    }
    let body = body(message);
    let (prose, quoted) = original::split(&body);
    let lower = format!("{subject}\n{prose}").to_lowercase();
    let is_delayed = DELAYED.iter().any(|phrase| lower.contains(phrase));
    let fails = is_delayed
        || by_subject && from_system
        || FAILED.iter().any(|phrase| lower.contains(phrase))
        || reply_in(prose).is_some()
        || prose.lines().any(is_accused);
    let excused = !by_subject && NO_REPORT.iter().any(|phrase| lower.contains(phrase));
    if trust == Trust::Stranger && (!fails || excused) {
        return None;
    }
    let original = original::find(message, quoted);
    let recipients = recipients(message, from, named, prose, &original);
    // A subject alone is easily quoted; a mail system also says whom it is about, or sends the mail back.
    if trust == Trust::Stranger && recipients.is_empty() && original.message_id.is_none() && !by_subject {
        return None;
    }
    Some(Bounce {
        kind: if is_delayed {
            BounceKind::Delayed
        } else {
            BounceKind::Failed
        },
        recipients,
        message_id: original.message_id,
    })
}

/// `<ada@example.org>:` on a line of its own, which qmail began and many have taken up: what is wrong follows it.
fn is_accused(line: &str) -> bool {
    let line = line.trim();
    line.strip_prefix('<')
        .and_then(|rest| rest.strip_suffix(">:"))
        .is_some_and(|address| as_address(address).as_deref() == Some(address))
}

fn is_system(address: &str) -> bool {
    let local = address
        .rsplit_once('@')
        .map_or(address, |(local, _)| local)
        .to_ascii_lowercase();
    SYSTEMS.contains(&&*local)
}

/// The text of the report, without that of the mail that is attached to it.
fn body(message: &Message<'_>) -> String {
    let mut body = String::new();
    for part in &message.parts {
        let text = match &part.body {
            PartType::Text(text) => text.to_string(),
            PartType::Html(html) if body.is_empty() => text::html_beginning(html),
            PartType::Message(_) => break,
            _ => continue,
        };
        body.push_str(&text);
        body.push('\n');
        if body.len() > MAX_PROSE {
            break;
        }
    }
    let end = (0..=MAX_PROSE.min(body.len()))
        .rev()
        .find(|&at| body.is_char_boundary(at));
    body.truncate(end.unwrap_or(0));
    body.replace('\r', "")
}

fn recipients(
    message: &Message<'_>,
    from: Option<&Mailbox>,
    named: Option<&str>,
    prose: &str,
    original: &Original,
) -> Vec<Undelivered> {
    let ours: Vec<String> = address::all(message.to())
        .into_iter()
        .map(|to| to.address)
        .collect();
    let is_party = |address: &str| {
        is_system(address)
            || from.is_some_and(|from| from.is_same_address(address))
            || ours.iter().any(|ours| ours.eq_ignore_ascii_case(address))
    };
    let mut found = match named {
        Some(named) => named
            .split(',')
            .filter_map(as_address)
            .map(|address| (address, 0))
            .collect(),
        None => mentioned(prose, is_party),
    };
    // Where the mail that was sent back says whom it was for, other addresses are those of helpdesks and gateways.
    let is_meant = |(address, _): &(String, usize)| {
        original
            .recipients
            .iter()
            .any(|to| to.eq_ignore_ascii_case(address))
    };
    if found.iter().any(is_meant) {
        found.retain(is_meant);
    }
    if found.is_empty()
        && let [only] = original.recipients.as_slice()
        && !is_party(only)
    {
        found.push((only.clone(), 0));
    }
    found
        .into_iter()
        .map(|(address, line)| undelivered(address, line, prose))
        .collect()
}

/// The addresses in the report, once each, with the number of the line that names them first.
fn mentioned(prose: &str, is_party: impl Fn(&str) -> bool) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    let lines = prose
        .lines()
        .enumerate()
        .filter(|(_, line)| !is_of_no_recipient(line));
    for (at, line) in lines {
        for address in addresses(line).into_iter().filter(|address| !is_party(address)) {
            if !found
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(&address))
            {
                found.push((address, at));
            }
        }
    }
    found
}

/// What the lines from the one that names the address say of it; or the whole report, where they hold no code.
fn undelivered(address: String, line: usize, prose: &str) -> Undelivered {
    let is_telling = |text: &str| reply_in(text).is_some() || status_in(text).is_some();
    let near: Vec<&str> = prose.lines().skip(line).take(NEAR).collect();
    let nearby = near.join("\n");
    let words = if is_telling(&nearby) { &nearby } else { prose };
    let status = status_in(words);
    Undelivered {
        address,
        cause: cause(status.as_deref(), words),
        status,
        diagnostic: near.into_iter().find(|line| is_telling(line)).map(text::line),
    }
}

/// Lines that quote other fields of the mail, or say where help is to be had.
fn is_of_no_recipient(line: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "from:",
        "sender:",
        "reply-to:",
        "message-id:",
        "message id:",
        "return-path:",
        "cc:",
        "id:",
        "reporting-mta",
    ];
    const HELP: [&str; 4] = ["please contact", "contact your", "for assistance", "send mail to"];
    let lower = line.trim_start_matches(['>', ' ', '\t']).to_ascii_lowercase();
    OTHERS.iter().any(|field| lower.starts_with(field)) || HELP.iter().any(|phrase| lower.contains(phrase))
}

/// One address, in brackets or bare.
pub(super) fn as_address(text: &str) -> Option<String> {
    addresses(text).into_iter().next()
}

/// All that looks like an address.
fn addresses(line: &str) -> Vec<String> {
    let is_local = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let is_domain = |c: char| c.is_alphanumeric() || "-.".contains(c);
    let mut found = Vec::new();
    for (at, _) in line.match_indices('@') {
        let local_len: usize = line[..at]
            .chars()
            .rev()
            .take_while(|&c| is_local(c))
            .map(char::len_utf8)
            .sum();
        let domain_len: usize = line[at + 1..]
            .chars()
            .take_while(|&c| is_domain(c))
            .map(char::len_utf8)
            .sum();
        let local = line[at - local_len..at].trim_start_matches(['\'', '.', '=']);
        // As X.400 gateways write addresses.
        let local = local.strip_prefix("SMTP=").unwrap_or(local);
        let domain = line[at + 1..at + 1 + domain_len].trim_end_matches(['.', '-']);
        let address = format!("{local}@{domain}");
        if !local.is_empty() && domain.contains('.') && address.parse::<lettre::Address>().is_ok() {
            found.push(address);
        }
    }
    found
}
