//! Labels whose values come from users' code, kept to so many that a metrics server can hold them.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Error classes of one handler that are told apart: more than an enum has variants that anybody looks at.
const MAX_CLASSES: usize = 32;
/// What all further classes count as.
const OTHER: &str = "other";

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

type Seen = HashMap<&'static str, HashSet<String>>;

/// The class of an error as a label: itself, or `other` once the handler has shown [`MAX_CLASSES`] of them.
pub(crate) fn class<'c>(handler: &'static str, class: &'c str) -> &'c str {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    bounded(seen.entry(handler).or_default(), class)
}

fn bounded<'c>(seen: &mut HashSet<String>, class: &'c str) -> &'c str {
    if seen.contains(class) {
        return class;
    }
    if seen.len() >= MAX_CLASSES {
        return OTHER;
    }
    seen.insert(class.to_owned());
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_classes_are_told_apart_and_no_more() {
        let mut seen = HashSet::new();
        for number in 0..MAX_CLASSES {
            let class = format!("class-{number}");
            assert_eq!(bounded(&mut seen, &class), class, "up to the limit");
        }
        assert_eq!(bounded(&mut seen, "one-more"), OTHER, "one past it");
        assert_eq!(
            bounded(&mut seen, "class-0"),
            "class-0",
            "those known before stay themselves"
        );
    }
}
