//! How many messages in what time. Pure: the same file in the derive, which reads `"100/s"` when it expands.

use std::time::Duration;

/// So many messages in so long, such as a hundred a second: a bucket that holds that many tokens and is refilled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Messages, at least 1. As many may go at once when it was quiet before.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

impl Rate {
    /// `count` messages in each `per`.
    #[must_use]
    pub const fn new(count: u32, per: Duration) -> Self {
        Self { count, per }
    }

    /// The time in which one token comes back; zero when the rate is none.
    pub(crate) fn refill(self) -> Duration {
        self.per.checked_div(self.count).unwrap_or_default()
    }

    /// `"100/s"`, `"20/m"`, `"1000/h"` or `"5000/d"`.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no rate; write messages and a time, such as \"100/s\", \"20/m\" or \"1000/h\""
            )
        };
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let rate = Self::new(
            count.trim().parse().map_err(|_| wrong())?,
            Duration::from_secs(seconds),
        );
        if rate.refill().is_zero() {
            return Err(wrong());
        }
        Ok(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let check = |text, seconds, count| {
            assert_eq!(
                Rate::parse(text),
                Ok(Rate::new(count, Duration::from_secs(seconds)))
            );
        };
        check("100/s", 1, 100);
        check("20 / m", 60, 20);
        check("1000/h", 3600, 1000);
        check("1/d", 86_400, 1);
        for wrong in ["", "100", "0/s", "-1/s", "100/w", "a/s", "1.5/s"] {
            assert!(
                Rate::parse(wrong).is_err_and(|text| text.contains("is no rate")),
                "{wrong}"
            );
        }
    }
}
