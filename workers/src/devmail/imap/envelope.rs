//! ENVELOPE: the header fields that clients list mails by, as IMAP strings (RFC 3501 7.4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imap_next::imap_types::core::NString;
use imap_next::imap_types::envelope::{Address, Envelope};
use mail_parser::{Address as Parsed, HeaderName, Message};

use super::header;
use super::mime::nstring;

pub(super) fn envelope(raw: &[u8], message: Option<&Message<'_>>) -> Envelope<'static> {
    let fields = header::fields(header::split(raw).0);
    let text = |wanted: &str| {
        let field = fields
            .iter()
            .find(|field| header::name(field).eq_ignore_ascii_case(wanted.as_bytes()));
        field.map_or(NString(None), |field| {
            nstring(Some(&String::from_utf8_lossy(&header::value(field))))
        })
    };
    let list =
        |name: HeaderName<'static>| addresses(message.and_then(|message| message.header(name)?.as_address()));
    let from = list(HeaderName::From);
    let or_from = |list: Vec<Address<'static>>| if list.is_empty() { from.clone() } else { list };
    Envelope {
        date: text("Date"),
        subject: text("Subject"),
        sender: or_from(list(HeaderName::Sender)),
        reply_to: or_from(list(HeaderName::ReplyTo)),
        to: list(HeaderName::To),
        cc: list(HeaderName::Cc),
        bcc: list(HeaderName::Bcc),
        in_reply_to: text("In-Reply-To"),
        message_id: text("Message-ID"),
        from,
    }
}

fn addresses(parsed: Option<&Parsed<'_>>) -> Vec<Address<'static>> {
    let Some(parsed) = parsed else { return Vec::new() };
    let one = |addr: &mail_parser::Addr<'_>| {
        let address = addr.address.as_deref().unwrap_or_default();
        let (mailbox, host) = address.rsplit_once('@').unwrap_or((address, ""));
        Address {
            name: nstring(addr.name.as_deref().map(encoded).as_deref()),
            adl: NString(None),
            mailbox: nstring(Some(mailbox)),
            host: nstring(Some(host)),
        }
    };
    parsed.iter().map(one).collect()
}

/// The parser decoded the name; on the wire it is ASCII again (RFC 2047).
fn encoded(name: &str) -> String {
    if name.is_ascii() {
        name.to_owned()
    } else {
        format!("=?utf-8?B?{}?=", STANDARD.encode(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_falls_back_to_from() {
        let raw = "From: =?utf-8?Q?J=C3=B6rg?= <j@x.test>\r\nTo: a@b.test, c@d.test\r\nSubject: one\r\n two\r\n\r\n";
        let message = mail_parser::MessageParser::default().parse(raw.as_bytes());
        let envelope = envelope(raw.as_bytes(), message.as_ref());
        let nstring = |text: &str| NString::try_from(text.to_owned()).unwrap();
        assert_eq!(envelope.subject, nstring("one two"));
        assert_eq!(envelope.from[0].name, nstring("=?utf-8?B?SsO2cmc=?="));
        assert_eq!(
            (&envelope.from[0].mailbox, &envelope.from[0].host),
            (&nstring("j"), &nstring("x.test"))
        );
        assert_eq!(envelope.reply_to, envelope.from);
        assert_eq!(envelope.to.len(), 2);
        assert_eq!(envelope.message_id, NString(None));
    }
}
