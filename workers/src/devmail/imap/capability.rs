//! What the IMAP side offers. It answers BAD or NO to the rest, and never pretends.

use imap_next::imap_types::auth::AuthMechanism;
use imap_next::imap_types::core::Vec1;
use imap_next::imap_types::response::{Capability, Code, Data};

fn capabilities() -> Vec1<Capability<'static>> {
    let rest = [
        Capability::SaslIr,
        Capability::Auth(AuthMechanism::Plain),
        Capability::LiteralPlus,
        Capability::Id,
        Capability::Idle,
        Capability::Namespace,
        Capability::UidPlus,
        Capability::Move,
        Capability::Unselect,
    ];
    let mut all = vec![Capability::Imap4Rev1];
    all.extend(rest);
    Vec1::unvalidated(all)
}

pub(super) fn code() -> Code<'static> {
    Code::Capability(capabilities())
}

pub(super) fn data() -> Data<'static> {
    Data::Capability(capabilities())
}
