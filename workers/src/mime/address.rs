//! Address fields, flattened and bounded.

use mail_parser::{Addr, Address};

use super::{MAX_LISTED, text};
use crate::messages::Mailbox;

/// RFC 5321: 64 octets of local part, 255 of domain, one `@`.
const MAX_ADDRESS_BYTES: usize = 320;

/// The first usable mailbox of the field.
pub(super) fn first(field: Option<&Address<'_>>) -> Option<Mailbox> {
    field?.iter().find_map(mailbox)
}

/// Every usable mailbox, groups flattened.
pub(super) fn all(field: Option<&Address<'_>>) -> Vec<Mailbox> {
    field
        .into_iter()
        .flat_map(|field| field.iter())
        .filter_map(mailbox)
        .take(MAX_LISTED)
        .collect()
}

fn mailbox(addr: &Addr<'_>) -> Option<Mailbox> {
    let address = addr.address()?.trim();
    let usable = address.len() <= MAX_ADDRESS_BYTES
        && address
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && !address.chars().any(|c| c.is_control() || c.is_whitespace());
    usable.then(|| Mailbox {
        name: addr.name().map(text::name).filter(|name| !name.is_empty()),
        address: address.to_owned(),
    })
}
