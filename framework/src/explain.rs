//! Errors and panics in words, for logs, dead letters and people.

use std::any::Any;

/// The error and its sources in one line, each said once.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the relay is away")]
    struct Away(#[source] std::io::Error);

    #[test]
    fn an_error_tells_its_causes() {
        let error = Away(std::io::Error::other("connection refused"));
        assert_eq!(with_causes(&error), "the relay is away: connection refused");
    }
}
