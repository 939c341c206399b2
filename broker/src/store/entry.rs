//! What the index knows of one message.

use super::log::Position;
use super::{Nanos, Seq};

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub seq: Seq,
    pub time: Nanos,
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Length of the frame; 0 marks a removed message.
    pub(super) len: u32,
    pub(super) accounted: u32,
    pub(super) subject: u32,
}

impl Entry {
    pub fn position(&self) -> Position {
        Position {
            segment: u64::from(self.segment),
            offset: u64::from(self.offset),
            len: self.len as usize,
        }
    }

    pub fn accounted(&self) -> u64 {
        u64::from(self.accounted)
    }

    pub(super) fn is_live(&self) -> bool {
        self.len > 0
    }
}
