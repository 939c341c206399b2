//! What a message counts for against a stream's limits. Pure.

/// What a message counts for besides its own bytes, as nats-server has it, so that limits mean the same on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accounting {
    /// 22 bytes and the checksum's 8 per message, 4 more with headers.
    #[default]
    File,
    /// 16 bytes per message.
    Memory,
}

impl Accounting {
    /// What a message counts for against `max_bytes`.
    pub fn bytes(self, subject: usize, headers: usize, payload: usize) -> u64 {
        let overhead = match self {
            Accounting::File if headers > 0 => 22 + 8 + 4,
            Accounting::File => 22 + 8,
            Accounting::Memory => 16,
        };
        overhead + (subject + headers + payload) as u64
    }
}
