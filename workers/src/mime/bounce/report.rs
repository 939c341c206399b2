//! Reports in the form that machines read: delivery status (RFC 3464) and complaints (RFC 5965).

use mail_parser::{Message, MessagePart, MimeHeaders};

use super::super::text;
use super::cause::{cause, status_in};
use super::original;
use super::prose::as_address;
use crate::messages::{Bounce, BounceKind, Cause, Undelivered};

/// What there is of a machine-readable report.
pub(super) enum Found {
    Report(Bounce),
    /// It says that the mail arrived, or went on.
    NoFailure,
    /// It is one, but does not say whom it is about.
    Unclear,
    None,
}

pub(super) fn read(message: &Message<'_>) -> Found {
    let part = |names: &[&str]| message.parts.iter().find(|part| is_message(part, names));
    if let Some(part) = part(&["feedback-report"]) {
        return Found::Report(complaint(message, part));
    }
    match part(&["delivery-status", "global-delivery-status"]) {
        Some(part) => delivery(message, part),
        None if is_delivery_report(message) => Found::Unclear,
        None => Found::None,
    }
}

fn is_message(part: &MessagePart<'_>, names: &[&str]) -> bool {
    part.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("message")
            && kind
                .subtype()
                .is_some_and(|subtype| names.iter().any(|name| subtype.eq_ignore_ascii_case(name)))
    })
}

fn is_delivery_report(message: &Message<'_>) -> bool {
    message
        .content_type()
        .and_then(|kind| kind.attribute("report-type"))
        .is_some_and(|kind| kind.eq_ignore_ascii_case("delivery-status"))
}

/// The fields of one group, in order.
struct Group(Vec<(String, String)>);

impl Group {
    fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(field, _)| field == name)?;
        Some(field.1.as_str())
    }

    /// A value behind its type, as in `rfc822; ada@example.org`.
    fn typed(&self, name: &str) -> Option<&str> {
        let value = self.get(name)?;
        Some(value.split_once(';').map_or(value, |(_, value)| value).trim())
    }
}

/// Groups of fields with empty lines between them.
fn groups(text: &str) -> Vec<Group> {
    let mut groups = vec![Group(Vec::new())];
    for line in text.lines() {
        let Some(group) = groups.last_mut() else { break };
        if line.trim().is_empty() {
            if !group.0.is_empty() {
                groups.push(Group(Vec::new()));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.0.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let field = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            group.0.push(field);
        }
    }
    groups
}

fn delivery(message: &Message<'_>, part: &MessagePart<'_>) -> Found {
    let text = String::from_utf8_lossy(part.contents());
    let groups = groups(&text);
    let mut speaks = false;
    let mut failed = Vec::new();
    let mut delayed = Vec::new();
    for group in &groups {
        let action = group
            .get("action")
            .map(str::to_ascii_lowercase)
            .unwrap_or_default();
        let Some(address) = recipient(group) else {
            continue;
        };
        speaks = true;
        let diagnostic = group.typed("diagnostic-code").unwrap_or_default();
        let status = group
            .get("status")
            .and_then(status_in)
            .or_else(|| status_in(diagnostic));
        let undelivered = Undelivered {
            address,
            cause: cause(status.as_deref(), diagnostic),
            status,
            diagnostic: Some(text::line(diagnostic)).filter(|words| !words.is_empty()),
        };
        match first_word(&action) {
            "delivered" | "relayed" | "expanded" => {}
            "delayed" => delayed.push(undelivered),
            // "failed", and whatever a server makes of it.
            _ => failed.push(undelivered),
        }
    }
    let message_id = original::find(message, "").message_id;
    match (failed.is_empty(), delayed.is_empty(), speaks) {
        (false, ..) => Found::Report(Bounce {
            kind: BounceKind::Failed,
            recipients: failed,
            message_id,
        }),
        (true, false, _) => Found::Report(Bounce {
            kind: BounceKind::Delayed,
            recipients: delayed,
            message_id,
        }),
        (true, true, true) => Found::NoFailure,
        (true, true, false) => Found::Unclear,
    }
}

/// The address that the mail was sent to comes before what became of it on the way.
fn recipient(group: &Group) -> Option<String> {
    ["original-recipient", "final-recipient", "x-actual-recipient"]
        .into_iter()
        .find_map(|field| as_address(group.typed(field)?))
}

fn first_word(text: &str) -> &str {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .trim_end_matches(';')
}

fn complaint(message: &Message<'_>, part: &MessagePart<'_>) -> Bounce {
    let text = String::from_utf8_lossy(part.contents());
    let groups = groups(&text);
    let original = original::find(message, "");
    let named = groups
        .iter()
        .flat_map(|group| &group.0)
        .filter(|(field, _)| field == "original-rcpt-to" || field == "removal-recipient")
        .filter_map(|(_, value)| as_address(value));
    let mut addresses: Vec<String> = named.collect();
    if addresses.is_empty() {
        addresses = original.recipients;
    }
    let kind = groups.iter().find_map(|group| group.get("feedback-type"));
    let undelivered = |address| Undelivered {
        address,
        status: None,
        cause: Cause::Complaint,
        diagnostic: kind.map(text::line),
    };
    Bounce {
        kind: BounceKind::Complaint,
        recipients: addresses.into_iter().map(undelivered).collect(),
        message_id: original.message_id,
    }
}
