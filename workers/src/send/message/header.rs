//! What may stand in a header, field by field.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::message::Mailbox as LettreMailbox;
use lettre::message::header::{HeaderName, HeaderValue};

use super::{MAX_LINE, MessageError};
use crate::messages::Mailbox;

pub(super) fn mailbox(field: &'static str, mailbox: &Mailbox) -> Result<LettreMailbox, MessageError> {
    header(field, &mailbox.address)?;
    let name = mailbox
        .name
        .as_deref()
        .map(|name| header(field, name))
        .transpose()?;
    let address = mailbox.address.parse().map_err(|_| MessageError::BadAddress {
        field,
        address: mailbox.address.clone(),
    })?;
    Ok(LettreMailbox::new(name.map(str::to_owned), address))
}

/// Checked before lettre sees the value: its formatting panics on a line end in a display name.
pub(super) fn header<'a>(field: &'static str, value: &'a str) -> Result<&'a str, MessageError> {
    match value.chars().any(|c| c.is_control() && c != '\t') {
        true => Err(MessageError::ControlCharacter { field }),
        false => Ok(value),
    }
}

pub(super) fn id<'a>(field: &'static str, id: &'a str) -> Result<&'a str, MessageError> {
    header(field, id)?;
    match is_message_id(id) {
        true => Ok(id),
        false => Err(MessageError::BadId {
            field,
            id: id.chars().take(100).collect(),
        }),
    }
}

/// What may stand between the angle brackets of an id and in a line of its own.
pub fn is_message_id(id: &str) -> bool {
    let fits = !id.is_empty() && id.len() <= MAX_LINE - 2 - "References: ".len();
    fits && id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
}

/// Header dates are written by a crate that panics outside of these years.
pub(super) fn date(date: Timestamp) -> Result<SystemTime, MessageError> {
    const YEAR_9999: i64 = 253_370_764_800;
    match (0..YEAR_9999).contains(&date.as_second()) {
        true => Ok(SystemTime::from(date)),
        false => Err(MessageError::BadDate(date)),
    }
}

pub(super) fn marker(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

pub(super) fn https<'a>(field: &'static str, url: &'a str) -> Result<&'a str, MessageError> {
    header(field, url)?;
    let is_url = url.len() <= MAX_LINE - 2 - "List-Unsubscribe: ".len()
        && url
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
        && url
            .parse::<hyper::Uri>()
            .is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
    match is_url {
        true => Ok(url),
        false => Err(MessageError::BadUrl {
            field,
            url: url.chars().take(100).collect(),
        }),
    }
}
