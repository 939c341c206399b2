//! Runnable examples of postroom handlers, in `src/bin`. Start them beside `postroom up` or `postroom demo --keep`.
//!
//! The code in the README is compiled here, as a documentation test.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
