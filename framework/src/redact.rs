//! Addresses stay out of the log: errors of mail servers are full of them, and logs travel further than mail should.
//! `dead_letters`, which people work with, keeps the whole text.

use std::borrow::Cow;
use std::env;
use std::sync::LazyLock;

/// Set to `1`, the log shows addresses.
const VARIABLE: &str = "POSTROOM_LOG_ADDRESSES";

static SHOWN: LazyLock<bool> = LazyLock::new(|| env::var(VARIABLE).is_ok_and(|value| value == "1"));

/// The text with every address replaced by `***`, unless `POSTROOM_LOG_ADDRESSES=1`.
#[must_use]
pub fn for_log(text: &str) -> Cow<'_, str> {
    if *SHOWN {
        Cow::Borrowed(text)
    } else {
        without_addresses(text)
    }
}

fn without_addresses(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let ends_address = |c: char| c.is_whitespace() || "<>()[]\"',;:".contains(c);
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends_address) {
        let word = piece.trim_end_matches(ends_address);
        clean.push_str(if word.contains('@') { "***" } else { word });
        clean.push_str(&piece[word.len()..]);
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_and_the_rest_stays() {
        let check = |text, clean: &str| assert_eq!(without_addresses(text), clean);
        check(
            "550 5.1.1 <ann@x.test>: no such user",
            "550 5.1.1 <***>: no such user",
        );
        check("ann@x.test, bob@y.test", "***, ***");
        check("relay answered 451", "relay answered 451");
        check("\"ann b\"@x.test", "\"ann b\"***");
        check("ünï@x.test ok", "*** ok");
    }
}
