//! What a configuration file says, before anybody knows what it means.

use std::fmt;
use std::sync::Arc;

/// Where something stood; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Item>),
    Block(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub value: Value,
    pub at: Spot,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub at: Spot,
    pub item: Item,
    /// Somebody refers to it as `$key`, so it need not mean anything by itself.
    pub is_variable: bool,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
