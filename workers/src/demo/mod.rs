//! What `postroom demo` shows itself with.

pub mod corpus;
