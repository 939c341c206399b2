//! Asking for reports (DSN, RFC 3461): those that come back name the mail by its Message-ID, and bring its header at most.

use lettre::transport::smtp::extension::{MailParameter, RcptParameter};

use crate::send::message::Outgoing;

/// RFC 3461 section 4.4.
const MAX_ENVELOPE_ID: usize = 100;

/// As it stands in the reply to EHLO.
pub(super) fn is_offered(ehlo: &str) -> bool {
    ehlo.lines()
        .filter_map(|line| line.strip_prefix("250-").or_else(|| line.strip_prefix("250 ")))
        .any(|keyword| keyword.trim().eq_ignore_ascii_case("DSN"))
}

pub(super) fn of_mail(mail: &Outgoing) -> Vec<MailParameter> {
    let other = |keyword: &str, value: &str| MailParameter::Other {
        keyword: keyword.to_owned(),
        value: Some(value.to_owned()),
    };
    // lettre writes it in xtext, which makes three characters of some.
    let fits = mail.message_id.len() * 3 <= MAX_ENVELOPE_ID
        || (mail.message_id.len() <= MAX_ENVELOPE_ID && !mail.message_id.contains(['+', '=']));
    let mut parameters = vec![other("RET", "HDRS")];
    if fits {
        parameters.push(other("ENVID", &mail.message_id));
    }
    parameters
}

/// Automatic replies want none: nothing may come back to them.
pub(super) fn of_recipient(mail: &Outgoing) -> Vec<RcptParameter> {
    let notify = if mail.sender.is_none() {
        "NEVER"
    } else {
        "FAILURE,DELAY"
    };
    vec![RcptParameter::Other {
        keyword: "NOTIFY".to_owned(),
        value: Some(notify.to_owned()),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_offer() {
        for (ehlo, offered) in [
            ("220 mx\r\n250-mx\r\n250-DSN\r\n250 8BITMIME\r\n", true),
            ("220 mx\r\n250-mx\r\n250 dsn\r\n", true),
            ("220 mx DSN\r\n250-DSN.example.org\r\n250 XDSN\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_offered(ehlo), offered, "{ehlo}");
        }
    }
}
