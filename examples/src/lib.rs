//! Runnable examples of postroom handlers, in `src/bin`. Start them beside `postroom up` or `postroom demo --keep`.
//!
//! The code in the README and in the docs is compiled here, as documentation tests.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/outbox.md")]
struct Outbox;
