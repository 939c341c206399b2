//! Whole numbers of any size, as counters add them up. Pure.

use std::cmp::Ordering;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amount {
    is_negative: bool,
    /// Decimal digits, the least significant first; none is zero.
    digits: Vec<u8>,
}

impl Amount {
    /// Digits with a sign or without.
    pub fn parse(text: &str) -> Option<Amount> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = digits.bytes().rev().map(|byte| byte - b'0').collect();
        Some(Amount::new(is_negative, digits))
    }

    fn new(is_negative: bool, mut digits: Vec<u8>) -> Amount {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Amount {
            is_negative: is_negative && !digits.is_empty(),
            digits,
        }
    }

    pub fn plus(&self, other: &Amount) -> Amount {
        if self.is_negative == other.is_negative {
            return Amount::new(self.is_negative, sum(&self.digits, &other.digits));
        }
        match compare(&self.digits, &other.digits) {
            Ordering::Less => Amount::new(other.is_negative, difference(&other.digits, &self.digits)),
            _ => Amount::new(self.is_negative, difference(&self.digits, &other.digits)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        let sign = if self.is_negative { "-" } else { "" };
        let digits: String = self
            .digits
            .iter()
            .rev()
            .map(|digit| char::from(b'0' + digit))
            .collect();
        write!(f, "{sign}{digits}")
    }
}

fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let by_length = left.len().cmp(&right.len());
    by_length.then_with(|| left.iter().rev().cmp(right.iter().rev()))
}

fn sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits = Vec::with_capacity(left.len().max(right.len()) + 1);
    for at in 0..left.len().max(right.len()) {
        let total = left.get(at).unwrap_or(&0) + right.get(at).unwrap_or(&0) + carry;
        digits.push(total % 10);
        carry = total / 10;
    }
    digits.push(carry);
    digits
}

/// `larger` less `smaller`.
fn difference(larger: &[u8], smaller: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut digits = Vec::with_capacity(larger.len());
    for (at, digit) in larger.iter().enumerate() {
        let less = smaller.get(at).unwrap_or(&0) + borrow;
        borrow = u8::from(*digit < less);
        digits.push(digit + 10 * borrow - less);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        let check = |text: &str, expect: Option<&str>| {
            let told = Amount::parse(text).map(|amount| amount.to_string());
            assert_eq!(told.as_deref(), expect, "{text}");
        };
        check("1", Some("1"));
        check("+007", Some("7"));
        check("-0", Some("0"));
        check("-12", Some("-12"));
        for bad in ["", "+", "--1", "1.5", "x", " 1"] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn adds_as_machine_numbers_do(left in any::<i64>(), right in any::<i64>()) {
            let [a, b] = [left, right].map(|number| Amount::parse(&number.to_string()).unwrap());
            let expect = i128::from(left) + i128::from(right);
            prop_assert_eq!(a.plus(&b).to_string(), expect.to_string());
        }
    }
}
