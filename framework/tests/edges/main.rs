//! Every edge of a delivery, with everything that can go wrong there. Enumerated, not sampled.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod kit;
