//! Runnable examples of postroom handlers, in `src/bin`. Start them beside `postroom up` or `postroom demo --keep`.
//!
//! Whole flows are in `flows`, and play on a `stage` of their own: `cargo run -p postroom-examples --bin flow -- helpdesk`.
//!
//! The code in the README and in the docs is compiled here, as documentation tests.

pub mod flows;
pub mod stage;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/outbox.md")]
struct Outbox;
