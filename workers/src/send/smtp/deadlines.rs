//! The patience of one transaction.

use std::time::Duration;

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// TCP and TLS.
    pub connect: Duration,
    /// Greeting and EHLO; some servers make strangers wait on purpose.
    pub greeting: Duration,
    /// AUTH, MAIL, RCPT, DATA, each.
    pub step: Duration,
    /// Writing the content.
    pub content: Duration,
    /// From the final dot to the verdict.
    pub verdict: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            connect: Duration::from_secs(30),
            greeting: minutes(2),
            step: minutes(2),
            content: minutes(10),
            verdict: minutes(10),
        }
    }
}
