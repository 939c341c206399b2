//! Times in attributes, such as `"30s"` and `"2s..15m"`, with mistakes at the literal.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::LitStr;

/// `"30s"`.
pub(crate) fn parse(literal: &LitStr) -> syn::Result<Duration> {
    read(&literal.value()).map_err(|text| syn::Error::new(literal.span(), text))
}

/// `"2s..15m"`: the first and the longest.
pub(crate) fn parse_range(literal: &LitStr) -> syn::Result<(Duration, Duration)> {
    let text = literal.value();
    let wrong = |message: String| syn::Error::new(literal.span(), message);
    let (first, cap) = text.split_once("..").ok_or_else(|| {
        wrong(format!(
            "`{text}` is no range of waits; write the first and the longest, such as \"2s..15m\""
        ))
    })?;
    let (first, cap) = (read(first).map_err(wrong)?, read(cap).map_err(wrong)?);
    if first > cap {
        return Err(wrong(format!(
            "`{text}`: the first wait must not be longer than the last"
        )));
    }
    Ok((first, cap))
}

fn read(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| {
        format!("`{text}` is no duration; write a number with a unit, such as \"30s\", \"15m\" or \"7d\"")
    })
}

/// As an expression.
pub(crate) fn tokens(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ranges_are_read() {
        assert_eq!(read("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert!(read("soon").expect_err("no duration").contains("is no duration"));
        let range = |text| parse_range(&LitStr::new(text, proc_macro2::Span::call_site()));
        let (first, cap) = range("2s..15m").expect("a range");
        assert_eq!((first.as_secs(), cap.as_secs()), (2, 900));
        assert!(
            range("15m..2s")
                .expect_err("upside down")
                .to_string()
                .contains("longer than the last")
        );
        assert!(
            range("2s")
                .expect_err("no range")
                .to_string()
                .contains("is no range")
        );
    }
}
