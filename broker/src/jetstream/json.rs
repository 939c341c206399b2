//! JSON as the API takes and gives it: unknown fields are errors, null is as good as absent, times are RFC 3339.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api_error::{self, ApiError};
use crate::store::Nanos;

/// The time Go prints when there is none.
pub const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Strictly decodes `body`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii().is_empty() {
        return Err(api_error::invalid_json("unexpected end of JSON input"));
    }
    let mut value: Value = serde_json::from_slice(body).map_err(api_error::invalid_json)?;
    drop_nulls(&mut value);
    serde_json::from_value(value).map_err(|error| api_error::invalid_json(in_go_words(&error.to_string())))
}

/// As [`decode`], for requests whose body may be absent; what is no JSON object then counts as absent.
pub fn decode_optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii_start().starts_with(b"{") {
        decode(body)
    } else {
        Ok(T::default())
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Clients show this text; Go's decoder would say it so.
fn in_go_words(text: &str) -> String {
    let unknown = text
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once('`'));
    match unknown {
        Some((field, _)) => format!("json: unknown field \"{field}\""),
        None => text.to_owned(),
    }
}

pub fn time(nanos: Nanos) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).map_or_else(|_| NO_TIME.to_owned(), |time| time.to_string())
}

pub fn parse_time(text: &str) -> Option<Nanos> {
    let time: Timestamp = text.parse().ok()?;
    Nanos::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        a: u64,
    }

    #[test]
    fn strict_but_null_is_absent() {
        assert_eq!(decode::<Sample>(b"{\"a\":null}"), Ok(Sample { a: 0 }));
        let error = decode::<Sample>(b"{\"b\":1}").unwrap_err();
        assert_eq!(error.description, "invalid JSON: json: unknown field \"b\"");
        assert_eq!(decode::<Sample>(b"junk").unwrap_err().err_code, 10025);
        assert_eq!(decode_optional::<Sample>(b"junk"), Ok(Sample::default()));
    }

    #[test]
    fn times() {
        assert_eq!(time(1_795_427_375_409_336_445), "2026-11-23T09:49:35.409336445Z");
        assert_eq!(
            parse_time("2026-11-23T09:49:35.409336445Z"),
            Some(1_795_427_375_409_336_445)
        );
        assert_eq!(parse_time("yesterday"), None);
    }
}
