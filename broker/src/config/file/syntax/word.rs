//! What a word without quotes means: a flag, a number with its unit, or text.

use super::Value;

/// Password hashes start with `$` and are no variables: `$2a$11$…`, `$argon2id$…`.
pub fn is_hash(name: &str) -> bool {
    name.starts_with("2a$")
        || name.starts_with("2b$")
        || name.starts_with("2y$")
        || name.starts_with("argon2")
}

/// What a word without quotes means.
pub fn classify(word: String) -> Value {
    match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return Value::Bool(true),
        "false" | "no" | "off" => return Value::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(&word) {
        return Value::Integer(number);
    }
    let looks_like_number = word
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'));
    match word.parse() {
        Ok(number) if looks_like_number => Value::Float(number),
        _ => Value::Text(word),
    }
}

/// `12`, `-1`, `64k` (thousands), `64KB` and `64KiB` (1024 each).
fn integer(word: &str) -> Option<i64> {
    let digits_end = word
        .bytes()
        .enumerate()
        .find(|(at, byte)| !(byte.is_ascii_digit() || (*at == 0 && *byte == b'-')))
        .map_or(word.len(), |(at, _)| at);
    let (digits, suffix) = word.split_at(digits_end);
    let number: i64 = digits.parse().ok()?;
    let suffix = suffix.to_ascii_lowercase();
    let Some(letter) = suffix.chars().next() else {
        return Some(number);
    };
    let power = u32::try_from("kmgtpe".find(letter)?).ok()? + 1;
    let unit: i64 = match &suffix[1..] {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => return None,
    };
    number.checked_mul(unit.checked_pow(power)?)
}
